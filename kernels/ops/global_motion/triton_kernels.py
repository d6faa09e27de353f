"""Triton kernels of `global_motion`: one launch forward, two backward.

A program computes BP pixels of one image, numbered row by row. It walks over the displacements, BM
at a time, samples the correlation at a place of its own for each, and keeps what a softmax needs
(the online softmax of Milakov and Gimelshein, 2018). The backward samples again, first for the
softmax, then for the gradients of the samples. All pixels move alike for one displacement, so the
gradient of the correlation gathers from those around the opposite place and needs no atomics. All
arithmetic is float32.

Names: B* block sizes, i_* program ids, o_* offsets, m_* masks, p_* pointers, s_* strides, b_*
blocks in registers; blocks are (displacements or channels, pixels).
"""

import triton
import triton.language as tl

from lift.kernels.ops.warp_blend.triton_kernels import (
    axis_coords,
    bilinear,
    corner_offsets,
    load_corners,
)
from lift.kernels.reduction import is_last_program, sum_rows


@triton.jit
def _pixels(i, blocks_per_image, HW, W, BP: tl.constexpr, INT64_OFFSETS: tl.constexpr):
    """The image of program i, its pixels (1, BP), their mask, rows and columns."""
    i_b, i_p = (i // blocks_per_image).to(tl.int64), i % blocks_per_image
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
    o_p = (i_p * BP + tl.arange(0, BP))[None, :]
    return i_b, o_p, o_p < HW, o_p // W, o_p % W


@triton.jit
def _channels(BC: tl.constexpr, INT64_OFFSETS: tl.constexpr):
    o_c = tl.arange(0, BC)[:, None]
    return o_c.to(tl.int64) if INT64_OFFSETS else o_c


@triton.jit
def _step(o_m, RADIUS: tl.constexpr):
    """Displacements dx and dy."""
    SIDE: tl.constexpr = 2 * RADIUS + 1
    return (o_m % SIDE - RADIUS).to(tl.float32), (o_m // SIDE - RADIUS).to(tl.float32)


@triton.jit
def _sample(p_volume, s_m, s_y, s_x, o_m, b_dx, b_dy, b_t, m, o_y, o_x, H, W):
    """The correlation of displacements at x - t*m."""
    o_w, o_e, b_fx, _ = axis_coords(-b_t * b_dx, o_x, W)
    o_n, o_s, b_fy, _ = axis_coords(-b_t * b_dy, o_y, H)
    o_nw, o_ne, o_sw, o_se = corner_offsets(o_n, o_s, o_w, o_e, s_y, s_x)
    b_nw, b_ne, b_sw, b_se = load_corners(p_volume + o_m * s_m, o_nw, o_ne, o_sw, o_se, m)
    return bilinear(b_nw, b_ne, b_sw, b_se, b_fx, b_fy)


@triton.jit
def _softmax_step(b_logits, b_dx, b_dy, b_max, b_sum, b_x, b_y):
    """The largest logit, the sum of weights and of weighted displacements after more of them."""
    b_new = tl.maximum(b_max, tl.max(b_logits, 0)[None, :])
    b_old = tl.exp(b_max - b_new)
    b_w = tl.exp(b_logits - b_new)
    b_sum = b_sum * b_old + tl.sum(b_w, 0)[None, :]
    b_x = b_x * b_old + tl.sum(b_w * b_dx, 0)[None, :]
    b_y = b_y * b_old + tl.sum(b_w * b_dy, 0)[None, :]
    return b_new, b_sum, b_x, b_y


@triton.jit
def _copy_channels(
    p_out, so_c, p_in, s_c, m_p, C: tl.constexpr, BC: tl.constexpr, INT64_OFFSETS: tl.constexpr
):
    o_c = _channels(BC, INT64_OFFSETS)
    for i_c in range(0, C, BC):
        m = m_p & (i_c + o_c < C)
        b = tl.load(p_in + (i_c + o_c) * s_c, mask=m, other=0.0).to(tl.float32)
        tl.store(p_out + (i_c + o_c) * so_c, b.to(p_out.dtype.element_ty), mask=m)


@triton.jit
def global_motion_fwd_kernel(
    out,  # (B, HW, K), contiguous, written
    state,  # (B, 6, HW), contiguous, written
    volume, sv_b, sv_m, sv_y, sv_x,  # (B, M, H, W)
    left, s0_b, s0_c, s0_y, s0_x,  # (B, C, H, W)
    right, s1_b, s1_c, s1_y, s1_x,  # (B, C, H, W)
    inv_temperature,  # ()
    prior,  # (M,), contiguous
    t, st_b,  # (B,)
    H, W, HW,
    blocks_per_image,  # programs per image
    C: tl.constexpr, RADIUS: tl.constexpr,
    BP: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    M: tl.constexpr = (2 * RADIUS + 1) * (2 * RADIUS + 1)
    K: tl.constexpr = M + 2 * C + 3
    i_b, o_p, m_p, o_y, o_x = _pixels(tl.program_id(0), blocks_per_image, HW, W, BP, INT64_OFFSETS)
    b_t, b_scale = tl.load(t + i_b * st_b), tl.load(inv_temperature)
    p_out = out + i_b * HW * K + o_p * K
    b_max = tl.full((1, BP), float("-inf"), tl.float32)
    b_sum = tl.zeros((1, BP), tl.float32)
    b_x, b_y = b_sum, b_sum
    for i_m in range(0, M, BM):
        o_m = i_m + _channels(BM, INT64_OFFSETS)
        m = m_p & (o_m < M)
        b_dx, b_dy = _step(o_m, RADIUS)
        b_sampled = _sample(
            volume + i_b * sv_b, sv_m, sv_y, sv_x, o_m, b_dx, b_dy, b_t, m, o_y, o_x, H, W
        )
        tl.store(p_out + o_m, b_sampled.to(out.dtype.element_ty), mask=m)
        b_prior = tl.load(prior + o_m, mask=o_m < M, other=float("-inf"))
        b_logits = b_scale * b_sampled + b_prior
        b_max, b_sum, b_x, b_y = _softmax_step(b_logits, b_dx, b_dy, b_max, b_sum, b_x, b_y)
    b_x, b_y = b_x / b_sum, b_y / b_sum

    p_left = left + i_b * s0_b + o_y * s0_y + o_x * s0_x
    _copy_channels(p_out + M, 1, p_left, s0_c, m_p, C, BC, INT64_OFFSETS)
    p_right = right + i_b * s1_b + o_y * s1_y + o_x * s1_x
    _copy_channels(p_out + M + C, 1, p_right, s1_c, m_p, C, BC, INT64_OFFSETS)
    o_k = _channels(4, INT64_OFFSETS)
    b_maps = tl.where(o_k == 0, b_x / RADIUS, tl.where(o_k == 1, b_y / RADIUS, b_t))
    tl.store(p_out + M + 2 * C + o_k, b_maps.to(out.dtype.element_ty), mask=m_p & (o_k < 3))
    o_k = _channels(8, INT64_OFFSETS)
    b_state = tl.where(o_k < 2, -b_t, 1 - b_t) * tl.where(o_k % 2 == 0, b_x, b_y)
    b_state = tl.where(o_k < 4, b_state, 0.0)
    tl.store(state + i_b * 6 * HW + o_k * HW + o_p, b_state, mask=m_p & (o_k < 6))


@triton.jit
def global_motion_bwd_kernel(
    dsampled,  # (B, M, HW), contiguous, written, or None
    dleft, sd0_b, sd0_c, sd0_y, sd0_x,  # (B, C, H, W), written, or None
    dright, sd1_b, sd1_c, sd1_y, sd1_x,  # (B, C, H, W), written, or None
    sums,  # (programs, M + 1), written, or None: parts of the next
    dparameters,  # (M + 1,), written, or None: gradients of prior and inv_temperature
    counter,  # (1,), zero, or None
    grad, sg_b, sg_c, sg_y, sg_x,  # (B, K, H, W), of the decoder's input
    dstate, ss_b, ss_c, ss_y, ss_x,  # (B, 6, H, W), of the state, or None
    volume, sv_b, sv_m, sv_y, sv_x,  # (B, M, H, W)
    inv_temperature,  # ()
    prior,  # (M,), contiguous
    t, st_b,  # (B,)
    H, W, HW,
    blocks_per_image,  # programs per image
    C: tl.constexpr, RADIUS: tl.constexpr,
    BP: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr, INT64_OFFSETS: tl.constexpr,
    programs, BROWS: tl.constexpr, BSUMS: tl.constexpr,
):  # fmt: skip
    M: tl.constexpr = (2 * RADIUS + 1) * (2 * RADIUS + 1)
    i_b, o_p, m_p, o_y, o_x = _pixels(tl.program_id(0), blocks_per_image, HW, W, BP, INT64_OFFSETS)
    b_t, b_scale = tl.load(t + i_b * st_b), tl.load(inv_temperature)
    p_volume = volume + i_b * sv_b
    p_grad = grad + i_b * sg_b + o_y * sg_y + o_x * sg_x
    if dleft is not None:
        p_left = dleft + i_b * sd0_b + o_y * sd0_y + o_x * sd0_x
        _copy_channels(p_left, sd0_c, p_grad + M * sg_c, sg_c, m_p, C, BC, INT64_OFFSETS)
    if dright is not None:
        p_right = dright + i_b * sd1_b + o_y * sd1_y + o_x * sd1_x
        _copy_channels(p_right, sd1_c, p_grad + (M + C) * sg_c, sg_c, m_p, C, BC, INT64_OFFSETS)
    if dsampled is not None or sums is not None:
        b_max = tl.full((1, BP), float("-inf"), tl.float32)
        b_sum = tl.zeros((1, BP), tl.float32)
        b_x, b_y, b_dscale = b_sum, b_sum, b_sum
        for i_m in range(0, M, BM):
            o_m = i_m + _channels(BM, INT64_OFFSETS)
            b_dx, b_dy = _step(o_m, RADIUS)
            b_sampled = _sample(
                p_volume, sv_m, sv_y, sv_x, o_m, b_dx, b_dy, b_t, m_p & (o_m < M), o_y, o_x, H, W
            )
            b_prior = tl.load(prior + o_m, mask=o_m < M, other=float("-inf"))
            b_logits = b_scale * b_sampled + b_prior
            b_max, b_sum, b_x, b_y = _softmax_step(b_logits, b_dx, b_dy, b_max, b_sum, b_x, b_y)
        b_x, b_y = b_x / b_sum, b_y / b_sum
        # the gradient of the motion
        p_motion = p_grad + (M + 2 * C) * sg_c
        b_gx = tl.load(p_motion, mask=m_p, other=0.0).to(tl.float32) / RADIUS
        b_gy = tl.load(p_motion + sg_c, mask=m_p, other=0.0).to(tl.float32) / RADIUS
        if dstate is not None:
            p_state = dstate + i_b * ss_b + o_y * ss_y + o_x * ss_x
            b_gx += (1 - b_t) * tl.load(p_state + 2 * ss_c, mask=m_p, other=0.0).to(tl.float32)
            b_gy += (1 - b_t) * tl.load(p_state + 3 * ss_c, mask=m_p, other=0.0).to(tl.float32)
            b_gx -= b_t * tl.load(p_state, mask=m_p, other=0.0).to(tl.float32)
            b_gy -= b_t * tl.load(p_state + ss_c, mask=m_p, other=0.0).to(tl.float32)
        p_sums = sums
        if sums is not None:
            p_sums += tl.program_id(0).to(tl.int64) * (M + 1)
        for i_m in range(0, M, BM):
            o_m = i_m + _channels(BM, INT64_OFFSETS)
            m = m_p & (o_m < M)
            b_dx, b_dy = _step(o_m, RADIUS)
            b_sampled = _sample(p_volume, sv_m, sv_y, sv_x, o_m, b_dx, b_dy, b_t, m, o_y, o_x, H, W)
            b_prior = tl.load(prior + o_m, mask=o_m < M, other=float("-inf"))
            b_w = tl.exp(b_scale * b_sampled + b_prior - b_max) / b_sum
            b_dlogits = b_w * (b_gx * (b_dx - b_x) + b_gy * (b_dy - b_y))
            if sums is not None:
                b_dlogits = tl.where(m_p, b_dlogits, 0.0)
                b_total = tl.sum(b_dlogits, 1)[:, None]
                tl.store(p_sums + o_m, b_total, mask=o_m < M)
                b_dscale += tl.sum(b_dlogits * b_sampled, 0)[None, :]
            if dsampled is not None:
                b_g = tl.load(p_grad + o_m * sg_c, mask=m, other=0.0).to(tl.float32)
                p_dsampled = dsampled + i_b * M * HW + o_m * HW + o_p
                tl.store(p_dsampled, b_g + b_scale * b_dlogits, mask=m)
        if sums is not None:
            tl.store(p_sums + M, tl.sum(b_dscale))
            if is_last_program(counter, programs):
                for i_m in range(0, M + 1, BSUMS):
                    o_sums = i_m + tl.arange(0, BSUMS)
                    sum_rows(dparameters, counter, sums, programs, M + 1, o_sums, BROWS, BSUMS)


@triton.jit
def _weight(o_from, o_to, b_shift, SIZE):
    """Weight of pixel `o_to` in a sample at `o_from` + shift, clamped to the border."""
    b_at = o_from.to(tl.float32) + b_shift
    b_at = tl.minimum(tl.where(b_at > 0, b_at, 0.0), SIZE - 1.0)
    return tl.maximum(1 - tl.abs(b_at - o_to.to(tl.float32)), 0.0)


@triton.jit
def _sampling_offsets(b_shift):
    """The first and the last offset from a pixel to samples that read it, those clamped too."""
    i_first = tl.floor(-b_shift).to(tl.int32)
    return tl.minimum(i_first, 0), tl.maximum(i_first + 1, 0)


@triton.jit
def global_motion_dvolume_kernel(
    dvolume, sd_b, sd_m, sd_y, sd_x,  # (B, M, H, W), written
    dsampled,  # (B, M, HW), contiguous
    t, st_b,  # (B,)
    H, W, HW,
    blocks_per_plane,  # programs per displacement of an image
    RADIUS: tl.constexpr, BP: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    M: tl.constexpr = (2 * RADIUS + 1) * (2 * RADIUS + 1)
    i_plane, i_p = tl.program_id(0) // blocks_per_plane, tl.program_id(0) % blocks_per_plane
    i_b, i_m = (i_plane // M).to(tl.int64), (i_plane % M).to(tl.int64)
    if INT64_OFFSETS:
        i_p = i_p.to(tl.int64)
    o_p = i_p * BP + tl.arange(0, BP)
    m_p = o_p < HW
    o_y, o_x = o_p // W, o_p % W
    b_t = tl.load(t + i_b * st_b)
    b_dx, b_dy = _step(i_m, RADIUS)
    b_dx, b_dy = -b_t * b_dx, -b_t * b_dy
    i_left, i_right = _sampling_offsets(b_dx)
    i_dy, i_last = _sampling_offsets(b_dy)
    p_dsampled = dsampled + (i_b * M + i_m) * HW
    b_sum = tl.zeros((BP,), tl.float32)
    while i_dy <= i_last:
        o_from_y = o_y + i_dy
        b_wy = _weight(o_from_y, o_y, b_dy, H)
        m_y = m_p & (o_from_y >= 0) & (o_from_y < H) & (b_wy > 0)
        i_dx = i_left
        while i_dx <= i_right:
            o_from_x = o_x + i_dx
            b_wx = _weight(o_from_x, o_x, b_dx, W)
            m = m_y & (o_from_x >= 0) & (o_from_x < W) & (b_wx > 0)
            b_sum += b_wy * b_wx * tl.load(p_dsampled + o_from_y * W + o_from_x, mask=m, other=0.0)
            i_dx += 1
        i_dy += 1
    tl.store(dvolume + i_b * sd_b + i_m * sd_m + o_y * sd_y + o_x * sd_x, b_sum, mask=m_p)
