"""Triton kernels of `temporal_attention` for windows of 3 to 8 pixels: products of blocks.

A row is a query: a position of the window in one query frame. The window is padded to a side of
WP = 4 or 8 and has BP = WP^2 positions, and the D channels of a head are padded to BD; padding is
masked, not stored. A program of the forward holds BM rows of one window and one head. It loops over
the keys, BN positions of one frame at a time, with an online softmax in float32 and base 2.
Positions are the outer loop and frames the inner one, so that a block of the window's bias is
loaded once.

With one query frame no other program reads a window's keys, so the program that computes dq also
writes dk and dv (WRITE_DKV). With more frames, or where registers are short, a second kernel holds
BN keys of one frame and loops over the queries.

Windows are not copied: a position is an offset into (B, T, H, W, heads, d), and positions outside
the image are masked. `LOG2E` and `real_frames` are shared with `triton_small_window`.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
# Precision of float32 products. TF32X3: three products on tensor cores, about 22 bits; the same as
# IEEE before sm_80. IEEE: no tensor cores, fewer registers.
TF32X3 = tl.constexpr("tf32x3")
IEEE = tl.constexpr("ieee")
MAX_V = tl.constexpr(256)  # of |v| in float16, up to which no gradient of a score overflows


@triton.jit
def real_frames(mask, i_b, T, BT: tl.constexpr):
    """A clip's mask as the bits of an int64: a bit tested in the loop over frames costs no load."""
    if mask is None:
        real = tl.full((), -1, tl.int64)
    else:
        o_t = tl.arange(0, BT)
        b_mask = tl.load(mask + i_b.to(tl.int64) * T + o_t, mask=o_t < T, other=0).to(tl.int64)
        real = tl.sum(tl.where(b_mask != 0, tl.full((BT,), 1, tl.int64) << o_t.to(tl.int64), 0), 0)
    return real


@triton.jit
def window_positions(
    i_w,
    o_p,
    H,
    W,
    window_columns,
    shift,
    WINDOW: tl.constexpr,
    WP: tl.constexpr,
    INT64_OFFSETS: tl.constexpr,
):
    """Row, column (int64 if INT64_OFFSETS) and validity of the positions o_p of window i_w."""
    o_y = (i_w // window_columns) * WINDOW + o_p // WP - shift
    o_x = (i_w % window_columns) * WINDOW + o_p % WP - shift
    m = (o_p // WP < WINDOW) & (o_p % WP < WINDOW) & (o_y >= 0) & (o_y < H) & (o_x >= 0) & (o_x < W)
    if INT64_OFFSETS:
        o_y, o_x = o_y.to(tl.int64), o_x.to(tl.int64)
    return o_y, o_x, m


@triton.jit
def row_channels(m, D: tl.constexpr, BD: tl.constexpr):
    """Mask of the channels of rows m (N,): (N, BD), or (N, 1) where nothing is padded."""
    m_d = m[:, None]
    if BD != D:
        m_d = m_d & (tl.arange(0, BD) < D)[None, :]
    return m_d


@triton.jit
def query_frames(i_m, o_m, BP: tl.constexpr, BM: tl.constexpr):
    """The query frame of each row of block i_m.

    A scalar where a block has one frame or a part of one, so that it costs no registers.
    """
    if BM <= BP:
        o_s = i_m
    else:
        o_s = (i_m * BM + o_m) // BP
    return o_s


@triton.jit
def position_bias(window_bias, o_q, o_k, m_k, i_h, WINDOW: tl.constexpr, WP: tl.constexpr):
    """Bias (BM, BN) of query positions by key positions, in base 2; (1, BN) without window_bias.

    window_bias is (heads, 2 WINDOW - 1, 2 WINDOW - 1). Keys outside the image get -inf. Padding
    reads the bias of the window's last row and column.
    """
    b_edge = tl.where(m_k, 0.0, float("-inf"))[None, :]
    if window_bias is not None:
        SIDE: tl.constexpr = 2 * WINDOW - 1
        # The offset is a difference of two, so it costs one subtraction per element.
        o_q = tl.minimum(o_q // WP, WINDOW - 1) * SIDE + tl.minimum(o_q % WP, WINDOW - 1)
        o_k = tl.minimum(o_k // WP, WINDOW - 1) * SIDE + tl.minimum(o_k % WP, WINDOW - 1)
        b_bias = (
            tl.load(
                window_bias
                + i_h * SIDE * SIDE
                + (WINDOW - 1) * (SIDE + 1)
                + o_k[None, :]
                - o_q[:, None]
            )
            * LOG2E
        )
        b_edge = b_bias + b_edge
    return b_edge


@triton.jit
def frame_bias(p_time, m_time, real_u):
    """time_bias of one key frame in base 2; -inf where the frame is masked.

    p_time points to one value for all rows or to one per row; None without a bias.
    """
    if p_time is None:
        b_time = tl.where(real_u, 0.0, float("-inf"))
    else:
        b_time = tl.where(real_u, tl.load(p_time, mask=m_time, other=0.0) * LOG2E, float("-inf"))
    return b_time


@triton.jit
def fp16_divisor(b_size):
    """The least power of two, at least 1, that scales numbers up to b_size down to 2^15 or less.

    float16 holds the quotients. 1 for an infinity or NaN.
    """
    b_size = tl.where((b_size > 1.0) & (b_size < float("inf")), b_size, 1.0)
    return tl.exp2(tl.maximum(tl.ceil(tl.log2(b_size)) - 15.0, 0.0))


# -- forward ---------------------------------------------------------------------------------------


@triton.jit
def temporal_attention_window_fwd_kernel(
    # inputs: q (B, Tq, H, W, heads, D); k, v (B, Tk, H, W, heads, D); time_bias (B or 1, heads, Tq,
    # Tk) float32 or None; window_bias (heads, 2 WINDOW - 1, 2 WINDOW - 1) float32 or None; mask (B,
    # Tk) uint8 or None
    q, k, v, time_bias, window_bias, mask,
    # outputs: out (B, Tq, H, W, heads, D); lse (B, Tq, H, W, heads), log-sum-exp in base 2, 0
    # without a key; frame_weights (B, windows, heads, query_blocks * BM / BP, Tk), sums over the
    # positions of a window, or None
    out, lse, frame_weights,
    sq_b, sq_t, sq_y, sq_x, sq_h,
    sk_b, sk_t, sk_y, sk_x, sk_h,
    sv_b, sv_t, sv_y, sv_x, sv_h,
    sb_b,
    scale,
    Tq, Tk, H, W, heads, window_columns, windows, query_blocks, shift,
    WINDOW: tl.constexpr, WP: tl.constexpr, D: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, BT: tl.constexpr,
    INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    BP: tl.constexpr = WP * WP
    i = tl.program_id(0)
    i_m, i_h, i_w, i_b = (
        i % query_blocks,
        (i // query_blocks) % heads,
        (i // query_blocks // heads) % windows,
        (i // query_blocks // heads // windows).to(tl.int64),
    )
    o_d, o_t, o_m = tl.arange(0, BD), tl.arange(0, BT), tl.arange(0, BM)

    o_s, o_p = query_frames(i_m, o_m, BP, BM), o_m % BP
    o_y, o_x, m_q = window_positions(
        i_w, o_p, H, W, window_columns, shift, WINDOW, WP, INT64_OFFSETS
    )
    m_q = m_q & (o_s < Tq)
    p_q = (
        q
        + i_b * sq_b
        + i_h.to(tl.int64) * sq_h
        + o_s.to(tl.int64) * sq_t
        + (o_y * sq_y + o_x * sq_x)
    )
    b_q = tl.load(p_q[:, None] + o_d[None, :], mask=row_channels(m_q, D, BD), other=0.0)
    p_k = k + i_b * sk_b + i_h.to(tl.int64) * sk_h
    p_v = v + i_b * sv_b + i_h.to(tl.int64) * sv_h
    real = real_frames(mask, i_b, Tk, BT)
    p_time = None if time_bias is None else time_bias + i_b * sb_b + (i_h * Tq + o_s) * Tk

    b_max = tl.full((BM,), float("-inf"), tl.float32)
    b_sum = tl.zeros((BM, BT), tl.float32)  # by frame; also the frame weights
    b_out = tl.zeros((BM, BD), tl.float32)
    for i_n in range(0, BP, BN):
        o_n = i_n + tl.arange(0, BN)
        o_yk, o_xk, m_k = window_positions(
            i_w, o_n, H, W, window_columns, shift, WINDOW, WP, INT64_OFFSETS
        )
        o_k = (o_yk * sk_y + o_xk * sk_x)[:, None] + o_d[None, :]
        o_v = (o_yk * sv_y + o_xk * sv_x)[:, None] + o_d[None, :]
        b_pos_bias = position_bias(window_bias, o_p, o_n, m_k, i_h, WINDOW, WP)
        for u in range(Tk):
            real_u = ((real >> u) & 1) != 0
            i_u = tl.full((), 0, tl.int64) + u
            b_k = tl.load(p_k + i_u * sk_t + o_k, mask=row_channels(m_k & real_u, D, BD), other=0.0)
            b_v = tl.load(p_v + i_u * sv_t + o_v, mask=row_channels(m_k & real_u, D, BD), other=0.0)
            b_s = tl.dot(b_q, tl.trans(b_k), input_precision=TF32X3) * (scale * LOG2E) + b_pos_bias
            b_time = frame_bias(None if time_bias is None else p_time + u, o_s < Tq, real_u)
            b_new = tl.maximum(b_max, tl.max(b_s, 1) + b_time)
            b_base = tl.where(b_new == float("-inf"), 0.0, b_new)  # no key: -inf - -inf is NaN
            b_decay = tl.exp2(b_max - b_base)
            b_p = tl.exp2(b_s + (b_time - b_base)[:, None])
            b_sum = b_sum * b_decay[:, None] + tl.where(
                o_t[None, :] == u, tl.sum(b_p, 1)[:, None], 0.0
            )
            b_out = tl.dot(b_p.to(b_v.dtype), b_v, b_out * b_decay[:, None], input_precision=TF32X3)
            b_max = b_new

    b_total = tl.sum(b_sum, 1)
    m_any = b_total > 0
    b_norm = tl.where(m_any, b_total, 1.0)  # NaN > 0 is false, but then the sums are NaN
    b_out = b_out / b_norm[:, None]
    o_row = (o_y * W + o_x) * heads
    i_row = (i_b * Tq + o_s) * H * W * heads + i_h
    p_out = out + i_row * D + o_row * D
    tl.store(
        p_out[:, None] + o_d[None, :], b_out.to(out.dtype.element_ty), mask=row_channels(m_q, D, BD)
    )
    tl.store(lse + i_row + o_row, tl.where(m_any, b_max + tl.log2(b_norm), 0.0), mask=m_q)
    NS: tl.constexpr = BM // BP
    if frame_weights is not None:
        b_weights = tl.where(m_q[:, None], b_sum / b_norm[:, None], 0.0)
        b_weights = tl.sum(tl.reshape(b_weights, (NS, BP, BT)), 1)
        o_weights = (i.to(tl.int64) * NS + tl.arange(0, NS))[:, None] * Tk + o_t[None, :]
        tl.store(frame_weights + o_weights, b_weights, mask=(o_t < Tk)[None, :])


# -- backward --------------------------------------------------------------------------------------


@triton.jit
def store_dv(p_dv, b_p, b_g, div, real_u, m_kd, DOT_PRECISION: tl.constexpr):
    """Store div P^T dO to p_dv (BN, D), of weights b_p (BM, BN) and gradients b_g (BM, BD).

    Only where m_kd; 0 in a masked frame.
    """
    b_dv = tl.dot(tl.trans(b_p.to(b_g.dtype)), b_g, input_precision=DOT_PRECISION) * div
    b_dv = tl.where(real_u, b_dv, 0.0)  # 0 * NaN is NaN
    tl.store(p_dv, b_dv.to(p_dv.dtype.element_ty), mask=m_kd)


@triton.jit
def temporal_attention_window_bwd_kernel(
    # inputs: as forward; grad, out (B, Tq, H, W, heads, D); lse (B, Tq, H, W, heads)
    grad, q, k, v, out, lse, time_bias, window_bias, mask,
    # outputs: dq (B, Tq, H, W, heads, D); dk, dv (B, Tk, H, W, heads, D) if WRITE_DKV; else delta
    # (B, Tq, H, W, heads), sum of grad * out; partial sums dtime_bias (B, windows, heads,
    # query_blocks * BM / BP, Tk) if HAS_DTIME_BIAS, dwindow_bias (B, windows, heads, query_blocks,
    # BP, BP) if HAS_DWINDOW_BIAS
    dq, dk, dv, delta, dtime_bias, dwindow_bias,
    sg_b, sg_t, sg_y, sg_x, sg_h,
    sq_b, sq_t, sq_y, sq_x, sq_h,
    sk_b, sk_t, sk_y, sk_x, sk_h,
    sv_b, sv_t, sv_y, sv_x, sv_h,
    sb_b,
    scale,
    Tq, Tk, H, W, heads, window_columns, windows, query_blocks, shift,
    WINDOW: tl.constexpr, WP: tl.constexpr, D: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, BT: tl.constexpr,
    INT64_OFFSETS: tl.constexpr,
    WRITE_DKV: tl.constexpr, HAS_DTIME_BIAS: tl.constexpr, HAS_DWINDOW_BIAS: tl.constexpr,
):  # fmt: skip
    BP: tl.constexpr = WP * WP
    NS: tl.constexpr = BM // BP  # query frames of a block
    # TF32X3 splits each operand in three, which does not fit here.
    DOT_PRECISION: tl.constexpr = IEEE if BD * BM >= 64 * 64 or BT * BM >= 64 * 64 else TF32X3
    # Whether registers suffice depends on where in the loop dv is computed, differently per dtype.
    DV_FIRST: tl.constexpr = q.dtype.element_ty == tl.float16
    i = tl.program_id(0)
    i_m, i_h, i_w, i_b = (
        i % query_blocks,
        (i // query_blocks) % heads,
        (i // query_blocks // heads) % windows,
        (i // query_blocks // heads // windows).to(tl.int64),
    )
    o_d, o_t, o_m = tl.arange(0, BD), tl.arange(0, BT), tl.arange(0, BM)
    o_s, o_p = query_frames(i_m, o_m, BP, BM), o_m % BP
    o_y, o_x, m_q = window_positions(
        i_w, o_p, H, W, window_columns, shift, WINDOW, WP, INT64_OFFSETS
    )
    m_q = m_q & (o_s < Tq)
    p_q = (
        q
        + i_b * sq_b
        + i_h.to(tl.int64) * sq_h
        + o_s.to(tl.int64) * sq_t
        + (o_y * sq_y + o_x * sq_x)
    )
    p_g = (
        grad
        + i_b * sg_b
        + i_h.to(tl.int64) * sg_h
        + o_s.to(tl.int64) * sg_t
        + (o_y * sg_y + o_x * sg_x)
    )
    o_row = (o_y * W + o_x) * heads
    i_row = (i_b * Tq + o_s) * H * W * heads + i_h
    p_o = out + i_row * D + o_row * D
    b_q = tl.load(p_q[:, None] + o_d[None, :], mask=row_channels(m_q, D, BD), other=0.0)
    b_g = tl.load(p_g[:, None] + o_d[None, :], mask=row_channels(m_q, D, BD), other=0.0)
    b_o = tl.load(p_o[:, None] + o_d[None, :], mask=row_channels(m_q, D, BD), other=0.0)
    # No weight for rows outside the image.
    b_lse = tl.load(lse + i_row + o_row, mask=m_q, other=float("inf"))
    b_delta = tl.sum(b_g.to(tl.float32) * b_o.to(tl.float32), 1)
    if not WRITE_DKV:
        tl.store(delta + i_row + o_row, b_delta, mask=m_q)
    div = 1.0
    if q.dtype.element_ty == tl.float16:
        # The products take the scores' gradients in float16. None exceeds 2 |v| times the sum of
        # its row's |grad|, so the whole block is divided by one number and the results multiplied.
        b_size = tl.sum(tl.abs(b_g.to(tl.float32)), 1) * (2 * MAX_V)
        div = tl.max(fp16_divisor(b_size), 0)
        b_g, b_delta = (b_g.to(tl.float32) / div).to(tl.float16), b_delta / div
    p_k = k + i_b * sk_b + i_h.to(tl.int64) * sk_h
    p_v = v + i_b * sv_b + i_h.to(tl.int64) * sv_h
    real = real_frames(mask, i_b, Tk, BT)
    p_time = None if time_bias is None else time_bias + i_b * sb_b + (i_h * Tq + o_s) * Tk

    b_dq = tl.zeros((BM, BD), tl.float32)
    if HAS_DTIME_BIAS:
        b_dt = tl.zeros((BM, BT), tl.float32)
    for i_n in range(0, BP, BN):
        o_n = i_n + tl.arange(0, BN)
        o_yk, o_xk, m_k = window_positions(
            i_w, o_n, H, W, window_columns, shift, WINDOW, WP, INT64_OFFSETS
        )
        o_k = (o_yk * sk_y + o_xk * sk_x)[:, None] + o_d[None, :]
        o_v = (o_yk * sv_y + o_xk * sv_x)[:, None] + o_d[None, :]
        if WRITE_DKV:
            o_dk = ((o_yk * W + o_xk) * heads + i_h)[:, None] * D + o_d[None, :]
            m_kd = row_channels(m_k, D, BD)
        b_pos_bias = position_bias(window_bias, o_p, o_n, m_k, i_h, WINDOW, WP)
        if HAS_DWINDOW_BIAS:
            b_dw = tl.zeros((BM, BN), tl.float32)
        for u in range(Tk):
            real_u = ((real >> u) & 1) != 0
            i_u = tl.full((), 0, tl.int64) + u
            b_k = tl.load(p_k + i_u * sk_t + o_k, mask=row_channels(m_k & real_u, D, BD), other=0.0)
            b_v = tl.load(p_v + i_u * sv_t + o_v, mask=row_channels(m_k & real_u, D, BD), other=0.0)
            b_time = frame_bias(None if time_bias is None else p_time + u, o_s < Tq, real_u)
            b_s = (
                tl.dot(b_q, tl.trans(b_k), input_precision=DOT_PRECISION) * (scale * LOG2E)
                + b_pos_bias
            )
            b_p = tl.exp2(b_s + (b_time - b_lse)[:, None])
            o_frame = (i_b * Tk + i_u) * H * W * heads * D
            if WRITE_DKV and DV_FIRST:
                store_dv(dv + o_frame + o_dk, b_p, b_g, div, real_u, m_kd, DOT_PRECISION)
            b_ds = b_p * (
                tl.dot(b_g, tl.trans(b_v), input_precision=DOT_PRECISION) - b_delta[:, None]
            )
            if HAS_DWINDOW_BIAS:
                b_dw += b_ds
            if HAS_DTIME_BIAS:
                b_dt += tl.where(o_t[None, :] == u, tl.sum(b_ds, 1)[:, None], 0.0)
            b_ds = b_ds.to(b_k.dtype)
            if WRITE_DKV and not DV_FIRST:
                store_dv(dv + o_frame + o_dk, b_p, b_g, div, real_u, m_kd, DOT_PRECISION)
            b_dq = tl.dot(b_ds, b_k, b_dq, input_precision=DOT_PRECISION)
            if WRITE_DKV:
                b_dk = tl.dot(tl.trans(b_ds), b_q, input_precision=DOT_PRECISION) * (scale * div)
                b_dk = tl.where(real_u, b_dk, 0.0)
                tl.store(dk + o_frame + o_dk, b_dk.to(dk.dtype.element_ty), mask=m_kd)
        if HAS_DWINDOW_BIAS:
            o_dw = (i.to(tl.int64) * BP + tl.arange(0, BP))[:, None] * BP + o_n[None, :]
            tl.store(dwindow_bias + o_dw, tl.sum(tl.reshape(b_dw, (NS, BP, BN)), 0) * div)
    p_dq = dq + i_row * D + o_row * D
    b_dq = tl.where(real != 0, b_dq, 0.0)
    tl.store(
        p_dq[:, None] + o_d[None, :],
        (b_dq * (scale * div)).to(dq.dtype.element_ty),
        mask=row_channels(m_q, D, BD),
    )
    if HAS_DTIME_BIAS:
        o_dt = (i.to(tl.int64) * NS + tl.arange(0, NS))[:, None] * Tk + o_t[None, :]
        b_dt = tl.where((((real >> o_t) & 1) != 0)[None, :], b_dt, 0.0)
        tl.store(
            dtime_bias + o_dt,
            tl.sum(tl.reshape(b_dt, (NS, BP, BT)), 1) * div,
            mask=(o_t < Tk)[None, :],
        )


@triton.jit
def temporal_attention_window_bwd_dkv_kernel(
    # inputs: as backward; delta (B, Tq, H, W, heads)
    grad, q, k, v, delta, lse, time_bias, window_bias, mask,
    # outputs: dk, dv (B, Tk, H, W, heads, D)
    dk, dv,
    sg_b, sg_t, sg_y, sg_x, sg_h,
    sq_b, sq_t, sq_y, sq_x, sq_h,
    sk_b, sk_t, sk_y, sk_x, sk_h,
    sv_b, sv_t, sv_y, sv_x, sv_h,
    sb_b,
    scale,
    Tq, Tk, H, W, heads, window_columns, windows, query_blocks, shift,
    WINDOW: tl.constexpr, WP: tl.constexpr, D: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, BT: tl.constexpr,
    INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    BP: tl.constexpr = WP * WP
    i = tl.program_id(0)
    i_n, i_u, i = i % (BP // BN), (i // (BP // BN)) % Tk, i // (BP // BN) // Tk
    i_h, i_w, i_b = i % heads, (i // heads) % windows, (i // heads // windows).to(tl.int64)
    o_d, o_n, o_m = tl.arange(0, BD), i_n * BN + tl.arange(0, BN), tl.arange(0, BM)
    o_yk, o_xk, m_k = window_positions(
        i_w, o_n, H, W, window_columns, shift, WINDOW, WP, INT64_OFFSETS
    )
    real = real_frames(mask, i_b, Tk, BT)
    m_frame = ((real >> i_u) & 1) != 0
    p_k = (
        k
        + i_b * sk_b
        + i_h.to(tl.int64) * sk_h
        + i_u.to(tl.int64) * sk_t
        + (o_yk * sk_y + o_xk * sk_x)
    )
    p_v = (
        v
        + i_b * sv_b
        + i_h.to(tl.int64) * sv_h
        + i_u.to(tl.int64) * sv_t
        + (o_yk * sv_y + o_xk * sv_x)
    )
    b_k = tl.load(p_k[:, None] + o_d[None, :], mask=row_channels(m_k & m_frame, D, BD), other=0.0)
    b_v = tl.load(p_v[:, None] + o_d[None, :], mask=row_channels(m_k & m_frame, D, BD), other=0.0)

    b_dk = tl.zeros((BN, BD), tl.float32)
    b_dv = tl.zeros((BN, BD), tl.float32)
    b_div = tl.full((BN,), 1.0, tl.float32)
    for i_p in range(0, BP, BM):  # one pass if a block holds all queries of a window
        o_p = (i_p + o_m) % BP
        b_pos_bias = tl.trans(
            position_bias(window_bias, o_p, o_n, m_k, i_h, WINDOW, WP)
        )  # keys by queries, like everything below
        o_y, o_x, m_p = window_positions(
            i_w, o_p, H, W, window_columns, shift, WINDOW, WP, INT64_OFFSETS
        )
        o_q, o_g, o_row = o_y * sq_y + o_x * sq_x, o_y * sg_y + o_x * sg_x, (o_y * W + o_x) * heads
        for i_m in range(query_blocks if m_frame else 0):  # no work for a masked frame
            o_s = query_frames(i_m, o_m, BP, BM)
            m_q = m_p & (o_s < Tq)
            p_q = q + i_b * sq_b + i_h.to(tl.int64) * sq_h + o_s.to(tl.int64) * sq_t + o_q
            p_g = grad + i_b * sg_b + i_h.to(tl.int64) * sg_h + o_s.to(tl.int64) * sg_t + o_g
            i_row = (i_b * Tq + o_s) * H * W * heads + i_h
            b_q = tl.load(p_q[:, None] + o_d[None, :], mask=row_channels(m_q, D, BD), other=0.0)
            b_g = tl.load(p_g[:, None] + o_d[None, :], mask=row_channels(m_q, D, BD), other=0.0)
            b_lse = tl.load(lse + i_row + o_row, mask=m_q, other=float("inf"))
            b_delta = tl.load(delta + i_row + o_row, mask=m_q, other=0.0)
            b_s = tl.dot(b_k, tl.trans(b_q), input_precision=TF32X3) * (scale * LOG2E) + b_pos_bias
            p_time = (
                None if time_bias is None else time_bias + i_b * sb_b + (i_h * Tq + o_s) * Tk + i_u
            )
            b_p = tl.exp2(b_s + (frame_bias(p_time, o_s < Tq, m_frame) - b_lse)[None, :])
            b_ds = b_p * (tl.dot(b_v, tl.trans(b_g), input_precision=TF32X3) - b_delta[None, :])
            b_dv = tl.dot(b_p.to(b_g.dtype), b_g, b_dv, input_precision=TF32X3)
            if q.dtype.element_ty == tl.float16:
                # As in the backward of queries, but per key, and grown as gradients require.
                b_new = tl.maximum(b_div, fp16_divisor(tl.max(tl.abs(b_ds), 1)))
                b_ds, b_dk = b_ds * (1.0 / b_new)[:, None], b_dk * (b_div / b_new)[:, None]
                b_div = b_new
            b_dk = tl.dot(b_ds.to(b_q.dtype), b_q, b_dk, input_precision=TF32X3)
    i_row = ((i_b * Tk + i_u) * H * W * heads + i_h) * D
    o_row = ((o_yk * W + o_xk) * heads * D)[:, None] + o_d[None, :]
    tl.store(
        dk + i_row + o_row,
        (b_dk * (b_div * scale)[:, None]).to(dk.dtype.element_ty),
        mask=row_channels(m_k, D, BD),
    )
    tl.store(dv + i_row + o_row, b_dv.to(dv.dtype.element_ty), mask=row_channels(m_k, D, BD))
