"""Triton kernels of `refine_inputs`, forward and backward.

A program computes BP pixels of the result, numbered row by row, and the S x S pixels of the images
that each of them holds: no flow and no warped image at full resolution reaches memory. The backward
keeps the gradient of the flows at full resolution in float32; a second kernel gathers it, and that
of the state's own channels, at each pixel of the state, in a fixed order.

Names: B* block sizes, i_* program ids, o_* offsets, m_* masks, p_* pointers, s_* strides, b_*
blocks in registers; S is the stride of the refinement.
"""

import triton
import triton.language as tl

from lift.kernels.ops.refine_inputs import reference
from lift.kernels.ops.warp_blend.triton_kernels import (
    axis_coords,
    bilinear,
    bilinear_slopes,
    corner_offsets,
    load_corners,
)

FLOWS = tl.constexpr(reference.FLOWS)
STATE = tl.constexpr(reference.STATE)
FLOW_SCALE = tl.constexpr(reference.FLOW_SCALE)
MAPS = tl.constexpr(8)  # the state and the missing motion, together a power of two


# -- bilinear upsampling by 2 ----------------------------------------------------------------------


@triton.jit
def _nearest_two(o_fine, SIZE):
    """The nearest and the second nearest of SIZE coarse pixels along one axis."""
    o_near = o_fine // 2
    o_far = o_near + 2 * (o_fine % 2) - 1
    return o_near, tl.minimum(tl.maximum(o_far, 0), SIZE - 1)


@triton.jit
def upsampling_offsets(o_y, o_x, H, W, s_y, s_x):
    """Offsets of the four pixels of a map (H, W) that make the pixels of one twice as large."""
    o_near_y, o_far_y = _nearest_two(o_y, H)
    o_near_x, o_far_x = _nearest_two(o_x, W)
    return corner_offsets(o_near_y, o_far_y, o_near_x, o_far_x, s_y, s_x)


@triton.jit
def upsampled(p, o_nn, o_nf, o_fn, o_ff, m):
    """Bilinear upsampling by 2: the nearer pixel has weight 3/4 along each axis."""
    b_nn, b_nf, b_fn, b_ff = load_corners(p, o_nn, o_nf, o_fn, o_ff, m)
    return bilinear(b_nn, b_nf, b_fn, b_ff, 0.25, 0.25)


@triton.jit
def upsampling_gradient(p, o_y, o_x, H, W, s_y, s_x, m):
    """The gradient of coarse pixels, from that of the map (H, W) at twice their resolution.

    Each contributes to 4 x 4 fine pixels. Those beyond the border are the nearest one, where the
    coarse pixel beyond the border would have been the nearest one.
    """
    b = tl.zeros(m.shape, tl.float32)
    for i_y in tl.static_range(4):
        o_row = tl.minimum(tl.maximum(2 * o_y + (i_y - 1), 0), H - 1) * s_y
        for i_x in tl.static_range(4):
            o_column = tl.minimum(tl.maximum(2 * o_x + (i_x - 1), 0), W - 1) * s_x
            i_weight = (3 if i_y == 1 or i_y == 2 else 1) * (3 if i_x == 1 or i_x == 2 else 1)
            b_fine = tl.load(p + o_row + o_column, mask=m, other=0.0).to(tl.float32)
            b += (i_weight * 0.0625) * b_fine
    return b


# -- pixels of the images --------------------------------------------------------------------------


@triton.jit
def block_pixels(i_p, w, hw, S: tl.constexpr, BP: tl.constexpr):
    """BP pixels at 1/S: their numbers, where they exist, and the S x S pixels of each."""
    o_p = (i_p * BP + tl.arange(0, BP))[:, None]
    o_k = tl.arange(0, S * S)[None, :]
    return o_p, o_k, o_p < hw, o_p // w * S + o_k // S, o_p % w * S + o_k % S


@triton.jit
def _sample_offsets(p_flow, s_c, o_nn, o_nf, o_fn, o_ff, m, o_x, o_y, H, W, s_y, s_x):
    """Offsets of the four pixels around each sample of an image, the fractions between, and where
    the flow has a gradient; the flow is that of a state.
    """
    b_dx = 2 * upsampled(p_flow, o_nn, o_nf, o_fn, o_ff, m)
    b_dy = 2 * upsampled(p_flow + s_c, o_nn, o_nf, o_fn, o_ff, m)
    o_w, o_e, b_fx, m_x = axis_coords(b_dx, o_x, W)
    o_n, o_s, b_fy, m_y = axis_coords(b_dy, o_y, H)
    o_nw, o_ne, o_sw, o_se = corner_offsets(o_n, o_s, o_w, o_e, s_y, s_x)
    return o_nw, o_ne, o_sw, o_se, b_fx, b_fy, m_x, m_y


# -- forward ---------------------------------------------------------------------------------------


@triton.jit
def _resampled(p, o_p, w, H2, W2, s_y, s_x, m, S: tl.constexpr):
    """A map (H2, W2) at half resolution, at pixels of 1/S."""
    o_y, o_x = o_p // w, o_p % w
    if S == 1:
        o_nn, o_nf, o_fn, o_ff = upsampling_offsets(o_y, o_x, H2, W2, s_y, s_x)
        return upsampled(p, o_nn, o_nf, o_fn, o_ff, m)
    elif S == 2:
        return tl.load(p + o_y * s_y + o_x * s_x, mask=m, other=0.0)
    else:
        p += 2 * (o_y * s_y + o_x * s_x)
        b_north = tl.load(p, mask=m, other=0.0) + tl.load(p + s_x, mask=m, other=0.0)
        b_south = tl.load(p + s_y, mask=m, other=0.0) + tl.load(p + s_y + s_x, mask=m, other=0.0)
        return 0.25 * (b_north + b_south)


@triton.jit
def refine_inputs_fwd_kernel(
    out,  # (B, hw, 9 S^2 + MAPS or STATE), contiguous, written
    image0, s0_b, s0_c, s0_y, s0_x,  # (B, 3, H, W)
    image1, s1_b, s1_c, s1_y, s1_x,  # (B, 3, H, W)
    state, ss_b, ss_c, ss_y, ss_x,  # (B, STATE, H/2, W/2)
    missing, sm_b, sm_c, sm_y, sm_x,  # (B, 2, H/2, W/2)
    H, W, H2, W2,
    w, hw,  # of the result
    blocks_per_image,  # programs per image
    S: tl.constexpr, BP: tl.constexpr, HAS_MISSING: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
    o_p, o_k, m_p, o_y, o_x = block_pixels(i_p, w, hw, S, BP)
    m = m_p & (o_k < S * S)
    AREA: tl.constexpr = S * S
    CHANNELS: tl.constexpr = 9 * AREA + (MAPS if HAS_MISSING else STATE)
    p_out = out + i_b * hw * CHANNELS + o_p * CHANNELS
    p_0, p_1, p_state = image0 + i_b * s0_b, image1 + i_b * s1_b, state + i_b * ss_b
    o_nn, o_nf, o_fn, o_ff = upsampling_offsets(o_y, o_x, H2, W2, ss_y, ss_x)
    o_nw0, o_ne0, o_sw0, o_se0, b_fx0, b_fy0, _, _ = _sample_offsets(
        p_state, ss_c, o_nn, o_nf, o_fn, o_ff, m, o_x, o_y, H, W, s0_y, s0_x
    )
    o_nw1, o_ne1, o_sw1, o_se1, b_fx1, b_fy1, _, _ = _sample_offsets(
        p_state + 2 * ss_c, ss_c, o_nn, o_nf, o_fn, o_ff, m, o_x, o_y, H, W, s1_y, s1_x
    )
    for i_c in tl.static_range(3):
        b_nw, b_ne, b_sw, b_se = load_corners(p_0, o_nw0, o_ne0, o_sw0, o_se0, m)
        b_warped = bilinear(b_nw, b_ne, b_sw, b_se, b_fx0, b_fy0).to(out.dtype.element_ty)
        tl.store(p_out + i_c * AREA + o_k, b_warped, mask=m)
        b_nw, b_ne, b_sw, b_se = load_corners(p_1, o_nw1, o_ne1, o_sw1, o_se1, m)
        b_warped = bilinear(b_nw, b_ne, b_sw, b_se, b_fx1, b_fy1).to(out.dtype.element_ty)
        tl.store(p_out + (3 + i_c) * AREA + o_k, b_warped, mask=m)
        b_difference = tl.load(p_0 + o_y * s0_y + o_x * s0_x, mask=m, other=0.0)
        b_difference -= tl.load(p_1 + o_y * s1_y + o_x * s1_x, mask=m, other=0.0)
        b_difference = b_difference.to(out.dtype.element_ty)
        tl.store(p_out + (6 + i_c) * AREA + o_k, b_difference, mask=m)
        p_0 += s0_c
        p_1 += s1_c

    o_c = tl.arange(0, MAPS)[None, :]
    if INT64_OFFSETS:
        o_c = o_c.to(tl.int64)
    m_c = m_p & (o_c < STATE)
    b_maps = _resampled(p_state + o_c * ss_c, o_p, w, H2, W2, ss_y, ss_x, m_c, S)
    b_maps *= tl.where(o_c < FLOWS, FLOW_SCALE, 1.0)
    if HAS_MISSING:
        m_c = m_p & (o_c >= STATE)
        p = missing + i_b * sm_b + (o_c - STATE) * sm_c
        b_missing = _resampled(p, o_p, w, H2, W2, sm_y, sm_x, m_c, S)
        b_maps = tl.where(o_c < STATE, b_maps, b_missing)
    m_c = m_p & (o_c < CHANNELS - 9 * AREA)
    tl.store(p_out + 9 * AREA + o_c, b_maps.to(out.dtype.element_ty), mask=m_c)


# -- backward --------------------------------------------------------------------------------------


@triton.jit
def _flow_gradient(
    p_dflow, HW, p_grad, p_image, s_c, o_nw, o_ne, o_sw, o_se, b_fx, b_fy, m_x, m_y, o_pixel, m,
    AREA: tl.constexpr,
):  # fmt: skip
    """The gradient of a flow at full resolution, from that of the warped image."""
    b_dx = tl.zeros(m.shape, tl.float32)
    b_dy = tl.zeros(m.shape, tl.float32)
    for i_c in tl.static_range(3):
        b_g = tl.load(p_grad + i_c * AREA, mask=m, other=0.0).to(tl.float32)
        b_nw, b_ne, b_sw, b_se = load_corners(p_image, o_nw, o_ne, o_sw, o_se, m)
        b_x, b_y = bilinear_slopes(b_nw, b_ne, b_sw, b_se, b_fx, b_fy)
        b_dx += b_g * b_x
        b_dy += b_g * b_y
        p_image += s_c
    tl.store(p_dflow + o_pixel, tl.where(m_x, b_dx, 0.0), mask=m)
    tl.store(p_dflow + HW + o_pixel, tl.where(m_y, b_dy, 0.0), mask=m)


@triton.jit
def refine_inputs_dflow_kernel(
    dflow,  # (B, FLOWS, HW), contiguous, written: of the flows at full resolution
    grad,  # (B, hw, CHANNELS), contiguous
    image0, s0_b, s0_c, s0_y, s0_x,  # (B, 3, H, W)
    image1, s1_b, s1_c, s1_y, s1_x,  # (B, 3, H, W)
    state, ss_b, ss_c, ss_y, ss_x,  # (B, STATE, H/2, W/2)
    H, W, HW, H2, W2,
    w, hw,  # of the result
    blocks_per_image,  # programs per image
    CHANNELS: tl.constexpr, S: tl.constexpr, BP: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    o_plane = tl.full((), HW, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
    o_p, o_k, m_p, o_y, o_x = block_pixels(i_p, w, hw, S, BP)
    m = m_p & (o_k < S * S)
    AREA: tl.constexpr = S * S
    p_grad = grad + i_b * hw * CHANNELS + o_p * CHANNELS + o_k
    p_dflow = dflow + i_b * FLOWS * o_plane
    o_pixel = o_y * W + o_x
    p_state = state + i_b * ss_b
    o_nn, o_nf, o_fn, o_ff = upsampling_offsets(o_y, o_x, H2, W2, ss_y, ss_x)
    o_nw, o_ne, o_sw, o_se, b_fx, b_fy, m_x, m_y = _sample_offsets(
        p_state, ss_c, o_nn, o_nf, o_fn, o_ff, m, o_x, o_y, H, W, s0_y, s0_x
    )
    _flow_gradient(
        p_dflow, o_plane, p_grad, image0 + i_b * s0_b, s0_c,
        o_nw, o_ne, o_sw, o_se, b_fx, b_fy, m_x, m_y, o_pixel, m, AREA,
    )  # fmt: skip
    o_nw, o_ne, o_sw, o_se, b_fx, b_fy, m_x, m_y = _sample_offsets(
        p_state + 2 * ss_c, ss_c, o_nn, o_nf, o_fn, o_ff, m, o_x, o_y, H, W, s1_y, s1_x
    )
    _flow_gradient(
        p_dflow + 2 * o_plane, o_plane, p_grad + 3 * AREA, image1 + i_b * s1_b, s1_c,
        o_nw, o_ne, o_sw, o_se, b_fx, b_fy, m_x, m_y, o_pixel, m, AREA,
    )  # fmt: skip


@triton.jit
def refine_state_bwd_kernel(
    dstate,  # (B, STATE, H2 W2), contiguous, written if HAS_DSTATE
    dmissing,  # (B, 2, H2 W2), contiguous, written if HAS_DMISSING
    dfine,  # (B, FINE, HW), contiguous: gradient of the first channels, upsampled, flows doubled
    grad,  # (B, hw, CHANNELS), contiguous: of the output of `refine_inputs`, if HAS_GRAD
    H, W, HW, H2, W2, HW2,
    w, hw,  # of the result
    blocks_per_image,  # programs per image
    CHANNELS: tl.constexpr, FINE: tl.constexpr, S: tl.constexpr, BP: tl.constexpr,
    HAS_GRAD: tl.constexpr, HAS_DSTATE: tl.constexpr, HAS_DMISSING: tl.constexpr,
    INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    """Gradients at half resolution, gathered from those of what was made of each pixel."""
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    o_c = tl.arange(0, MAPS)[None, :]
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p, o_c = i_p.to(tl.int64), o_c.to(tl.int64)
    o_p = (i_p * BP + tl.arange(0, BP))[:, None]
    m_p = o_p < HW2
    o_y, o_x = o_p // W2, o_p % W2
    b_d = tl.zeros((BP, MAPS), tl.float32)
    if HAS_DSTATE:
        p = dfine + i_b * FINE * HW + o_c * HW
        b_d = upsampling_gradient(p, o_y, o_x, H, W, W, 1, m_p & (o_c < FINE))
        b_d *= tl.where(o_c < FLOWS, 2.0, 1.0)
    if HAS_GRAD:
        m = m_p & (o_c < CHANNELS - 9 * S * S)
        p = grad + i_b * hw * CHANNELS + 9 * S * S + o_c
        if S == 1:
            b_g = upsampling_gradient(p, o_y, o_x, H, W, w * CHANNELS, CHANNELS, m)
        elif S == 2:
            b_g = tl.load(p + o_p * CHANNELS, mask=m, other=0.0).to(tl.float32)
        else:
            o_grad = o_y // 2 * w + o_x // 2
            b_g = 0.25 * tl.load(p + o_grad * CHANNELS, mask=m, other=0.0).to(tl.float32)
        b_d += b_g * tl.where(o_c < FLOWS, FLOW_SCALE, 1.0)
    if HAS_DSTATE:
        p = dstate + i_b * STATE * HW2 + o_c * HW2 + o_p
        tl.store(p, b_d, mask=m_p & (o_c < STATE))
    if HAS_DMISSING:
        p = dmissing + i_b * 2 * HW2 + (o_c - STATE) * HW2 + o_p
        tl.store(p, b_d, mask=m_p & (o_c >= STATE))
