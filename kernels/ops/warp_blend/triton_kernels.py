"""Triton kernels of `warp` and `warp_blend`, forward and backward.

One pass: no grid and no warped image reaches memory. A program computes BP pixels of one image,
numbered row by row, and loops over the channels BC at a time: BC = 1 where each channel is a plane
(neighbouring threads read neighbouring pixels), more in channels_last (neighbouring threads read
neighbouring channels). Flow, coordinates, weights and sums are float32 whatever the images are. The
distance between columns is a constant, which tells the compiler how far channels are aligned.

Names: B* block sizes, i_* program ids, o_* offsets, m_* masks, p_* pointers, s_* strides, b_*
blocks in registers.
"""

from collections.abc import Callable

import triton
import triton.language as tl


def _named(direction: str) -> Callable:
    """The symbol in a profile: the kernels compute `warp_blend`, and `warp` without BLEND."""
    return lambda case: f"{'warp_blend' if case.constants['BLEND'] else 'warp'}_{direction}_kernel"


@triton.jit
def axis_coords(b_flow, o_pixel, SIZE):
    """Sample coordinates along one axis: the pixel before and after, the fraction between them,
    and whether flow has a gradient.
    """
    b_at = o_pixel.to(tl.float32) + b_flow
    m_inside = (b_at > 0) & (b_at < SIZE - 1)  # false for NaN
    b_at = tl.where(b_at > 0, b_at, 0.0)  # NaN to 0: the interpreter's maximum keeps NaN
    b_at = tl.minimum(b_at, SIZE - 1.0)
    b_before = tl.floor(b_at)
    o_before = b_before.to(tl.int32)
    b_fraction = b_at - b_before
    o_after = tl.minimum(o_before + 1, SIZE - 1)
    return o_before.to(o_pixel.dtype), o_after.to(o_pixel.dtype), b_fraction, m_inside


@triton.jit
def sample_coords(flow, s_channel, o_flow, m_pixel, o_x, o_y, H, W):
    """Rows and columns around each sample, the fractions between, and where flow has a gradient."""
    b_dx = tl.load(flow + o_flow, mask=m_pixel, other=0.0)
    b_dy = tl.load(flow + s_channel + o_flow, mask=m_pixel, other=0.0)
    o_west, o_east, b_fx, m_x = axis_coords(b_dx, o_x, W)
    o_north, o_south, b_fy, m_y = axis_coords(b_dy, o_y, H)
    return o_north, o_south, o_west, o_east, b_fx, b_fy, m_x, m_y


@triton.jit
def corner_offsets(o_north, o_south, o_west, o_east, s_y, s_x):
    """Offsets of the four pixels around each sample."""
    return (
        o_north * s_y + o_west * s_x,
        o_north * s_y + o_east * s_x,
        o_south * s_y + o_west * s_x,
        o_south * s_y + o_east * s_x,
    )


@triton.jit
def load_corners(p_image, o_nw, o_ne, o_sw, o_se, m):
    """Four pixels of an image as float32: the interpreter's bfloat16 arithmetic is wrong."""
    return (
        tl.load(p_image + o_nw, mask=m, other=0.0).to(tl.float32),
        tl.load(p_image + o_ne, mask=m, other=0.0).to(tl.float32),
        tl.load(p_image + o_sw, mask=m, other=0.0).to(tl.float32),
        tl.load(p_image + o_se, mask=m, other=0.0).to(tl.float32),
    )


@triton.jit
def bilinear(b_nw, b_ne, b_sw, b_se, b_fx, b_fy):
    b_north = (1 - b_fx) * b_nw + b_fx * b_ne
    b_south = (1 - b_fx) * b_sw + b_fx * b_se
    return (1 - b_fy) * b_north + b_fy * b_south


@triton.jit
def bilinear_slopes(b_nw, b_ne, b_sw, b_se, b_fx, b_fy):
    """Derivatives of a sample by x and by y."""
    return (1 - b_fy) * (b_ne - b_nw) + b_fy * (b_se - b_sw), (1 - b_fx) * (b_sw - b_nw) + b_fx * (
        b_se - b_ne
    )


@triton.jit
def blend_weights(b_occ0, b_occ1):
    """v0 / (v0 + v1) and v1 / (v0 + v1) of v = sigmoid(occ), from 1 / v = 1 + e^-occ = e^m a.

    m = max(-occ, 0) and a = 1 + e^-|occ|, so that nothing overflows and neither weight is rounded
    to 1 - 1. The larger of e^m0 and e^m1 is factored out of all three sums.
    """
    b_m0, b_m1 = tl.maximum(-b_occ0, 0.0), tl.maximum(-b_occ1, 0.0)
    b_ratio = tl.exp(-tl.abs(b_m0 - b_m1))
    b_0 = (1 + tl.exp(-tl.abs(b_occ1))) * tl.where(b_m0 > b_m1, b_ratio, 1.0)
    b_1 = (1 + tl.exp(-tl.abs(b_occ0))) * tl.where(b_m0 > b_m1, 1.0, b_ratio)
    b_inverse = 1 / (b_0 + b_1)
    return b_0 * b_inverse, b_1 * b_inverse


@triton.jit
def sigmoid_of_minus(b_occ):
    """sigmoid(-occ)."""
    b = tl.exp(-tl.abs(b_occ))
    return tl.where(b_occ > 0, b, 1.0) / (1 + b)


@triton.jit(repr=_named("fwd"))
def warp_blend_fwd_kernel(
    out, s_b, s_c, s_p: tl.constexpr,  # (B, C, HW), written
    image0, s0_b, s0_c, s0_y, s0_x: tl.constexpr,  # (B, C, H, W)
    image1, s1_b, s1_c, s1_y, s1_x: tl.constexpr,  # (B, C, H, W)
    flow0, sf0_b, sf0_c, sf0_p,  # (B, 2, HW)
    flow1, sf1_b, sf1_c, sf1_p,  # (B, 2, HW)
    occ0, so0_b, so0_p,  # (B, HW)
    occ1, so1_b, so1_p,  # (B, HW)
    H, W, HW,
    blocks_per_image,  # programs per image
    C: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
    BLEND: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    o_c = tl.arange(0, BC)[None, :]
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p, o_c = i_p.to(tl.int64), o_c.to(tl.int64)
    o_p = (i_p * BP + tl.arange(0, BP))[:, None]
    m_p = o_p < HW
    o_y, o_x = o_p // W, o_p % W
    o_n, o_s, o_w, o_e, b_fx0, b_fy0, _, _ = sample_coords(
        flow0 + i_b * sf0_b, sf0_c, o_p * sf0_p, m_p, o_x, o_y, H, W
    )
    o_nw0, o_ne0, o_sw0, o_se0 = corner_offsets(o_n, o_s, o_w, o_e, s0_y, s0_x)
    p_0 = image0 + i_b * s0_b
    p_out = out + i_b * s_b
    if BLEND:
        o_n, o_s, o_w, o_e, b_fx1, b_fy1, _, _ = sample_coords(
            flow1 + i_b * sf1_b, sf1_c, o_p * sf1_p, m_p, o_x, o_y, H, W
        )
        o_nw1, o_ne1, o_sw1, o_se1 = corner_offsets(o_n, o_s, o_w, o_e, s1_y, s1_x)
        p_1 = image1 + i_b * s1_b
        b_w0, b_w1 = blend_weights(
            tl.load(occ0 + i_b * so0_b + o_p * so0_p, mask=m_p, other=0.0).to(tl.float32),
            tl.load(occ1 + i_b * so1_b + o_p * so1_p, mask=m_p, other=0.0).to(tl.float32),
        )

    for i_c in range(0, C, BC):
        o_i = i_c + o_c
        m = m_p & (o_i < C)
        b_nw, b_ne, b_sw, b_se = load_corners(p_0 + o_i * s0_c, o_nw0, o_ne0, o_sw0, o_se0, m)
        b_out = bilinear(b_nw, b_ne, b_sw, b_se, b_fx0, b_fy0)
        if BLEND:
            b_nw, b_ne, b_sw, b_se = load_corners(p_1 + o_i * s1_c, o_nw1, o_ne1, o_sw1, o_se1, m)
            b_out = b_w0 * b_out + b_w1 * bilinear(b_nw, b_ne, b_sw, b_se, b_fx1, b_fy1)
        tl.store(p_out + o_i * s_c + o_p * s_p, b_out.to(out.dtype.element_ty), mask=m)


@triton.jit
def _atomic_add(p, b_value, m, b_scale, FIXED_POINT: tl.constexpr):
    """Add to an image's gradient. Masked lanes (whole-pixel flow, borders, occlusion) are free."""
    if FIXED_POINT:
        tl.atomic_add(p, tl.floor(b_value * b_scale + 0.5).to(tl.int64), mask=m, sem="relaxed")
    else:
        tl.atomic_add(p, b_value, mask=m, sem="relaxed")


@triton.jit
def scatter_add(
    p, o_nw, o_ne, o_sw, o_se, b_fx, b_fy, b_g, b_w, m, b_scale, FIXED_POINT: tl.constexpr
):
    """Add b_g to the four pixels of each sample; b_g includes the blend weight b_w."""
    m = m & (b_w != 0)
    m_east, m_south = b_fx != 0, b_fy != 0  # fractions are below 1, so north-west always adds
    b_north, b_south = (1 - b_fy) * b_g, b_fy * b_g  # not b_g times four products: fewer registers
    _atomic_add(p + o_nw, (1 - b_fx) * b_north, m, b_scale, FIXED_POINT)
    _atomic_add(p + o_ne, b_fx * b_north, m & m_east, b_scale, FIXED_POINT)
    _atomic_add(p + o_sw, (1 - b_fx) * b_south, m & m_south, b_scale, FIXED_POINT)
    _atomic_add(p + o_se, b_fx * b_south, m & m_east & m_south, b_scale, FIXED_POINT)


@triton.jit(repr=_named("bwd"))
def warp_blend_bwd_kernel(
    grad, s_b, s_c, s_p: tl.constexpr,  # (B, C, HW), of the output
    image0, s0_b, s0_c, s0_y, s0_x: tl.constexpr,  # (B, C, H, W)
    image1, s1_b, s1_c, s1_y, s1_x: tl.constexpr,  # (B, C, H, W)
    flow0, sf0_b, sf0_c, sf0_p,  # (B, 2, HW)
    flow1, sf1_b, sf1_c, sf1_p,  # (B, 2, HW)
    occ0, so0_b, so0_p,  # (B, HW)
    occ1, so1_b, so1_p,  # (B, HW)
    dimage0, sd0_b, sd0_c, sd0_y, sd0_x,  # (B, C, H, W), added to: float32, or int64 if FIXED_POINT
    dimage1, sd1_b, sd1_c, sd1_y, sd1_x,  # as dimage0
    dflow0, dflow1,  # (B, 2, HW), contiguous, written
    docc0, docc1,  # (B, HW), contiguous, written
    scale,  # (), fixed-point units in 1, if FIXED_POINT
    H, W, HW,
    blocks_per_image,  # programs per image
    C: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
    BLEND: tl.constexpr, INT64_OFFSETS: tl.constexpr, FIXED_POINT: tl.constexpr,
    HAS_DIMAGE0: tl.constexpr, HAS_DIMAGE1: tl.constexpr,
    HAS_DFLOW0: tl.constexpr, HAS_DFLOW1: tl.constexpr,
    HAS_DOCC0: tl.constexpr, HAS_DOCC1: tl.constexpr,
):  # fmt: skip
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    o_c = tl.arange(0, BC)[None, :]
    if INT64_OFFSETS:
        i_p, o_c = i_p.to(tl.int64), o_c.to(tl.int64)
    o_p = (i_p * BP + tl.arange(0, BP))[:, None]
    m_p = o_p < HW
    o_y, o_x = o_p // W, o_p % W
    p_grad = grad + i_b * s_b
    b_scale = 1.0
    if FIXED_POINT:
        b_scale = tl.load(scale)
    READ_IMAGE0: tl.constexpr = HAS_DFLOW0 or HAS_DOCC0 or HAS_DOCC1  # the image itself is read
    READ_IMAGE1: tl.constexpr = HAS_DFLOW1 or HAS_DOCC0 or HAS_DOCC1
    b_w0 = tl.full((BP, 1), 1.0, tl.float32)
    b_w1 = b_w0
    if BLEND:
        b_occ0 = tl.load(occ0 + i_b * so0_b + o_p * so0_p, mask=m_p, other=0.0).to(tl.float32)
        b_occ1 = tl.load(occ1 + i_b * so1_b + o_p * so1_p, mask=m_p, other=0.0).to(tl.float32)
        b_w0, b_w1 = blend_weights(b_occ0, b_occ1)
    if READ_IMAGE0 or HAS_DIMAGE0:
        o_n, o_s, o_w, o_e, b_fx0, b_fy0, m_x0, m_y0 = sample_coords(
            flow0 + i_b * sf0_b, sf0_c, o_p * sf0_p, m_p, o_x, o_y, H, W
        )
        if READ_IMAGE0:
            o_nw0, o_ne0, o_sw0, o_se0 = corner_offsets(o_n, o_s, o_w, o_e, s0_y, s0_x)
            p_0 = image0 + i_b * s0_b
        if HAS_DIMAGE0:
            o_nwd0, o_ned0, o_swd0, o_sed0 = corner_offsets(o_n, o_s, o_w, o_e, sd0_y, sd0_x)
            p_d0 = dimage0 + i_b * sd0_b
    if READ_IMAGE1 or HAS_DIMAGE1:
        o_n, o_s, o_w, o_e, b_fx1, b_fy1, m_x1, m_y1 = sample_coords(
            flow1 + i_b * sf1_b, sf1_c, o_p * sf1_p, m_p, o_x, o_y, H, W
        )
        if READ_IMAGE1:
            o_nw1, o_ne1, o_sw1, o_se1 = corner_offsets(o_n, o_s, o_w, o_e, s1_y, s1_x)
            p_1 = image1 + i_b * s1_b
        if HAS_DIMAGE1:
            o_nwd1, o_ned1, o_swd1, o_sed1 = corner_offsets(o_n, o_s, o_w, o_e, sd1_y, sd1_x)
            p_d1 = dimage1 + i_b * sd1_b
    b_dx0 = tl.zeros((BP, 1), tl.float32)
    b_dy0 = tl.zeros((BP, 1), tl.float32)
    b_dx1 = tl.zeros((BP, 1), tl.float32)
    b_dy1 = tl.zeros((BP, 1), tl.float32)
    b_dw = tl.zeros((BP, 1), tl.float32)  # sum over channels of grad (sample0 - sample1)

    for i_c in range(0, C, BC):
        o_i = i_c + o_c
        m = m_p & (o_i < C)
        b_g = tl.load(p_grad + o_i * s_c + o_p * s_p, mask=m, other=0.0).to(tl.float32)
        b_difference = tl.zeros((BP, BC), tl.float32)
        if READ_IMAGE0:
            b_nw, b_ne, b_sw, b_se = load_corners(p_0 + o_i * s0_c, o_nw0, o_ne0, o_sw0, o_se0, m)
            if HAS_DOCC0 or HAS_DOCC1:
                b_difference = bilinear(b_nw, b_ne, b_sw, b_se, b_fx0, b_fy0)
            if HAS_DFLOW0:
                b_x, b_y = bilinear_slopes(b_nw, b_ne, b_sw, b_se, b_fx0, b_fy0)
                b_dx0 += tl.sum(b_g * b_x, 1, keep_dims=True)
                b_dy0 += tl.sum(b_g * b_y, 1, keep_dims=True)
        if READ_IMAGE1:
            b_nw, b_ne, b_sw, b_se = load_corners(p_1 + o_i * s1_c, o_nw1, o_ne1, o_sw1, o_se1, m)
            if HAS_DOCC0 or HAS_DOCC1:
                b_difference -= bilinear(b_nw, b_ne, b_sw, b_se, b_fx1, b_fy1)
            if HAS_DFLOW1:
                b_x, b_y = bilinear_slopes(b_nw, b_ne, b_sw, b_se, b_fx1, b_fy1)
                b_dx1 += tl.sum(b_g * b_x, 1, keep_dims=True)
                b_dy1 += tl.sum(b_g * b_y, 1, keep_dims=True)
        if HAS_DOCC0 or HAS_DOCC1:
            b_dw += tl.sum(b_g * b_difference, 1, keep_dims=True)
        if HAS_DIMAGE0:
            scatter_add(
                p_d0 + o_i * sd0_c,
                o_nwd0,
                o_ned0,
                o_swd0,
                o_sed0,
                b_fx0,
                b_fy0,
                b_g * b_w0,
                b_w0,
                m,
                b_scale,
                FIXED_POINT,
            )
        if HAS_DIMAGE1:
            scatter_add(
                p_d1 + o_i * sd1_c,
                o_nwd1,
                o_ned1,
                o_swd1,
                o_sed1,
                b_fx1,
                b_fy1,
                b_g * b_w1,
                b_w1,
                m,
                b_scale,
                FIXED_POINT,
            )

    o_flow = i_b * HW * 2 + o_p
    if HAS_DFLOW0:
        tl.store(dflow0 + o_flow, tl.where(m_x0, b_w0 * b_dx0, 0.0), mask=m_p)
        tl.store(dflow0 + o_flow + HW, tl.where(m_y0, b_w0 * b_dy0, 0.0), mask=m_p)
    if HAS_DFLOW1:
        tl.store(dflow1 + o_flow, tl.where(m_x1, b_w1 * b_dx1, 0.0), mask=m_p)
        tl.store(dflow1 + o_flow + HW, tl.where(m_y1, b_w1 * b_dy1, 0.0), mask=m_p)
    o_occ = i_b * HW + o_p
    if HAS_DOCC0:  # dlogsigmoid(occ) = sigmoid(-occ)
        tl.store(docc0 + o_occ, b_dw * b_w0 * b_w1 * sigmoid_of_minus(b_occ0), mask=m_p)
    if HAS_DOCC1:
        tl.store(docc1 + o_occ, -b_dw * b_w0 * b_w1 * sigmoid_of_minus(b_occ1), mask=m_p)
