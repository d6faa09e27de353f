"""Triton kernels of `flow_inputs`, forward and backward, one launch each.

A program computes all channels of BP pixels of one image, numbered row by row: the features BC
channels at a time as in `warp`, the correlations BD at a time, then the few maps of the estimate as
one block. Flows, coordinates, weights and sums are float32 whatever the features are.

Names: B* block sizes, i_* program ids, o_* offsets, m_* masks, p_* pointers, s_* strides, b_*
blocks in registers.
"""

import triton
import triton.language as tl

from lift.kernels.ops.warp_blend.triton_kernels import (
    bilinear,
    bilinear_slopes,
    corner_offsets,
    load_corners,
    sample_coords,
    scatter_add,
)

BLOCK_MAPS = tl.constexpr(16)  # zero_motion, 6 of the state, t, 2 of missing


@triton.jit
def _pixels(i, blocks_per_image, HW, W, BP: tl.constexpr, INT64_OFFSETS: tl.constexpr):
    """The image of program i, its pixels (BP, 1), their mask, rows and columns."""
    i_b, i_p = (i // blocks_per_image).to(tl.int64), i % blocks_per_image
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
    o_p = (i_p * BP + tl.arange(0, BP))[:, None]
    return i_b, o_p, o_p < HW, o_p // W, o_p % W


@triton.jit
def _channels(BC: tl.constexpr, INT64_OFFSETS: tl.constexpr):
    o_c = tl.arange(0, BC)[None, :]
    return o_c.to(tl.int64) if INT64_OFFSETS else o_c


@triton.jit
def _write_warped(
    p_out, p_image, s_c, s_y, s_x, p_flow, s_flow_c, o_flow, o_p, m_p, o_y, o_x, H, W,
    C: tl.constexpr, K: tl.constexpr, BC: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    """Write C channels of an image, warped, where the output's channels are K to a pixel."""
    o_n, o_s, o_w, o_e, b_fx, b_fy, _, _ = sample_coords(
        p_flow, s_flow_c, o_flow, m_p, o_x, o_y, H, W
    )
    o_nw, o_ne, o_sw, o_se = corner_offsets(o_n, o_s, o_w, o_e, s_y, s_x)
    o_c = _channels(BC, INT64_OFFSETS)
    for i_c in range(0, C, BC):
        o_i = i_c + o_c
        m = m_p & (o_i < C)
        b_nw, b_ne, b_sw, b_se = load_corners(p_image + o_i * s_c, o_nw, o_ne, o_sw, o_se, m)
        b_out = bilinear(b_nw, b_ne, b_sw, b_se, b_fx, b_fy)
        tl.store(p_out + o_p * K + o_i, b_out.to(p_out.dtype.element_ty), mask=m)


@triton.jit
def flow_inputs_fwd_kernel(
    out,  # (B, HW, K), contiguous, written
    left, s0_b, s0_c, s0_y, s0_x: tl.constexpr,  # (B, C, H, W)
    right, s1_b, s1_c, s1_y, s1_x: tl.constexpr,  # (B, C, H, W)
    local, sl_b, sl_c, sl_y, sl_x,  # (B, D, H, W)
    zero_motion, sz_b, sz_c, sz_y, sz_x,  # (B, 1, H, W)
    state, ss_b, ss_c, ss_y, ss_x,  # (B, 6, H, W)
    missing, sm_b, sm_c, sm_y, sm_x,  # (B, 2, H, W), or None
    t, st_b,  # (B,)
    factor,  # of the flows
    H, W, HW,
    blocks_per_image,  # programs per image
    C: tl.constexpr, D: tl.constexpr, K: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr, BD: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b, o_p, m_p, o_y, o_x = _pixels(tl.program_id(0), blocks_per_image, HW, W, BP, INT64_OFFSETS)
    p_out = out + i_b * HW * K
    p_state, o_state = state + i_b * ss_b, o_y * ss_y + o_x * ss_x
    p_left, p_right = left + i_b * s0_b, right + i_b * s1_b
    _write_warped(
        p_out, p_left, s0_c, s0_y, s0_x, p_state, ss_c, o_state,
        o_p, m_p, o_y, o_x, H, W, C, K, BC, INT64_OFFSETS,
    )  # fmt: skip
    _write_warped(
        p_out + C, p_right, s1_c, s1_y, s1_x, p_state + 2 * ss_c, ss_c, o_state,
        o_p, m_p, o_y, o_x, H, W, C, K, BC, INT64_OFFSETS,
    )  # fmt: skip

    p_local = local + i_b * sl_b + o_y * sl_y + o_x * sl_x
    for i_d in range(0, D, BD):
        o_d = i_d + _channels(BD, INT64_OFFSETS)
        m = m_p & (o_d < D)
        b_local = tl.load(p_local + o_d * sl_c, mask=m, other=0.0).to(tl.float32)
        tl.store(p_out + 2 * C + o_p * K + o_d, b_local.to(out.dtype.element_ty), mask=m)

    o_k = _channels(BLOCK_MAPS, INT64_OFFSETS)
    p_zero_motion = zero_motion + i_b * sz_b + o_y * sz_y + o_x * sz_x
    b_maps = tl.load(p_zero_motion + 0 * o_k, mask=m_p & (o_k == 0), other=0.0).to(tl.float32)
    m = m_p & (o_k >= 1) & (o_k < 7)
    b_state = tl.load(p_state + o_state + (o_k - 1) * ss_c, mask=m, other=0.0)
    b_maps += tl.where(o_k < 5, b_state * factor, b_state)
    b_maps += tl.where(o_k == 7, tl.load(t + i_b * st_b), 0.0)
    if missing is not None:
        p_missing = missing + i_b * sm_b + o_y * sm_y + o_x * sm_x
        b_maps += tl.load(p_missing + (o_k - 8) * sm_c, mask=m_p & (o_k >= 8) & (o_k < 10), other=0)
    m = m_p & (o_k < K - 2 * C - D)
    tl.store(p_out + 2 * C + D + o_p * K + o_k, b_maps.to(out.dtype.element_ty), mask=m)


@triton.jit
def _warp_gradients(
    p_grad, s_grad_c, p_image, s_c, s_y, s_x, p_dimage, sd_c, sd_y, sd_x, p_flow, s_flow_c, o_flow,
    m_p, o_y, o_x, H, W, b_scale,
    C: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, INT64_OFFSETS: tl.constexpr,
    FIXED_POINT: tl.constexpr, HAS_DIMAGE: tl.constexpr, HAS_DFLOW: tl.constexpr,
):  # fmt: skip
    """Add to the gradient of an image; returns the gradients of the flow's dx and dy (BP, 1)."""
    o_n, o_s, o_w, o_e, b_fx, b_fy, m_x, m_y = sample_coords(
        p_flow, s_flow_c, o_flow, m_p, o_x, o_y, H, W
    )
    o_nw, o_ne, o_sw, o_se = corner_offsets(o_n, o_s, o_w, o_e, s_y, s_x)
    o_nwd, o_ned, o_swd, o_sed = corner_offsets(o_n, o_s, o_w, o_e, sd_y, sd_x)
    o_c = _channels(BC, INT64_OFFSETS)
    b_dx = tl.zeros((BP, 1), tl.float32)
    b_dy = tl.zeros((BP, 1), tl.float32)
    for i_c in range(0, C, BC):
        o_i = i_c + o_c
        m = m_p & (o_i < C)
        b_g = tl.load(p_grad + o_i * s_grad_c, mask=m, other=0.0).to(tl.float32)
        if HAS_DFLOW:
            b_nw, b_ne, b_sw, b_se = load_corners(p_image + o_i * s_c, o_nw, o_ne, o_sw, o_se, m)
            b_x, b_y = bilinear_slopes(b_nw, b_ne, b_sw, b_se, b_fx, b_fy)
            b_dx += tl.sum(b_g * b_x, 1, keep_dims=True)
            b_dy += tl.sum(b_g * b_y, 1, keep_dims=True)
        if HAS_DIMAGE:
            scatter_add(
                p_dimage + o_i * sd_c, o_nwd, o_ned, o_swd, o_sed, b_fx, b_fy, b_g, 1.0, m, b_scale,
                FIXED_POINT,
            )  # fmt: skip
    return tl.where(m_x, b_dx, 0.0), tl.where(m_y, b_dy, 0.0)


@triton.jit
def flow_inputs_bwd_kernel(
    grad, sg_b, sg_c, sg_y, sg_x,  # (B, K, H, W), of the output
    left, s0_b, s0_c, s0_y, s0_x: tl.constexpr,  # (B, C, H, W)
    right, s1_b, s1_c, s1_y, s1_x: tl.constexpr,  # (B, C, H, W)
    state, ss_b, ss_c, ss_y, ss_x,  # (B, 6, H, W)
    dleft, sd0_b, sd0_c, sd0_y, sd0_x,  # (B, C, H, W), added to: float32, or int64 if FIXED_POINT
    dright, sd1_b, sd1_c, sd1_y, sd1_x,  # as dleft
    dlocal, sl_b, sl_c, sl_y, sl_x,  # (B, D, H, W), written
    dzero_motion,  # (B, HW), contiguous, written
    dstate,  # (B, 6, HW), contiguous, written
    scale,  # (), fixed-point units in 1, if FIXED_POINT
    factor,  # of the flows
    H, W, HW,
    blocks_per_image,  # programs per image
    C: tl.constexpr, D: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr, BD: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b, o_p, m_p, o_y, o_x = _pixels(tl.program_id(0), blocks_per_image, HW, W, BP, INT64_OFFSETS)
    FIXED_POINT: tl.constexpr = scale is not None
    HAS_DSTATE: tl.constexpr = dstate is not None
    b_scale = 1.0
    if FIXED_POINT:
        b_scale = tl.load(scale)
    p_grad = grad + i_b * sg_b + o_y * sg_y + o_x * sg_x
    p_state, o_state = state + i_b * ss_b, o_y * ss_y + o_x * ss_x
    if dleft is not None or HAS_DSTATE:
        b_dx0, b_dy0 = _warp_gradients(
            p_grad, sg_c, left + i_b * s0_b, s0_c, s0_y, s0_x,
            dleft if dleft is None else dleft + i_b * sd0_b, sd0_c, sd0_y, sd0_x,
            p_state, ss_c, o_state, m_p, o_y, o_x, H, W, b_scale,
            C, BP, BC, INT64_OFFSETS, FIXED_POINT, dleft is not None, HAS_DSTATE,
        )  # fmt: skip
    if dright is not None or HAS_DSTATE:
        b_dx1, b_dy1 = _warp_gradients(
            p_grad + C * sg_c, sg_c, right + i_b * s1_b, s1_c, s1_y, s1_x,
            dright if dright is None else dright + i_b * sd1_b, sd1_c, sd1_y, sd1_x,
            p_state + 2 * ss_c, ss_c, o_state, m_p, o_y, o_x, H, W, b_scale,
            C, BP, BC, INT64_OFFSETS, FIXED_POINT, dright is not None, HAS_DSTATE,
        )  # fmt: skip
    p_grad += 2 * C * sg_c
    if dlocal is not None:
        p_dlocal = dlocal + i_b * sl_b + o_y * sl_y + o_x * sl_x
        for i_d in range(0, D, BD):
            o_d = i_d + _channels(BD, INT64_OFFSETS)
            m = m_p & (o_d < D)
            b_g = tl.load(p_grad + o_d * sg_c, mask=m, other=0.0).to(tl.float32)
            tl.store(p_dlocal + o_d * sl_c, b_g.to(dlocal.dtype.element_ty), mask=m)
    p_grad += D * sg_c
    if dzero_motion is not None:
        b_g = tl.load(p_grad, mask=m_p, other=0.0).to(tl.float32)
        tl.store(dzero_motion + i_b * HW + o_p, b_g.to(dzero_motion.dtype.element_ty), mask=m_p)
    if HAS_DSTATE:
        o_k = _channels(8, INT64_OFFSETS)
        m = m_p & (o_k < 6)
        b_d = tl.load(p_grad + (1 + o_k) * sg_c, mask=m, other=0.0).to(tl.float32)
        b_d = tl.where(o_k < 4, b_d * factor, b_d)
        b_d += tl.where(o_k == 0, b_dx0, 0.0) + tl.where(o_k == 1, b_dy0, 0.0)
        b_d += tl.where(o_k == 2, b_dx1, 0.0) + tl.where(o_k == 3, b_dy1, 0.0)
        tl.store(dstate + i_b * 6 * HW + o_k * HW + o_p, b_d, mask=m)
