"""Triton kernels of `time_mlp`, one launch forward and one backward.

There are few differences and few hidden units, so a program holds all that it sums over: forward
every hidden unit of some differences, backward all differences of some hidden units, block by
block. So nothing is added up between programs. All arithmetic is float32.

Names: B* block sizes, i_* program ids and loops, o_* offsets, m_* masks, b_* blocks in registers.
"""

import triton
import triton.language as tl

FEATURES = tl.constexpr(6)


@triton.jit
def _difference(k_times, q_times, o_p, m_p, sk_b, sk_t, sq_b, sq_t, Tq, Tk):
    """k_times - q_times of the pairs o_p of (B, Tq, Tk); 0 where masked."""
    o_b = o_p // (Tq * Tk)
    b_d = tl.load(k_times + o_b * sk_b + (o_p % Tk) * sk_t, mask=m_p, other=0.0).to(tl.float32)
    if q_times is not None:
        o_q = o_b * sq_b + (o_p // Tk % Tq) * sq_t
        b_d -= tl.load(q_times + o_q, mask=m_p, other=0.0).to(tl.float32)
    return b_d


@triton.jit
def _features(b_d):
    """The six features of each difference."""
    b_size = tl.abs(b_d)
    b_one = 1.0 + b_size
    b_log = tl.log(b_one) + (b_size - (b_one - 1.0)) / b_one  # log1p: what 1 + size rounded away
    b_sign = tl.where(b_d > 0, 1.0, tl.where(b_d < 0, -1.0, 0.0))
    return b_d, b_size, b_log, b_sign, tl.exp(-b_size), 1.0 / (1.0 + b_size * b_size)


@triton.jit
def _weighted(weight1, o_n, m_n, i: tl.constexpr, b_feature):
    """Feature i times its weight for each hidden unit, (BP, BN)."""
    b_weight = tl.load(weight1 + o_n * FEATURES + i, mask=m_n, other=0.0).to(tl.float32)
    return b_feature[:, None] * b_weight[None, :]


@triton.jit
def _first_layer(weight1, bias1, o_n, m_n, b_0, b_1, b_2, b_3, b_4, b_5):
    """The first linear layer, (BP, BN)."""
    b = tl.load(bias1 + o_n, mask=m_n, other=0.0).to(tl.float32)[None, :]
    b = b + _weighted(weight1, o_n, m_n, 0, b_0) + _weighted(weight1, o_n, m_n, 1, b_1)
    b = b + _weighted(weight1, o_n, m_n, 2, b_2) + _weighted(weight1, o_n, m_n, 3, b_3)
    return b + _weighted(weight1, o_n, m_n, 4, b_4) + _weighted(weight1, o_n, m_n, 5, b_5)


@triton.jit
def _normal_cdf(b_x):
    return 0.5 * (1.0 + tl.erf(b_x * 0.7071067811865476))


@triton.jit
def time_mlp_fwd_kernel(
    out,  # (B, C, Tq, Tk), written
    k_times,  # (B, Tk)
    q_times,  # (B, Tq) or None
    weight1, bias1,  # (N, 6), (N,)
    weight2, bias2,  # (C, N), (C,) or None
    sk_b, sk_t, sq_b, sq_t,
    Tq, Tk,
    pairs,  # B Tq Tk
    N, C,
    BP: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64)
    i_c = i % C if weight2 is not None else 0
    i_p = i // C if weight2 is not None else i
    o_p, o_n = i_p * BP + tl.arange(0, BP), tl.arange(0, BN)
    m_p, m_n = o_p < pairs, o_n < N
    b_d = _difference(k_times, q_times, o_p, m_p, sk_b, sk_t, sq_b, sq_t, Tq, Tk)
    b_0, b_1, b_2, b_3, b_4, b_5 = _features(b_d)
    b = _first_layer(weight1, bias1, o_n, m_n, b_0, b_1, b_2, b_3, b_4, b_5)
    p_out = out + (o_p // (Tq * Tk)) * C * Tq * Tk + o_p % (Tq * Tk)
    if weight2 is not None:
        b_weight = tl.load(weight2 + i_c * N + o_n, mask=m_n, other=0.0).to(tl.float32)
        b_out = tl.sum(b * _normal_cdf(b) * b_weight[None, :], 1)
        b_out += tl.load(bias2 + i_c).to(tl.float32)
        tl.store(p_out + i_c * Tq * Tk, b_out.to(out.dtype.element_ty), mask=m_p)
    else:
        o_out = p_out[:, None] + o_n[None, :] * Tq * Tk
        tl.store(o_out, b.to(out.dtype.element_ty), mask=m_p[:, None] & m_n[None, :])


@triton.jit
def time_mlp_bwd_kernel(
    dweight1, dbias1,  # (N, 6), (N,), written
    dweight2, dbias2,  # (C, N), (C,), written; None without a second layer
    grad,  # (B, C, Tq, Tk)
    k_times,  # (B, Tk)
    q_times,  # (B, Tq) or None
    weight1, bias1,  # (N, 6), (N,)
    weight2,  # (C, N) or None
    sk_b, sk_t, sq_b, sq_t,
    Tq, Tk,
    pairs,  # B Tq Tk
    N, C,
    BP: tl.constexpr, BN: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    i_n = tl.program_id(0)
    o_n, o_c = i_n * BN + tl.arange(0, BN), tl.arange(0, BC)
    m_n, m_c = o_n < N, o_c < C
    b_d0 = tl.zeros((BN,), tl.float32)
    b_d1, b_d2, b_d3, b_d4, b_d5, b_dbias1 = b_d0, b_d0, b_d0, b_d0, b_d0, b_d0
    b_dweight2, b_dbias2 = tl.zeros((BC, BN), tl.float32), tl.zeros((BC,), tl.float32)
    if weight2 is not None:
        o_weight = o_c[:, None] * N + o_n[None, :]
        m_weight = m_c[:, None] & m_n[None, :]
        b_weight = tl.load(weight2 + o_weight, mask=m_weight, other=0.0).to(tl.float32)
    for i_p in range(0, pairs, BP):
        o_p = i_p + tl.arange(0, BP)
        m_p = o_p < pairs
        b_d = _difference(k_times, q_times, o_p, m_p, sk_b, sk_t, sq_b, sq_t, Tq, Tk)
        b_0, b_1, b_2, b_3, b_4, b_5 = _features(b_d)
        o_grad = (o_p // (Tq * Tk)).to(tl.int64) * C * Tq * Tk + o_p % (Tq * Tk)
        if weight2 is not None:
            o_grad = o_grad[:, None] + o_c[None, :] * Tq * Tk
            m_grad = m_p[:, None] & m_c[None, :]
            b_grad = tl.load(grad + o_grad, mask=m_grad, other=0.0).to(tl.float32)
            b_x = _first_layer(weight1, bias1, o_n, m_n, b_0, b_1, b_2, b_3, b_4, b_5)
            b_cdf = _normal_cdf(b_x)
            b_dweight2 += tl.sum(b_grad[:, :, None] * (b_x * b_cdf)[:, None, :], 0)
            b_dbias2 += tl.sum(b_grad, 0)
            b_dx = tl.sum(b_grad[:, :, None] * b_weight[None, :, :], 1)
            b_dx *= b_cdf + b_x * tl.exp(-0.5 * b_x * b_x) * 0.3989422804014327  # 1 / sqrt(2 pi)
        else:
            o_grad = o_grad[:, None] + o_n[None, :] * Tq * Tk
            m_grad = m_p[:, None] & m_n[None, :]
            b_dx = tl.load(grad + o_grad, mask=m_grad, other=0.0).to(tl.float32)
        b_dbias1 += tl.sum(b_dx, 0)
        b_d0 += tl.sum(b_dx * b_0[:, None], 0)
        b_d1 += tl.sum(b_dx * b_1[:, None], 0)
        b_d2 += tl.sum(b_dx * b_2[:, None], 0)
        b_d3 += tl.sum(b_dx * b_3[:, None], 0)
        b_d4 += tl.sum(b_dx * b_4[:, None], 0)
        b_d5 += tl.sum(b_dx * b_5[:, None], 0)
    p_weight = dweight1 + o_n * FEATURES
    tl.store(p_weight, b_d0, mask=m_n)
    tl.store(p_weight + 1, b_d1, mask=m_n)
    tl.store(p_weight + 2, b_d2, mask=m_n)
    tl.store(p_weight + 3, b_d3, mask=m_n)
    tl.store(p_weight + 4, b_d4, mask=m_n)
    tl.store(p_weight + 5, b_d5, mask=m_n)
    tl.store(dbias1 + o_n, b_dbias1, mask=m_n)
    if weight2 is not None:
        tl.store(dweight2 + o_weight, b_dweight2, mask=m_weight)
        tl.store(dbias2 + o_c, b_dbias2, mask=m_c & (i_n == 0))
