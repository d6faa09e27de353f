"""Triton kernels of `refine_output`, forward and backward.

A program computes the S x S pixels of the frame that each of BP pixels of the residual holds;
flows, gate and logits at full resolution stay in registers. The backward recomputes them in one
pass. It keeps the gradient of the state's channels at full resolution in float32, which the kernel
of `refine_inputs` gathers; each program writes its part of the bias's gradient, summed afterwards
in a fixed order.

Where there is a sharpness, R = SHARP_RESIDUALS, a sample is that of 4 x 4 pixels. The forward adds
each to all channels with the weight of bilinear and bicubic samples together. The gradients are
linear in the pixels, so the backward samples and derives one image, the sum over channels of the
references times the frame's gradient.

Names: as in `refine_inputs`.
"""

import triton
import triton.language as tl

from lift.kernels.ops.refine_inputs.triton_kernels import (
    FLOWS,
    STATE,
    block_pixels,
    upsampled,
    upsampling_offsets,
)
from lift.kernels.ops.refine_output import reference
from lift.kernels.ops.warp_blend.triton_kernels import (
    axis_coords,
    bilinear,
    bilinear_slopes,
    blend_weights,
    corner_offsets,
    load_corners,
    sigmoid_of_minus,
)

SHARP_RESIDUALS = tl.constexpr(reference.SHARP_RESIDUALS)
CUBIC_SLOPE = tl.constexpr(reference.CUBIC_SLOPE)
GATE = tl.constexpr(9)  # the place of its residual
SHARPNESS = tl.constexpr(10)
GATE_SLOPE = tl.constexpr(reference.GATE_SLOPE)


@triton.jit
def _residual_strides(hw, R: tl.constexpr, S: tl.constexpr, CHANNELS_LAST: tl.constexpr):
    """Strides of a channel and of a pixel of (B, R S^2, hw)."""
    s_c = 1 if CHANNELS_LAST else hw
    s_p = R * S * S if CHANNELS_LAST else 1
    return s_c, s_p


@triton.jit
def _residual(p_residual, s_c, bias, o_k, m, i_c: tl.constexpr, AREA: tl.constexpr):
    """A residual with its bias, in float32."""
    b = tl.load(p_residual + i_c * AREA * s_c, mask=m, other=0.0).to(tl.float32)
    return b + tl.load(bias + i_c * AREA + o_k).to(tl.float32)


@triton.jit
def _moved(p_state, s_c, p_residual, s_r, bias, o_nn, o_nf, o_fn, o_ff, o_k, m,
           i_c: tl.constexpr, AREA: tl.constexpr):  # fmt: skip
    """A component of a flow at full resolution, with its residual."""
    b_flow = 2 * upsampled(p_state + i_c * s_c, o_nn, o_nf, o_fn, o_ff, m)
    return b_flow + _residual(p_residual, s_r, bias, o_k, m, i_c, AREA)


@triton.jit
def _logit(p_state, s_c, p_residual, s_r, bias, o_nn, o_nf, o_fn, o_ff, o_k, m,
           i_c: tl.constexpr, AREA: tl.constexpr):  # fmt: skip
    """A visibility logit at full resolution, with its residual."""
    b_occ = upsampled(p_state + i_c * s_c, o_nn, o_nf, o_fn, o_ff, m)
    return b_occ + _residual(p_residual, s_r, bias, o_k, m, i_c, AREA)


@triton.jit
def _gate(change, threshold, s_y, s_x, H2, W2, p_residual, s_r, bias, o_y, o_x, o_k, m,
          AREA: tl.constexpr):  # fmt: skip
    """The factor of the flows, from the change and its residual."""
    o_nn, o_nf, o_fn, o_ff = upsampling_offsets(o_y, o_x, H2, W2, s_y, s_x)
    b_change = upsampled(change, o_nn, o_nf, o_fn, o_ff, m)
    b_gate = _residual(p_residual, s_r, bias, o_k, m, GATE, AREA)
    b_gate += (b_change - tl.load(threshold).to(tl.float32)) * GATE_SLOPE
    return 1 / (1 + tl.exp(-b_gate))


# -- samples of 4 x 4 pixels -----------------------------------------------------------------------


@triton.jit
def _tap(o_before, SIZE, i_tap: tl.constexpr):
    """One of four pixels along an axis, the second of which is the one before the sample."""
    return tl.minimum(tl.maximum(o_before + (i_tap - 1), 0), SIZE - 1)


@triton.jit
def _linear_weight(b_fraction, i_tap: tl.constexpr):
    """The weight of the second or the third of four pixels, a bilinear sample being between."""
    return 1 - b_fraction if i_tap == 1 else b_fraction


@triton.jit
def _cubic_weight(b_fraction, i_tap: tl.constexpr):
    """The weight of one of four pixels; that of a bilinear sample and a product."""
    b_near = 1 - b_fraction if i_tap < 2 else b_fraction
    b_both = b_fraction * (1 - b_fraction)
    if i_tap == 0 or i_tap == 3:
        return CUBIC_SLOPE * b_both * b_near
    else:
        return b_near + b_both * (1 - (CUBIC_SLOPE + 2) * (1 - b_near))


@triton.jit
def _cubic_weight_slope(b_fraction, i_tap: tl.constexpr):
    """The derivative of `_cubic_weight` by the fraction."""
    b_near = 1 - b_fraction if i_tap < 2 else b_fraction
    if i_tap == 0 or i_tap == 3:
        b_slope = CUBIC_SLOPE * b_near * (2 - 3 * b_near)
    else:
        b_far = 1 - b_near
        b_slope = b_far * (2 * (CUBIC_SLOPE + 3) - 3 * (CUBIC_SLOPE + 2) * b_far)
    return -b_slope if i_tap < 2 else b_slope


@triton.jit
def _add_sharp_sample(
    b_0, b_1, b_2, p, s_c, s_y, s_x, o_n, o_w, H, W, b_fx, b_fy, b_bilinear, b_bicubic, m
):
    """Add to three channels a bilinear and a bicubic sample of an image, times a weight each."""
    for i_y in tl.static_range(4):
        p_row = p + _tap(o_n, H, i_y) * s_y
        b_wy = b_bicubic * _cubic_weight(b_fy, i_y)
        for i_x in tl.static_range(4):
            b_w = b_wy * _cubic_weight(b_fx, i_x)
            if (i_y == 1 or i_y == 2) and (i_x == 1 or i_x == 2):
                b_w += b_bilinear * (_linear_weight(b_fy, i_y) * _linear_weight(b_fx, i_x))
            p_tap = p_row + _tap(o_w, W, i_x) * s_x
            b_0 += b_w * tl.load(p_tap, mask=m, other=0.0)
            b_1 += b_w * tl.load(p_tap + s_c, mask=m, other=0.0)
            b_2 += b_w * tl.load(p_tap + 2 * s_c, mask=m, other=0.0)
    return b_0, b_1, b_2


@triton.jit
def _derived_sample(b_g0, b_g1, b_g2, p, s_c, s_y, s_x, o_n, o_w, H, W, b_fx, b_fy, b_sharp, m):
    """The sample of the sum over channels of an image times a gradient, its derivatives by x, y and
    the sharpness.
    """
    b_cubic = tl.zeros_like(b_fx)
    b_cubic_x = tl.zeros_like(b_fx)
    b_cubic_y = tl.zeros_like(b_fx)
    b_linear = tl.zeros_like(b_fx)
    b_linear_x = tl.zeros_like(b_fx)
    b_linear_y = tl.zeros_like(b_fx)
    for i_y in tl.static_range(4):
        p_row = p + _tap(o_n, H, i_y) * s_y
        b_row = tl.zeros_like(b_fx)
        b_row_x = tl.zeros_like(b_fx)
        b_west = tl.zeros_like(b_fx)
        b_east = tl.zeros_like(b_fx)
        for i_x in tl.static_range(4):
            p_tap = p_row + _tap(o_w, W, i_x) * s_x
            b = b_g0 * tl.load(p_tap, mask=m, other=0.0)
            b += b_g1 * tl.load(p_tap + s_c, mask=m, other=0.0)
            b += b_g2 * tl.load(p_tap + 2 * s_c, mask=m, other=0.0)
            b_row += _cubic_weight(b_fx, i_x) * b
            b_row_x += _cubic_weight_slope(b_fx, i_x) * b
            if i_x == 1:
                b_west = b
            if i_x == 2:
                b_east = b
        b_cubic += _cubic_weight(b_fy, i_y) * b_row
        b_cubic_x += _cubic_weight(b_fy, i_y) * b_row_x
        b_cubic_y += _cubic_weight_slope(b_fy, i_y) * b_row
        if i_y == 1 or i_y == 2:
            b_row = b_west + b_fx * (b_east - b_west)
            b_linear += _linear_weight(b_fy, i_y) * b_row
            b_linear_x += _linear_weight(b_fy, i_y) * (b_east - b_west)
            b_linear_y += -b_row if i_y == 1 else b_row
    b_dsharp = b_cubic - b_linear
    return (
        b_linear + b_sharp * b_dsharp,
        b_linear_x + b_sharp * (b_cubic_x - b_linear_x),
        b_linear_y + b_sharp * (b_cubic_y - b_linear_y),
        b_dsharp,
    )


# -- forward ---------------------------------------------------------------------------------------


@triton.jit
def refine_output_fwd_kernel(
    out,  # (B, 3, HW), contiguous, written
    residual,  # (B, R S^2, hw), channels last or planes
    bias,  # (R S^2,), contiguous
    image0, s0_b, s0_c, s0_y, s0_x,  # (B, 3, H, W)
    image1, s1_b, s1_c, s1_y, s1_x,  # (B, 3, H, W)
    state, ss_b, ss_c, ss_y, ss_x,  # (B, STATE, H/2, W/2)
    change, sc_b, sc_c, sc_y, sc_x,  # (B, 1, H/2, W/2)
    threshold,  # ()
    H, W, HW, H2, W2,
    w, hw,  # of the residual
    blocks_per_image,  # programs per image
    R: tl.constexpr, S: tl.constexpr, BP: tl.constexpr,
    CHANNELS_LAST: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    o_plane = tl.full((), HW, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
    o_p, o_k, m_p, o_y, o_x = block_pixels(i_p, w, hw, S, BP)
    m = m_p & (o_k < S * S)
    AREA: tl.constexpr = S * S
    s_r, s_p = _residual_strides(hw, R, S, CHANNELS_LAST)
    p_r = residual + i_b * hw * (R * AREA) + o_p * s_p + o_k * s_r
    p_state = state + i_b * ss_b
    b_gate = _gate(
        change + i_b * sc_b, threshold, sc_y, sc_x, H2, W2, p_r, s_r, bias, o_y, o_x, o_k, m, AREA
    )
    o_nn, o_nf, o_fn, o_ff = upsampling_offsets(o_y, o_x, H2, W2, ss_y, ss_x)
    b_w0, b_w1 = blend_weights(
        _logit(p_state, ss_c, p_r, s_r, bias, o_nn, o_nf, o_fn, o_ff, o_k, m, 4, AREA),
        _logit(p_state, ss_c, p_r, s_r, bias, o_nn, o_nf, o_fn, o_ff, o_k, m, 5, AREA),
    )
    p_out = out + i_b * 3 * o_plane + o_y * W + o_x
    if R == SHARP_RESIDUALS:
        b_s = _residual(p_r, s_r, bias, o_k, m, SHARPNESS, AREA)
        b_0 = _residual(p_r, s_r, bias, o_k, m, STATE, AREA)
        b_1 = _residual(p_r, s_r, bias, o_k, m, STATE + 1, AREA)
        b_2 = _residual(p_r, s_r, bias, o_k, m, STATE + 2, AREA)
        for i_image in tl.static_range(2):
            b_d = _moved(
                p_state, ss_c, p_r, s_r, bias, o_nn, o_nf, o_fn, o_ff, o_k, m, 2 * i_image, AREA
            )
            o_w, _, b_fx, _ = axis_coords(b_gate * b_d, o_x, W)
            b_d = _moved(
                p_state, ss_c, p_r, s_r, bias, o_nn, o_nf, o_fn, o_ff, o_k, m, 2 * i_image + 1, AREA
            )
            o_n, _, b_fy, _ = axis_coords(b_gate * b_d, o_y, H)
            if i_image == 0:
                p, s_c, s_y, s_x, b_w = image0 + i_b * s0_b, s0_c, s0_y, s0_x, b_w0
            else:
                p, s_c, s_y, s_x, b_w = image1 + i_b * s1_b, s1_c, s1_y, s1_x, b_w1
            b_0, b_1, b_2 = _add_sharp_sample(
                b_0, b_1, b_2, p, s_c, s_y, s_x, o_n, o_w, H, W, b_fx, b_fy,
                (1 - b_s) * b_w, b_s * b_w, m,
            )  # fmt: skip
        tl.store(p_out, b_0, mask=m)
        tl.store(p_out + o_plane, b_1, mask=m)
        tl.store(p_out + 2 * o_plane, b_2, mask=m)
    else:
        b_d = _moved(p_state, ss_c, p_r, s_r, bias, o_nn, o_nf, o_fn, o_ff, o_k, m, 0, AREA)
        o_w, o_e, b_fx0, _ = axis_coords(b_gate * b_d, o_x, W)
        b_d = _moved(p_state, ss_c, p_r, s_r, bias, o_nn, o_nf, o_fn, o_ff, o_k, m, 1, AREA)
        o_n, o_s, b_fy0, _ = axis_coords(b_gate * b_d, o_y, H)
        o_nw0, o_ne0, o_sw0, o_se0 = corner_offsets(o_n, o_s, o_w, o_e, s0_y, s0_x)
        b_d = _moved(p_state, ss_c, p_r, s_r, bias, o_nn, o_nf, o_fn, o_ff, o_k, m, 2, AREA)
        o_w, o_e, b_fx1, _ = axis_coords(b_gate * b_d, o_x, W)
        b_d = _moved(p_state, ss_c, p_r, s_r, bias, o_nn, o_nf, o_fn, o_ff, o_k, m, 3, AREA)
        o_n, o_s, b_fy1, _ = axis_coords(b_gate * b_d, o_y, H)
        o_nw1, o_ne1, o_sw1, o_se1 = corner_offsets(o_n, o_s, o_w, o_e, s1_y, s1_x)
        p_0, p_1 = image0 + i_b * s0_b, image1 + i_b * s1_b
        for i_c in tl.static_range(3):
            b_nw, b_ne, b_sw, b_se = load_corners(p_0, o_nw0, o_ne0, o_sw0, o_se0, m)
            b_out = b_w0 * bilinear(b_nw, b_ne, b_sw, b_se, b_fx0, b_fy0)
            b_nw, b_ne, b_sw, b_se = load_corners(p_1, o_nw1, o_ne1, o_sw1, o_se1, m)
            b_out += b_w1 * bilinear(b_nw, b_ne, b_sw, b_se, b_fx1, b_fy1)
            b_out += _residual(p_r, s_r, bias, o_k, m, STATE + i_c, AREA)
            tl.store(p_out, b_out, mask=m)
            p_0 += s0_c
            p_1 += s1_c
            p_out += o_plane


# -- backward --------------------------------------------------------------------------------------


@triton.jit
def _store_gradient(
    p_dresidual, s_r, p_partial, o_k, b_d, m, i_c: tl.constexpr, AREA: tl.constexpr
):
    """The gradient of a residual, and its sum over the pixels of the program."""
    b_d = tl.where(m, b_d, 0.0)
    p = p_dresidual + i_c * AREA * s_r
    tl.store(p, b_d.to(p_dresidual.dtype.element_ty), mask=m)
    tl.store(p_partial + i_c * AREA + o_k, tl.sum(b_d, 0, keep_dims=True))


@triton.jit
def refine_output_bwd_kernel(
    dresidual,  # as residual, contiguous, written
    dfine,  # (B, STATE, HW), contiguous, written: of flows and logits at full resolution
    partial,  # (programs, R S^2), contiguous, written: sums of the residuals' gradients
    grad,  # (B, 3, HW), contiguous
    residual,  # (B, R S^2, hw), channels last or planes
    bias,  # (R S^2,), contiguous
    image0, s0_b, s0_c, s0_y, s0_x,  # (B, 3, H, W)
    image1, s1_b, s1_c, s1_y, s1_x,  # (B, 3, H, W)
    state, ss_b, ss_c, ss_y, ss_x,  # (B, STATE, H/2, W/2)
    change, sc_b, sc_c, sc_y, sc_x,  # (B, 1, H/2, W/2)
    threshold,  # ()
    H, W, HW, H2, W2,
    w, hw,  # of the residual
    blocks_per_image,  # programs per image
    R: tl.constexpr, S: tl.constexpr, BP: tl.constexpr,
    CHANNELS_LAST: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    o_plane = tl.full((), HW, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:
        i_p = i_p.to(tl.int64)
    o_p, o_k, m_p, o_y, o_x = block_pixels(i_p, w, hw, S, BP)
    m = m_p & (o_k < S * S)
    AREA: tl.constexpr = S * S
    s_r, s_p = _residual_strides(hw, R, S, CHANNELS_LAST)
    o_r = i_b * hw * (R * AREA) + o_p * s_p + o_k * s_r
    p_r, p_dr = residual + o_r, dresidual + o_r
    p_partial = partial + tl.program_id(0).to(tl.int64) * (R * AREA)
    p_state = state + i_b * ss_b
    b_gate = _gate(
        change + i_b * sc_b, threshold, sc_y, sc_x, H2, W2, p_r, s_r, bias, o_y, o_x, o_k, m, AREA
    )
    o_nn, o_nf, o_fn, o_ff = upsampling_offsets(o_y, o_x, H2, W2, ss_y, ss_x)
    b_occ0 = _logit(p_state, ss_c, p_r, s_r, bias, o_nn, o_nf, o_fn, o_ff, o_k, m, 4, AREA)
    b_occ1 = _logit(p_state, ss_c, p_r, s_r, bias, o_nn, o_nf, o_fn, o_ff, o_k, m, 5, AREA)
    b_w0, b_w1 = blend_weights(b_occ0, b_occ1)
    p_grad = grad + i_b * 3 * o_plane + o_y * W + o_x
    p_fine = dfine + i_b * STATE * o_plane + o_y * W + o_x
    b_dgate = tl.zeros((BP, AREA), tl.float32)
    b_dw = tl.zeros((BP, AREA), tl.float32)  # sum over channels of grad (sample0 - sample1)
    if R == SHARP_RESIDUALS:
        b_s = _residual(p_r, s_r, bias, o_k, m, SHARPNESS, AREA)
        b_dsharp = tl.zeros((BP, AREA), tl.float32)
        b_g0 = tl.load(p_grad, mask=m, other=0.0)
        b_g1 = tl.load(p_grad + o_plane, mask=m, other=0.0)
        b_g2 = tl.load(p_grad + 2 * o_plane, mask=m, other=0.0)
    for i_image in tl.static_range(2):
        b_dx = _moved(
            p_state, ss_c, p_r, s_r, bias, o_nn, o_nf, o_fn, o_ff, o_k, m, 2 * i_image, AREA
        )
        b_dy = _moved(
            p_state, ss_c, p_r, s_r, bias, o_nn, o_nf, o_fn, o_ff, o_k, m, 2 * i_image + 1, AREA
        )
        o_w, o_e, b_fx, m_x = axis_coords(b_gate * b_dx, o_x, W)
        o_n, o_s, b_fy, m_y = axis_coords(b_gate * b_dy, o_y, H)
        if i_image == 0:
            p_image, s_c, s_y, s_x, b_w = image0 + i_b * s0_b, s0_c, s0_y, s0_x, b_w0
        else:
            p_image, s_c, s_y, s_x, b_w = image1 + i_b * s1_b, s1_c, s1_y, s1_x, b_w1
        if R == SHARP_RESIDUALS:
            b_sum, b_sum_x, b_sum_y, b_sum_s = _derived_sample(
                b_g0, b_g1, b_g2, p_image, s_c, s_y, s_x, o_n, o_w, H, W, b_fx, b_fy, b_s, m
            )
            b_dsharp += b_w * b_sum_s
        else:
            o_nw, o_ne, o_sw, o_se = corner_offsets(o_n, o_s, o_w, o_e, s_y, s_x)
            b_sum_x = tl.zeros((BP, AREA), tl.float32)
            b_sum_y = tl.zeros((BP, AREA), tl.float32)
            b_sum = tl.zeros((BP, AREA), tl.float32)
            for i_c in tl.static_range(3):
                b_g = tl.load(p_grad + i_c * o_plane, mask=m, other=0.0)
                b_nw, b_ne, b_sw, b_se = load_corners(
                    p_image + i_c * s_c, o_nw, o_ne, o_sw, o_se, m
                )
                b_x, b_y = bilinear_slopes(b_nw, b_ne, b_sw, b_se, b_fx, b_fy)
                b_sum_x += b_g * b_x
                b_sum_y += b_g * b_y
                b_sum += b_g * bilinear(b_nw, b_ne, b_sw, b_se, b_fx, b_fy)
        b_dw += b_sum if i_image == 0 else -b_sum
        b_sum_x = tl.where(m_x, b_w * b_sum_x, 0.0)
        b_sum_y = tl.where(m_y, b_w * b_sum_y, 0.0)
        b_dgate += b_sum_x * b_dx + b_sum_y * b_dy
        b_sum_x, b_sum_y = b_gate * b_sum_x, b_gate * b_sum_y
        tl.store(p_fine + 2 * i_image * o_plane, b_sum_x, mask=m)
        tl.store(p_fine + (2 * i_image + 1) * o_plane, b_sum_y, mask=m)
        _store_gradient(p_dr, s_r, p_partial, o_k, b_sum_x, m, 2 * i_image, AREA)
        _store_gradient(p_dr, s_r, p_partial, o_k, b_sum_y, m, 2 * i_image + 1, AREA)
    b_dw *= b_w0 * b_w1
    b_d = b_dw * sigmoid_of_minus(b_occ0)  # dlogsigmoid(occ) = sigmoid(-occ)
    tl.store(p_fine + FLOWS * o_plane, b_d, mask=m)
    _store_gradient(p_dr, s_r, p_partial, o_k, b_d, m, FLOWS, AREA)
    b_d = -b_dw * sigmoid_of_minus(b_occ1)
    tl.store(p_fine + (FLOWS + 1) * o_plane, b_d, mask=m)
    _store_gradient(p_dr, s_r, p_partial, o_k, b_d, m, FLOWS + 1, AREA)
    for i_c in tl.static_range(3):
        b_g = tl.load(p_grad + i_c * o_plane, mask=m, other=0.0)
        _store_gradient(p_dr, s_r, p_partial, o_k, b_g, m, STATE + i_c, AREA)
    b_d = b_dgate * b_gate * (1 - b_gate)
    _store_gradient(p_dr, s_r, p_partial, o_k, b_d, m, GATE, AREA)
    if R == SHARP_RESIDUALS:
        _store_gradient(p_dr, s_r, p_partial, o_k, b_dsharp, m, SHARPNESS, AREA)


@triton.jit
def refine_output_sums_kernel(
    dbias,  # (R AREA,), contiguous, written
    dthreshold,  # (), written
    partial,  # (rows, R AREA), contiguous
    rows,
    R: tl.constexpr, AREA: tl.constexpr, BR: tl.constexpr,
):  # fmt: skip
    """A program sums one residual of each of the AREA pixels."""
    i_c = tl.program_id(0)
    o_r = tl.arange(0, BR)[:, None]
    o_k = tl.arange(0, AREA)[None, :]
    b_sum = tl.zeros((BR, AREA), tl.float32)
    for i_r in range(0, rows, BR):
        o_row = (i_r + o_r).to(tl.int64)
        p = partial + o_row * (R * AREA) + i_c * AREA + o_k
        b_sum += tl.load(p, mask=o_row < rows, other=0.0)
    b_sum = tl.sum(b_sum, 0)
    tl.store(dbias + i_c * AREA + tl.arange(0, AREA), b_sum)
    if i_c == GATE:  # the threshold moves the gate as its bias does
        tl.store(dthreshold, tl.sum(b_sum, 0) * -GATE_SLOPE)
