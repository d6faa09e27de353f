"""Triton kernels of `temporal_attention` for windows of 1 and 2 pixels: sums in registers.

A window this small is too little for a product of blocks, and memory traffic dominates. A program
holds one query position of BL windows in BH heads, (BL, BH, BD), memory without gaps between heads,
and loops over the keys one by one. With one query per window (window 1, one query frame) no other
program reads a window's keys, so the program that computes dq also writes dk and dv (WRITE_DKV).
Otherwise a second kernel holds one key of each window and loops over the queries.
"""

import triton
import triton.language as tl

from lift.kernels.ops.temporal_attention.triton_window import LOG2E, real_frames


@triton.jit
def small_window_positions(
    i_l, o_p, windows, H, W, window_columns, shift, WINDOW: tl.constexpr, BL: tl.constexpr
):
    """Row, column (int64) and validity of position o_p in each window of the program."""
    o_w = i_l * BL + tl.arange(0, BL)
    o_y = (o_w // window_columns) * WINDOW + o_p // WINDOW - shift
    o_x = (o_w % window_columns) * WINDOW + o_p % WINDOW - shift
    m = (o_w < windows) & (o_y >= 0) & (o_y < H) & (o_x >= 0) & (o_x < W)
    return o_y.to(tl.int64), o_x.to(tl.int64), m


@triton.jit
def head_channels(m, D: tl.constexpr, BD: tl.constexpr):
    """Mask of the channels of heads m (BL, BH): (BL, BH, BD), or (BL, BH, 1) without padding."""
    m_d = m[:, :, None]
    if BD != D:
        m_d = m_d & (tl.arange(0, BD) < D)[None, None, :]
    return m_d


@triton.jit
def load_heads(
    x, i_b, i_t, o_y, o_x, o_h, m, s_b, s_t, s_y, s_x, s_h, D: tl.constexpr, BD: tl.constexpr
):
    """Channels (BL, BH, BD) of x (B, T, H, W, heads, D) at these positions, in float32.

    Zeros where m (BL, BH) is false, and in padding.
    """
    o = (i_b * s_b + i_t * s_t + o_y * s_y + o_x * s_x)[:, None] + o_h[None, :] * s_h
    return tl.load(
        x + o[:, :, None] + tl.arange(0, BD)[None, None, :], mask=head_channels(m, D, BD), other=0.0
    ).to(tl.float32)


@triton.jit
def small_window_bias(window_bias, o_q, o_k, o_h, m_h, WINDOW: tl.constexpr):
    """window_bias (BH,) of each head for one query and one key position, in base 2."""
    o_dy = o_k // WINDOW - o_q // WINDOW + WINDOW - 1
    o_dx = o_k % WINDOW - o_q % WINDOW + WINDOW - 1
    return (
        tl.load(
            window_bias + (o_h * (2 * WINDOW - 1) + o_dy) * (2 * WINDOW - 1) + o_dx,
            mask=m_h,
            other=0.0,
        )
        * LOG2E
    )


# -- forward ---------------------------------------------------------------------------------------


@triton.jit
def temporal_attention_small_window_fwd_kernel(
    # inputs: q (B, Tq, H, W, heads, D); k, v (B, Tk, H, W, heads, D); time_bias (B or 1, heads, Tq,
    # Tk) float32 or None; window_bias (heads, 2 WINDOW - 1, 2 WINDOW - 1) float32 or None; mask (B,
    # Tk) uint8 or None
    q, k, v, time_bias, window_bias, mask,
    # outputs: out (B, Tq, H, W, heads, D); lse (B, Tq, H, W, heads), log-sum-exp in base 2, 0
    # without a key; frame_weights (B, window_blocks, head blocks, Tq, WINDOW^2, Tk), sums over
    # windows and heads, or None
    out, lse, frame_weights,
    sq_b, sq_t, sq_y, sq_x, sq_h,
    sk_b, sk_t, sk_y, sk_x, sk_h,
    sv_b, sv_t, sv_y, sv_x, sv_h,
    sb_b,
    scale,
    Tq, Tk, H, W, heads, window_columns, windows, window_blocks, shift,
    WINDOW: tl.constexpr, D: tl.constexpr,
    BL: tl.constexpr, BH: tl.constexpr, BD: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    AREA: tl.constexpr = WINDOW * WINDOW
    i = tl.program_id(0)
    i_a, i_h, i_l = (
        i % (Tq * AREA),
        (i // (Tq * AREA)) % tl.cdiv(heads, BH),
        i // (Tq * AREA) // tl.cdiv(heads, BH),
    )
    i_l, i_b = i_l % window_blocks, (i_l // window_blocks).to(tl.int64)
    i_s, i_p = (i_a // AREA).to(tl.int64), i_a % AREA
    o_h, o_d, o_t = (i_h * BH + tl.arange(0, BH)).to(tl.int64), tl.arange(0, BD), tl.arange(0, BT)
    m_h = o_h < heads

    o_y, o_x, m_q = small_window_positions(
        i_l, i_p, windows, H, W, window_columns, shift, WINDOW, BL
    )
    m_q = m_q[:, None] & m_h[None, :]
    b_q = load_heads(q, i_b, i_s, o_y, o_x, o_h, m_q, sq_b, sq_t, sq_y, sq_x, sq_h, D, BD)
    real = real_frames(mask, i_b, Tk, BT)

    b_max = tl.full((BL, BH), float("-inf"), tl.float32)
    b_sum = tl.zeros((BL, BH, BT), tl.float32)  # by frame; also the frame weights
    b_out = tl.zeros((BL, BH, BD), tl.float32)
    for u in range(Tk):
        i_u = tl.full((), 0, tl.int64) + u
        for c in tl.static_range(AREA):
            o_yk, o_xk, m_k = small_window_positions(
                i_l, c, windows, H, W, window_columns, shift, WINDOW, BL
            )
            m_k = (m_k & (((real >> u) & 1) != 0))[:, None] & m_h[None, :]
            b_k = load_heads(k, i_b, i_u, o_yk, o_xk, o_h, m_k, sk_b, sk_t, sk_y, sk_x, sk_h, D, BD)
            b_v = load_heads(v, i_b, i_u, o_yk, o_xk, o_h, m_k, sv_b, sv_t, sv_y, sv_x, sv_h, D, BD)
            # Rounded as in the backward, which subtracts the log-sum-exp.
            b_s = tl.sum(b_q * b_k, 2) * (scale * LOG2E)
            if window_bias is not None:
                b_s += small_window_bias(window_bias, i_p, c, o_h, m_h, WINDOW)[None, :]
            if time_bias is not None:
                b_s += (
                    tl.load(time_bias + i_b * sb_b + (o_h * Tq + i_s) * Tk + u, mask=m_h, other=0.0)
                    * LOG2E
                )[None, :]
            b_s = tl.where(m_k, b_s, float("-inf"))
            b_new = tl.maximum(b_max, b_s)
            b_base = tl.where(b_new == float("-inf"), 0.0, b_new)  # no key: -inf - -inf is NaN
            b_decay = tl.exp2(b_max - b_base)
            b_p = tl.exp2(b_s - b_base)
            b_sum = b_sum * b_decay[:, :, None] + tl.where(
                o_t[None, None, :] == u, b_p[:, :, None], 0.0
            )
            b_out = b_out * b_decay[:, :, None] + b_p[:, :, None] * b_v
            b_max = b_new

    b_total = tl.sum(b_sum, 2)
    m_any = b_total > 0
    b_norm = tl.where(m_any, b_total, 1.0)
    o_row = (((i_b * Tq + i_s) * H + o_y) * W + o_x)[:, None] * heads + o_h[None, :]
    tl.store(
        out + o_row[:, :, None] * D + o_d[None, None, :],
        (b_out / b_norm[:, :, None]).to(out.dtype.element_ty),
        mask=head_channels(m_q, D, BD),
    )
    tl.store(lse + o_row, tl.where(m_any, b_max + tl.log2(b_norm), 0.0), mask=m_q)
    if frame_weights is not None:
        b_weights = tl.sum(tl.sum(tl.where(m_q[:, :, None], b_sum / b_norm[:, :, None], 0.0), 0), 0)
        o_weights = ((i_b * window_blocks + i_l) * tl.cdiv(heads, BH) + i_h) * Tq * AREA + i_a
        tl.store(frame_weights + o_weights * Tk + o_t, b_weights, mask=o_t < Tk)


# -- backward --------------------------------------------------------------------------------------


@triton.jit
def temporal_attention_small_window_bwd_kernel(
    # inputs: as forward; grad, out (B, Tq, H, W, heads, D); lse (B, Tq, H, W, heads)
    grad, q, k, v, out, lse, time_bias, window_bias, mask,
    # outputs: dq (B, Tq, H, W, heads, D); dk, dv (B, Tk, H, W, heads, D) if WRITE_DKV; else delta
    # (B, Tq, H, W, heads), sum of grad * out; partial sums dtime_bias (B, window_blocks, Tq,
    # WINDOW^2, heads, Tk) if HAS_DTIME_BIAS, dwindow_bias (B, window_blocks, Tq, WINDOW^2, heads,
    # WINDOW^2) if HAS_DWINDOW_BIAS
    dq, dk, dv, delta, dtime_bias, dwindow_bias,
    sg_b, sg_t, sg_y, sg_x, sg_h,
    sq_b, sq_t, sq_y, sq_x, sq_h,
    sk_b, sk_t, sk_y, sk_x, sk_h,
    sv_b, sv_t, sv_y, sv_x, sv_h,
    sb_b,
    scale,
    Tq, Tk, H, W, heads, window_columns, windows, window_blocks, shift,
    WINDOW: tl.constexpr, D: tl.constexpr,
    BL: tl.constexpr, BH: tl.constexpr, BD: tl.constexpr, BT: tl.constexpr,
    WRITE_DKV: tl.constexpr, HAS_DTIME_BIAS: tl.constexpr, HAS_DWINDOW_BIAS: tl.constexpr,
):  # fmt: skip
    AREA: tl.constexpr = WINDOW * WINDOW
    i = tl.program_id(0)
    i_a, i_h, i_l = (
        i % (Tq * AREA),
        (i // (Tq * AREA)) % tl.cdiv(heads, BH),
        i // (Tq * AREA) // tl.cdiv(heads, BH),
    )
    i_l, i_b = i_l % window_blocks, (i_l // window_blocks).to(tl.int64)
    i_s, i_p = (i_a // AREA).to(tl.int64), i_a % AREA
    o_h, o_d, o_a = (i_h * BH + tl.arange(0, BH)).to(tl.int64), tl.arange(0, BD), tl.arange(0, AREA)
    m_h = o_h < heads

    o_y, o_x, m_q = small_window_positions(
        i_l, i_p, windows, H, W, window_columns, shift, WINDOW, BL
    )
    m_q = m_q[:, None] & m_h[None, :]
    o_row = (((i_b * Tq + i_s) * H + o_y) * W + o_x)[:, None] * heads + o_h[None, :]
    b_q = load_heads(q, i_b, i_s, o_y, o_x, o_h, m_q, sq_b, sq_t, sq_y, sq_x, sq_h, D, BD)
    b_g = load_heads(grad, i_b, i_s, o_y, o_x, o_h, m_q, sg_b, sg_t, sg_y, sg_x, sg_h, D, BD)
    b_o = tl.load(
        out + o_row[:, :, None] * D + o_d[None, None, :], mask=head_channels(m_q, D, BD), other=0.0
    ).to(tl.float32)
    b_lse = tl.load(lse + o_row, mask=m_q, other=0.0)
    b_delta = tl.sum(b_g * b_o, 2)
    if not WRITE_DKV:
        tl.store(delta + o_row, b_delta, mask=m_q)
    real = real_frames(mask, i_b, Tk, BT)

    b_dq = tl.zeros((BL, BH, BD), tl.float32)
    if HAS_DWINDOW_BIAS:
        b_dw = tl.zeros((BH, AREA), tl.float32)
    o_part = ((i_b * window_blocks + i_l) * Tq * AREA + i_a) * heads + o_h
    for u in range(Tk):
        real_u = ((real >> u) & 1) != 0
        i_u = tl.full((), 0, tl.int64) + u
        if HAS_DTIME_BIAS:
            b_dt = tl.zeros((BH,), tl.float32)
        for c in tl.static_range(AREA):
            o_yk, o_xk, m_k = small_window_positions(
                i_l, c, windows, H, W, window_columns, shift, WINDOW, BL
            )
            m_in = m_k[:, None] & m_h[None, :]
            m_k = m_in & real_u
            b_k = load_heads(k, i_b, i_u, o_yk, o_xk, o_h, m_k, sk_b, sk_t, sk_y, sk_x, sk_h, D, BD)
            b_v = load_heads(v, i_b, i_u, o_yk, o_xk, o_h, m_k, sv_b, sv_t, sv_y, sv_x, sv_h, D, BD)
            b_s = tl.sum(b_q * b_k, 2) * (scale * LOG2E)
            if window_bias is not None:
                b_s += small_window_bias(window_bias, i_p, c, o_h, m_h, WINDOW)[None, :]
            if time_bias is not None:
                b_s += (
                    tl.load(time_bias + i_b * sb_b + (o_h * Tq + i_s) * Tk + u, mask=m_h, other=0.0)
                    * LOG2E
                )[None, :]
            b_p = tl.where(m_q & m_k, tl.exp2(b_s - b_lse), 0.0)
            b_ds = tl.where(real_u, b_p * (tl.sum(b_g * b_v, 2) - b_delta), 0.0)  # 0 * NaN is NaN
            b_dq += b_ds[:, :, None] * b_k
            if HAS_DTIME_BIAS or HAS_DWINDOW_BIAS:
                b_part = tl.sum(b_ds, 0)
                if HAS_DTIME_BIAS:
                    b_dt += b_part
                if HAS_DWINDOW_BIAS:
                    b_dw += tl.where(o_a[None, :] == c, b_part[:, None], 0.0)
            if WRITE_DKV:
                o_dkv = (
                    (((i_b * Tk + i_u) * H + o_yk) * W + o_xk)[:, None] * heads + o_h[None, :]
                )[:, :, None] * D + o_d[None, None, :]
                tl.store(
                    dk + o_dkv,
                    (b_ds[:, :, None] * b_q * scale).to(dk.dtype.element_ty),
                    mask=head_channels(m_in, D, BD),
                )
                b_dv = tl.where(real_u, b_p[:, :, None] * b_g, 0.0)
                tl.store(dv + o_dkv, b_dv.to(dv.dtype.element_ty), mask=head_channels(m_in, D, BD))
        if HAS_DTIME_BIAS:
            tl.store(dtime_bias + o_part * Tk + u, b_dt, mask=m_h)
    tl.store(
        dq + o_row[:, :, None] * D + o_d[None, None, :],
        (b_dq * scale).to(dq.dtype.element_ty),
        mask=head_channels(m_q, D, BD),
    )
    if HAS_DWINDOW_BIAS:
        tl.store(dwindow_bias + o_part[:, None] * AREA + o_a[None, :], b_dw, mask=m_h[:, None])


@triton.jit
def temporal_attention_small_window_bwd_dkv_kernel(
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
    Tq, Tk, H, W, heads, window_columns, windows, window_blocks, shift,
    WINDOW: tl.constexpr, D: tl.constexpr,
    BL: tl.constexpr, BH: tl.constexpr, BD: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    AREA: tl.constexpr = WINDOW * WINDOW
    i = tl.program_id(0)
    i_a, i_h, i_l = (
        i % (Tk * AREA),
        (i // (Tk * AREA)) % tl.cdiv(heads, BH),
        i // (Tk * AREA) // tl.cdiv(heads, BH),
    )
    i_l, i_b = i_l % window_blocks, (i_l // window_blocks).to(tl.int64)
    i_u, i_p = (i_a // AREA).to(tl.int64), i_a % AREA
    o_h, o_d = (i_h * BH + tl.arange(0, BH)).to(tl.int64), tl.arange(0, BD)
    m_h = o_h < heads

    o_yk, o_xk, m_k = small_window_positions(
        i_l, i_p, windows, H, W, window_columns, shift, WINDOW, BL
    )
    m_in = m_k[:, None] & m_h[None, :]
    m_frame = ((real_frames(mask, i_b, Tk, BT) >> i_u) & 1) != 0
    m_k = m_in & m_frame
    b_k = load_heads(k, i_b, i_u, o_yk, o_xk, o_h, m_k, sk_b, sk_t, sk_y, sk_x, sk_h, D, BD)
    b_v = load_heads(v, i_b, i_u, o_yk, o_xk, o_h, m_k, sv_b, sv_t, sv_y, sv_x, sv_h, D, BD)

    b_dk = tl.zeros((BL, BH, BD), tl.float32)
    b_dv = tl.zeros((BL, BH, BD), tl.float32)
    for s in range(Tq if m_frame else 0):  # no work for a masked frame
        i_s = tl.full((), 0, tl.int64) + s
        for c in tl.static_range(AREA):
            o_y, o_x, m_q = small_window_positions(
                i_l, c, windows, H, W, window_columns, shift, WINDOW, BL
            )
            m_q = m_q[:, None] & m_h[None, :]
            o_row = (((i_b * Tq + i_s) * H + o_y) * W + o_x)[:, None] * heads + o_h[None, :]
            b_q = load_heads(q, i_b, i_s, o_y, o_x, o_h, m_q, sq_b, sq_t, sq_y, sq_x, sq_h, D, BD)
            b_g = load_heads(
                grad, i_b, i_s, o_y, o_x, o_h, m_q, sg_b, sg_t, sg_y, sg_x, sg_h, D, BD
            )
            b_lse = tl.load(lse + o_row, mask=m_q, other=0.0)
            b_delta = tl.load(delta + o_row, mask=m_q, other=0.0)
            b_s = tl.sum(b_q * b_k, 2) * (scale * LOG2E)
            if window_bias is not None:
                b_s += small_window_bias(window_bias, c, i_p, o_h, m_h, WINDOW)[None, :]
            if time_bias is not None:
                b_s += (
                    tl.load(
                        time_bias + i_b * sb_b + (o_h * Tq + i_s) * Tk + i_u, mask=m_h, other=0.0
                    )
                    * LOG2E
                )[None, :]
            b_p = tl.where(m_q & m_k, tl.exp2(b_s - b_lse), 0.0)
            b_ds = b_p * (tl.sum(b_g * b_v, 2) - b_delta)
            b_dv += b_p[:, :, None] * b_g
            b_dk += b_ds[:, :, None] * b_q
    o_row = ((((i_b * Tk + i_u) * H + o_yk) * W + o_xk)[:, None] * heads + o_h[None, :])[
        :, :, None
    ] * D + o_d[None, None, :]
    tl.store(dk + o_row, (b_dk * scale).to(dk.dtype.element_ty), mask=head_channels(m_in, D, BD))
    tl.store(dv + o_row, b_dv.to(dv.dtype.element_ty), mask=head_channels(m_in, D, BD))
