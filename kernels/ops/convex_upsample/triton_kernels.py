"""Triton kernels of `convex_upsample`: one launch forward, two backward.

A program computes BP coarse pixels and the four fine ones that each holds. Backward, the first
kernel goes from the fine pixels to their logits and writes each fine pixel's log-sum-exp, so that
the second finds a weight from its logit alone: a coarse pixel collects its gradient from the fine
pixels around it. Of the sums over pixels, the gradient of the prior, each program writes a part,
and the last one adds them up, always in one order. All arithmetic is float32.

Names: B* block sizes, i_* program ids and loops, o_* offsets, m_* masks, p_* pointers, s_* strides,
b_* blocks in registers. i_f is a fine pixel of its coarse one, i_k one of the nine around.
"""

import triton
import triton.language as tl

from lift.kernels.ops.convex_upsample import reference
from lift.kernels.reduction import is_last_program, sum_rows

CHANNELS = tl.constexpr(reference.CHANNELS)
FLOWS = tl.constexpr(reference.FLOWS)
FACTOR = tl.constexpr(float(reference.FACTOR))


@triton.jit
def _pixels(W, HW, blocks_per_image, BP: tl.constexpr, INT64_OFFSETS: tl.constexpr):
    """The image of this program, its pixels, their rows and columns, and which exist.

    Past the end of the image the last pixel stands in.
    """
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
    o_p = i_p * BP + tl.arange(0, BP)
    m = o_p < HW
    o_p = tl.minimum(o_p, HW - 1)
    return i_b, o_p, o_p // W, o_p % W, m


@triton.jit
def _offsets_around(o_y, o_x, H, W, s_y, s_x):
    """Offsets of the nine pixels around each, beyond the border the nearest."""
    o_around = ()
    for i_k in tl.static_range(9):
        o_row = tl.minimum(tl.maximum(o_y + (i_k // 3 - 1), 0), H - 1)
        o_column = tl.minimum(tl.maximum(o_x + (i_k % 3 - 1), 0), W - 1)
        o_around += (o_row * s_y + o_column * s_x,)
    return o_around


@triton.jit
def _softmax(p_logits, s_c, prior):
    """The nine weights of a fine pixel in each coarse one, and their log-sum-exp."""
    b_logits = ()
    for i_k in tl.static_range(9):
        b_logit = tl.load(p_logits + i_k * s_c).to(tl.float32)
        b_logits += (b_logit + tl.load(prior + i_k).to(tl.float32),)
    b_max = b_logits[0]
    for i_k in tl.static_range(1, 9):
        b_max = tl.maximum(b_max, b_logits[i_k])
    b_exps = ()
    b_sum = tl.zeros_like(b_max)
    for i_k in tl.static_range(9):
        b_exps += (tl.exp(b_logits[i_k] - b_max),)
        b_sum += b_exps[i_k]
    b_weights = ()
    for i_k in tl.static_range(9):
        b_weights += (b_exps[i_k] / b_sum,)
    return b_weights, b_max + tl.log(b_sum)


@triton.jit
def convex_upsample_fwd_kernel(
    out,  # (B, 6, 4 HW), contiguous, written
    state, s_b, s_c, s_y, s_x,  # (B, 6, H, W)
    logits, sl_b, sl_c, sl_y, sl_x,  # (B, 36, H, W)
    prior,  # (36,), contiguous
    H, W, HW,
    blocks_per_image,  # programs per image
    BP: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b, _, o_y, o_x, m = _pixels(W, HW, blocks_per_image, BP, INT64_OFFSETS)
    o_plane = 4 * tl.full((), HW, tl.int64 if INT64_OFFSETS else tl.int32)
    o_around = _offsets_around(o_y, o_x, H, W, s_y, s_x)
    p_logits = logits + i_b * sl_b + o_y * sl_y + o_x * sl_x
    b_weights = ()
    for i_f in tl.static_range(4):
        b_nine, _ = _softmax(p_logits + 9 * i_f * sl_c, sl_c, prior + 9 * i_f)
        b_weights += b_nine
    p_state = state + i_b * s_b
    # Both fine columns of a coarse pixel are stored at once.
    p_out = out + i_b * CHANNELS * o_plane + (4 * o_y * W + 2 * o_x)[:, None]
    p_out += tl.arange(0, 2)[None, :]
    m_out = tl.broadcast_to(m[:, None], (BP, 2))
    for i_c in tl.static_range(CHANNELS):
        b_0 = tl.zeros((BP,), tl.float32)
        b_1, b_2, b_3 = b_0, b_0, b_0
        for i_k in tl.static_range(9):
            b_state = tl.load(p_state + o_around[i_k])
            b_0 += b_weights[i_k] * b_state
            b_1 += b_weights[9 + i_k] * b_state
            b_2 += b_weights[18 + i_k] * b_state
            b_3 += b_weights[27 + i_k] * b_state
        b_scale = FACTOR if i_c < FLOWS else 1.0
        tl.store(p_out, tl.join(b_0, b_1) * b_scale, mask=m_out)
        tl.store(p_out + 2 * W, tl.join(b_2, b_3) * b_scale, mask=m_out)
        p_state += s_c
        p_out += o_plane


@triton.jit
def convex_upsample_bwd_logits_kernel(
    dlogits, sd_b, sd_c, sd_y, sd_x,  # (B, 36, H, W), written, or None
    dprior,  # (36,), written, or None
    partial,  # (programs, 36), contiguous, written: partial sums, or None
    counter,  # (1,), zero, or None
    lse,  # (B, 4, HW), contiguous, written
    grad, sg_b, sg_c, sg_y, sg_x,  # (B, 6, 2 H, 2 W)
    state, s_b, s_c, s_y, s_x,  # (B, 6, H, W)
    logits, sl_b, sl_c, sl_y, sl_x,  # (B, 36, H, W)
    prior,  # (36,), contiguous
    H, W, HW,
    blocks_per_image,  # programs per image
    programs,
    BP: tl.constexpr, BROWS: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b, o_p, o_y, o_x, m = _pixels(W, HW, blocks_per_image, BP, INT64_OFFSETS)
    o_plane = tl.full((), HW, tl.int64 if INT64_OFFSETS else tl.int32)
    o_around = _offsets_around(o_y, o_x, H, W, s_y, s_x)
    p_logits = logits + i_b * sl_b + o_y * sl_y + o_x * sl_x
    p_grad = grad + i_b * sg_b + 2 * o_y * sg_y + 2 * o_x * sg_x
    p_lse = lse + i_b * 4 * o_plane + o_p
    for i_f in range(4):
        b_weights, b_lse = _softmax(p_logits + 9 * i_f * sl_c, sl_c, prior + 9 * i_f)
        tl.store(p_lse, b_lse, mask=m)
        p_lse += o_plane
        if dlogits is not None or dprior is not None:
            b_dweights = (tl.zeros((BP,), tl.float32),) * 9
            for i_c in tl.static_range(CHANNELS):
                p = p_grad + i_c * sg_c + (i_f // 2) * sg_y + (i_f % 2) * sg_x
                b_grad = tl.load(p) * (FACTOR if i_c < FLOWS else 1.0)
                p_state = state + i_b * s_b + i_c * s_c
                b_sums = ()
                for i_k in tl.static_range(9):
                    b_state = tl.load(p_state + o_around[i_k])
                    b_sums += (b_dweights[i_k] + b_grad * b_state,)
                b_dweights = b_sums
            b_mean = tl.zeros((BP,), tl.float32)
            for i_k in tl.static_range(9):
                b_mean += b_weights[i_k] * b_dweights[i_k]
            for i_k in tl.static_range(9):
                b_dlogit = b_weights[i_k] * (b_dweights[i_k] - b_mean)
                if dlogits is not None:
                    p = dlogits + i_b * sd_b + o_y * sd_y + o_x * sd_x + (9 * i_f + i_k) * sd_c
                    tl.store(p, b_dlogit, mask=m)
                if dprior is not None:
                    p = partial + tl.program_id(0).to(tl.int64) * 36 + (9 * i_f + i_k)
                    tl.store(p, tl.sum(tl.where(m, b_dlogit, 0.0), 0))
    if dprior is not None:
        if is_last_program(counter, programs):
            o_c = tl.arange(0, 64)
            sum_rows(dprior, counter, partial, programs, 36, o_c, BROWS, 64)


@triton.jit
def _weight_of_centre(
    p_logits, s_c, prior, b_lse, o_y, o_x, H, W, m, i_dy: tl.constexpr, i_dx: tl.constexpr
):
    """The weight of pixel (o_y, o_x) in a fine pixel of the coarse one at (i_dy, i_dx) from it.

    A pixel on the border also has the weights of those beyond it.
    """
    b_weight = tl.zeros(o_x.shape, tl.float32)
    for i_ky in tl.static_range(-1, 2):
        for i_kx in tl.static_range(-1, 2):
            if (i_ky == -i_dy or i_dy == 0) and (i_kx == -i_dx or i_dx == 0):
                m_k = m
                if i_ky != -i_dy:
                    m_k = m_k & (o_y == (0 if i_ky < 0 else H - 1))
                if i_kx != -i_dx:
                    m_k = m_k & (o_x == (0 if i_kx < 0 else W - 1))
                i_k = 3 * i_ky + i_kx + 4
                b_logit = tl.load(p_logits + i_k * s_c, mask=m_k, other=-float("inf"))
                b_logit = b_logit.to(tl.float32) + tl.load(prior + i_k).to(tl.float32)
                b_weight += tl.exp(b_logit - b_lse)
    return b_weight


@triton.jit
def convex_upsample_bwd_state_kernel(
    dstate, sd_b, sd_c, sd_y, sd_x,  # (B, 6, H, W), written
    lse,  # (B, 4, HW), contiguous
    grad, sg_b, sg_c, sg_y, sg_x,  # (B, 6, 2 H, 2 W)
    logits, sl_b, sl_c, sl_y, sl_x,  # (B, 36, H, W)
    prior,  # (36,), contiguous
    H, W, HW,
    blocks_per_image,  # programs per image
    BP: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b, _, o_y, o_x, m = _pixels(W, HW, blocks_per_image, BP, INT64_OFFSETS)
    o_plane = tl.full((), HW, tl.int64 if INT64_OFFSETS else tl.int32)
    b_0 = tl.zeros((BP,), tl.float32)
    b_1, b_2, b_3, b_4, b_5 = b_0, b_0, b_0, b_0, b_0
    for i_dy in tl.static_range(-1, 2):  # the coarse pixels that this one is around
        for i_dx in tl.static_range(-1, 2):
            o_row, o_column = o_y + i_dy, o_x + i_dx
            m_e = (o_row >= 0) & (o_row < H) & (o_column >= 0) & (o_column < W)
            p_logits = logits + i_b * sl_b + o_row * sl_y + o_column * sl_x
            p_lse = lse + i_b * 4 * o_plane + o_row * W + o_column
            p_grad = grad + i_b * sg_b + 2 * o_row * sg_y + 2 * o_column * sg_x
            for i_f in range(4):
                b_lse = tl.load(p_lse + i_f * o_plane, mask=m_e, other=0.0)
                p, p_prior = p_logits + 9 * i_f * sl_c, prior + 9 * i_f
                b_weight = _weight_of_centre(
                    p, sl_c, p_prior, b_lse, o_y, o_x, H, W, m_e, i_dy, i_dx
                )
                p_fine = p_grad + (i_f // 2) * sg_y + (i_f % 2) * sg_x
                b_0 += b_weight * tl.load(p_fine, mask=m_e, other=0.0)
                b_1 += b_weight * tl.load(p_fine + sg_c, mask=m_e, other=0.0)
                b_2 += b_weight * tl.load(p_fine + 2 * sg_c, mask=m_e, other=0.0)
                b_3 += b_weight * tl.load(p_fine + 3 * sg_c, mask=m_e, other=0.0)
                b_4 += b_weight * tl.load(p_fine + 4 * sg_c, mask=m_e, other=0.0)
                b_5 += b_weight * tl.load(p_fine + 5 * sg_c, mask=m_e, other=0.0)
    p_out = dstate + i_b * sd_b + o_y * sd_y + o_x * sd_x
    tl.store(p_out, b_0 * FACTOR, mask=m)
    tl.store(p_out + sd_c, b_1 * FACTOR, mask=m)
    tl.store(p_out + 2 * sd_c, b_2 * FACTOR, mask=m)
    tl.store(p_out + 3 * sd_c, b_3 * FACTOR, mask=m)
    tl.store(p_out + 4 * sd_c, b_4, mask=m)
    tl.store(p_out + 5 * sd_c, b_5, mask=m)
