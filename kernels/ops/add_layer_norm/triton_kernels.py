"""Triton kernels of `add_layer_norm`, one launch forward and one backward.

A program has BR rows of C values at once, so that mean and variance are sums of what is in its
registers. All arithmetic is float32. The backward reads the sum and computes the statistics again;
its last program adds up what all have summed for the gradients of weight and bias.

Names: B* block sizes, i_* program ids and loops, o_* offsets, m_* masks, b_* blocks in registers.
"""

import triton
import triton.language as tl

from lift.kernels.reduction import is_last_program, sum_rows


@triton.jit
def _offsets(i_r, N, C: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr):
    """Rows of a program, offsets of their values and the mask; 64 bits, as N C may pass 2^31."""
    o_r = i_r * BR + tl.arange(0, BR)
    o_c = tl.arange(0, BC)
    m = (o_r < N)[:, None] & (o_c < C)[None, :]
    return o_r, o_c, o_r.to(tl.int64)[:, None] * C + o_c[None, :], m


@triton.jit
def _normalized(b_s, m, eps, C: tl.constexpr):
    """(s - mean) / deviation of each row, 0 where masked; and 1 / deviation."""
    b_d = tl.where(m, b_s - (tl.sum(b_s, 1) / C)[:, None], 0.0)
    b_scale = 1.0 / tl.sqrt(tl.sum(b_d * b_d, 1) / C + eps)
    return b_d * b_scale[:, None], b_scale


@triton.jit
def add_layer_norm_fwd_kernel(
    normed, s,  # (N, C), written; s only if HAS_Y
    x,  # (N, C)
    y,  # (N / repeat, C), a row for each `repeat` rows of x
    weight, bias,  # (C,)
    N, repeat, eps,
    C: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr,
    HAS_Y: tl.constexpr,
):  # fmt: skip
    o_r, o_c, o, m = _offsets(tl.program_id(0), N, C, BR, BC)
    b_s = tl.load(x + o, mask=m, other=0.0).to(tl.float32)
    if HAS_Y:
        o_y = (o_r // repeat).to(tl.int64)[:, None] * C + o_c[None, :]
        b_s += tl.load(y + o_y, mask=m, other=0.0).to(tl.float32)
        b_rounded = b_s.to(s.dtype.element_ty)  # the backward reads it
        tl.store(s + o, b_rounded, mask=m)
        b_s = b_rounded.to(tl.float32)
    b_normal, _ = _normalized(b_s, m, eps, C)
    b_weight = tl.load(weight + o_c, mask=o_c < C, other=0.0).to(tl.float32)
    b_bias = tl.load(bias + o_c, mask=o_c < C, other=0.0).to(tl.float32)
    tl.store(normed + o, b_normal * b_weight[None, :] + b_bias[None, :], mask=m)


@triton.jit
def add_layer_norm_bwd_kernel(
    ds,  # (N, C), written: the gradient of the sum
    dparameters,  # (2 C,), written: the gradients of weight, then of bias
    partial,  # (P, 2 C), written: the sums of P programs; dparameters where there is one
    counter,  # (1,), zero, or None for one program
    grad, grad_s,  # (N, C), gradients of the outputs; grad_s only if HAS_GRAD_S
    s,  # (N, C)
    weight,  # (C,)
    N, eps,
    programs,  # P
    blocks,  # of BR rows, per program
    C: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr, BROWS: tl.constexpr,
    HAS_GRAD_S: tl.constexpr,
):  # fmt: skip
    i_p = tl.program_id(0)
    o_c = tl.arange(0, BC)
    b_weight = tl.load(weight + o_c, mask=o_c < C, other=0.0).to(tl.float32)[None, :]
    b_dweight = tl.zeros((BR, BC), tl.float32)
    b_dbias = tl.zeros((BR, BC), tl.float32)
    for i in range(blocks):
        _, _, o, m = _offsets(i_p * blocks + i, N, C, BR, BC)
        b_normal, b_scale = _normalized(tl.load(s + o, mask=m, other=0.0).to(tl.float32), m, eps, C)
        b_grad = tl.load(grad + o, mask=m, other=0.0).to(tl.float32)
        b_dweight += b_grad * b_normal
        b_dbias += b_grad
        b_grad *= b_weight
        b_mean = tl.sum(b_grad, 1) / C
        b_slope = tl.sum(b_grad * b_normal, 1) / C
        b_ds = b_scale[:, None] * (b_grad - b_mean[:, None] - b_normal * b_slope[:, None])
        if HAS_GRAD_S:
            b_ds += tl.load(grad_s + o, mask=m, other=0.0).to(tl.float32)
        tl.store(ds + o, b_ds, mask=m)
    p = partial + i_p * 2 * C + o_c
    tl.store(p, tl.sum(b_dweight, 0), mask=o_c < C)
    tl.store(p + C, tl.sum(b_dbias, 0), mask=o_c < C)
    if counter is not None:
        if is_last_program(counter, programs):
            for i_c in range(0, 2 * C, BC):
                o_sums = i_c + o_c
                sum_rows(dparameters, counter, partial, programs, 2 * C, o_sums, BROWS, BC)
