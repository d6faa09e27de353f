"""Triton kernels of `curve_flows`, forward and backward, a launch each.

A program takes BX x BY pixels. Sums over windows add rows: those of a row of pixels, over the width
of the window, belong to the BY rows around it. Backward computes the agreement again.

Names: B* block sizes, i_* program ids, o_* offsets, m_* masks, p_* pointers, s_* strides, b_*
blocks in registers.
"""

import triton
import triton.language as tl

from lift.kernels.ops.curve_flows import reference
from lift.kernels.ops.path_inputs.triton_kernels import load_known, load_times
from lift.kernels.reduction import is_last_program, sum_rows

WINDOW = tl.constexpr(reference.WINDOW)
EPSILON = tl.constexpr(reference.EPSILON)


# -- one value for each image ----------------------------------------------------------------------


@triton.jit
def _path_weights(b_times, b_known, b_t, G: tl.constexpr):
    """Weights of the differences, a tuple by gap; see `path_weights`."""
    b_factor = b_t * (b_t - 1)
    b_weights = ()
    for k in tl.static_range(0, G, 2):
        b_left, b_right = b_times[k], b_times[k + 1]
        m_both = b_known[k] & b_known[k + 1]
        b_0 = tl.where(m_both, tl.abs(b_right - b_t) / (b_right - b_left), 1.0)
        b_1 = tl.where(m_both, tl.abs(b_left - b_t) / (b_right - b_left), 1.0)
        b_0 = tl.where(b_known[k], b_factor * b_0, 0.0)
        b_1 = tl.where(b_known[k + 1], b_factor * b_1, 0.0)
        b_weights = b_weights + (b_0, b_1)
        b_factor = b_factor * (b_t - b_left) * (b_t - b_right)
    return b_weights


# -- trust -----------------------------------------------------------------------------------------


@triton.jit
def _count(o, SIZE):
    """The pixels of a window around o that lie inside, along one axis; 1 at least."""
    o_first, o_last = tl.maximum(o - WINDOW // 2, 0), tl.minimum(o + WINDOW // 2, SIZE - 1)
    return tl.maximum(o_last - o_first + 1, 1).to(tl.float32)


@triton.jit
def _agreement(p, o_plane, o_x, o_r, i_y, H, W, BX: tl.constexpr, BY: tl.constexpr):
    """The correlation of the two differences of an order, the four planes from p on."""
    b_products = tl.zeros((BY, BX), tl.float32)
    b_squares = b_products
    for i_k in range(BY + WINDOW - 1):
        i_row = i_y + i_k - WINDOW // 2
        if (i_row >= 0) & (i_row < H):
            p_row = p + i_row * W
            b_product = tl.zeros((1, BX), tl.float32)
            b_square = b_product
            for i_dx in tl.static_range(WINDOW):
                o = o_x + (i_dx - WINDOW // 2)
                m = (o >= 0) & (o < W)
                b_lx = tl.load(p_row + o, mask=m, other=0.0)
                b_ly = tl.load(p_row + o_plane + o, mask=m, other=0.0)
                b_rx = tl.load(p_row + 2 * o_plane + o, mask=m, other=0.0)
                b_ry = tl.load(p_row + 3 * o_plane + o, mask=m, other=0.0)
                b_product += b_lx * b_rx + b_ly * b_ry
                b_square += (b_lx * b_lx + b_rx * b_rx + (b_ly * b_ly + b_ry * b_ry)) * 0.5
            # Not a product with 0, which a value that is not finite would pass.
            m_row = (o_r <= i_k) & (i_k < o_r + WINDOW)
            b_products += tl.where(m_row, b_product, 0.0)
            b_squares += tl.where(m_row, b_square, 0.0)
    b_n = _count(i_y + o_r, H) * _count(o_x, W)
    return (b_products / b_n) / (b_squares / b_n + EPSILON)


@triton.jit
def _trust(
    p, o_plane, o_x, o_r, i_y, H, W, noise4, noise6,
    G: tl.constexpr, BX: tl.constexpr, BY: tl.constexpr,
):  # fmt: skip
    """The trust in the differences above order 2, a tuple by order."""
    b_trust = ()
    if G > 2:
        b = _agreement(p + 4 * o_plane, o_plane, o_x, o_r, i_y, H, W, BX, BY) - noise4
        b_trust = b_trust + (tl.minimum(tl.maximum(b, 0.0), 1.0),)
    if G > 4:
        b = _agreement(p + 8 * o_plane, o_plane, o_x, o_r, i_y, H, W, BX, BY) - noise6
        b_trust = b_trust + (tl.minimum(tl.maximum(b, 0.0), 1.0),)
    return b_trust


@triton.jit
def _predicted(p, s_c, bias, s_bias, m, C: tl.constexpr, HAS_BIAS: tl.constexpr):
    """Channel C of what was predicted."""
    b = tl.load(p + C * s_c, mask=m, other=0.0).to(tl.float32)
    if HAS_BIAS:
        b += tl.load(bias + C * s_bias).to(tl.float32)
    return b


# -- kernels ---------------------------------------------------------------------------------------


@triton.jit
def curve_flows_fwd_kernel(
    out,  # (B, 6, HW), contiguous, written
    predicted, sp_b, sp_c, sp_y, sp_x,  # (B, C, H, W)
    bias, s_bias,  # (C,), if HAS_BIAS
    state, ss_b, ss_c,  # (B, 6, HW), pixels in rows
    differences, sd_b,  # (B, G, 2, HW), contiguous within an image
    times, st_b, st_g,  # (B, G)
    valid, sv_b, sv_g,  # (B, G), uint8
    t, s_t,  # (B,)
    confidence_logit, largest_weight, noise4, noise6,
    H, W, HW,
    blocks_per_row, blocks_per_column,  # programs
    G: tl.constexpr, BX: tl.constexpr, BY: tl.constexpr,
    HAS_BIAS: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    i_x, i_y = i % blocks_per_row, i // blocks_per_row % blocks_per_column
    i_b = (i // blocks_per_row // blocks_per_column).to(tl.int64)
    o_plane = tl.full((), HW, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_x, i_y = i_x.to(tl.int64), i_y.to(tl.int64)
    i_y *= BY
    o_x, o_r = (i_x * BX + tl.arange(0, BX))[None, :], tl.arange(0, BY)[:, None]
    o_y = i_y + o_r
    m = (o_x < W) & (o_y < H)
    b_t = tl.load(t + i_b * s_t)
    b_times = load_times(times + i_b * st_b, st_g, G)
    b_known = load_known(valid + i_b * sv_b, sv_g, G)
    b_weights = _path_weights(b_times, b_known, b_t, G)
    p_differences = differences + i_b * sd_b
    b_trust = _trust(p_differences, o_plane, o_x, o_r, i_y, H, W, noise4, noise6, G, BX, BY)

    p = predicted + i_b * sp_b + o_y * sp_y + o_x * sp_x
    b_residual = tl.where(b_known[0] | b_known[1], b_t * (b_t - 1), 0.0)
    b_dx = b_residual * _predicted(p, sp_c, bias, s_bias, m, 2, HAS_BIAS)
    b_dy = b_residual * _predicted(p, sp_c, bias, s_bias, m, 3, HAS_BIAS)
    o_p = o_y * W + o_x
    for g in tl.static_range(G):
        if g < 2:
            b = _predicted(p, sp_c, bias, s_bias, m, g, HAS_BIAS)
            b = tl.sigmoid(confidence_logit + b) * b_weights[g]
        else:
            b = _predicted(p, sp_c, bias, s_bias, m, g + 2, HAS_BIAS)
            b = largest_weight * tl.sigmoid(b) * b_trust[g // 2 - 1] * b_weights[g]
        b_dx += b * tl.load(p_differences + 2 * g * o_plane + o_p, mask=m, other=0.0)
        b_dy += b * tl.load(p_differences + (2 * g + 1) * o_plane + o_p, mask=m, other=0.0)
    p_state, p_out = state + i_b * ss_b + o_p, out + i_b * 6 * o_plane + o_p
    for i_c in tl.static_range(6):
        b = tl.load(p_state + i_c * ss_c, mask=m, other=0.0)
        if i_c < 4:
            b -= b_dx if i_c % 2 == 0 else b_dy
        tl.store(p_out + i_c * o_plane, b, mask=m)


@triton.jit
def _store_dpredicted(
    dpredicted, o, s_c, partial_sums, o_sums, b, m, C: tl.constexpr,
    HAS_DPREDICTED: tl.constexpr, HAS_DBIAS: tl.constexpr,
):  # fmt: skip
    """Write the gradient of channel C of what was predicted, and its sum over the block."""
    if HAS_DPREDICTED:
        tl.store(dpredicted + o + C * s_c, b.to(dpredicted.dtype.element_ty), mask=m)
    if HAS_DBIAS:
        tl.store(partial_sums + o_sums + C, tl.sum(b))


@triton.jit
def curve_flows_bwd_kernel(
    grad, sg_b, sg_c,  # (B, 6, HW), of the output, pixels in rows
    predicted, sp_b, sp_c, sp_y, sp_x,  # (B, C, H, W)
    bias, s_bias,  # (C,), if HAS_BIAS
    differences, sd_b,  # (B, G, 2, HW), contiguous within an image
    times, st_b, st_g,  # (B, G)
    valid, sv_b, sv_g,  # (B, G), uint8
    t, s_t,  # (B,)
    dpredicted, sdp_b, sdp_c, sdp_y, sdp_x,  # (B, C, H, W), written
    dbias,  # (C,), written
    partial_sums,  # (programs, C), contiguous, written: parts of the gradient of the bias
    counter,  # (1,), zero
    dstate,  # (B, 6, HW), contiguous, written
    ddifferences,  # (B, G, 2, HW), contiguous, written
    confidence_logit, largest_weight, noise4, noise6,
    H, W, HW,
    blocks_per_row, blocks_per_column, programs,  # programs
    C: tl.constexpr, G: tl.constexpr, BX: tl.constexpr, BY: tl.constexpr,
    BROWS: tl.constexpr, BC: tl.constexpr, HAS_BIAS: tl.constexpr, INT64_OFFSETS: tl.constexpr,
    HAS_DPREDICTED: tl.constexpr, HAS_DBIAS: tl.constexpr,
    HAS_DSTATE: tl.constexpr, HAS_DDIFFERENCES: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    i_x, i_y = i % blocks_per_row, i // blocks_per_row % blocks_per_column
    i_b = (i // blocks_per_row // blocks_per_column).to(tl.int64)
    o_plane = tl.full((), HW, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:
        i_x, i_y = i_x.to(tl.int64), i_y.to(tl.int64)
    i_y *= BY
    o_x, o_r = (i_x * BX + tl.arange(0, BX))[None, :], tl.arange(0, BY)[:, None]
    o_y = i_y + o_r
    m = (o_x < W) & (o_y < H)
    o_p = o_y * W + o_x
    # of the offset, which is taken from both flows
    p_grad = grad + i_b * sg_b + o_p
    b_gx = tl.zeros((BY, BX), tl.float32)
    b_gy = b_gx
    for i_c in tl.static_range(6):
        b = tl.load(p_grad + i_c * sg_c, mask=m, other=0.0)
        if HAS_DSTATE:
            tl.store(dstate + (i_b * 6 + i_c) * o_plane + o_p, b, mask=m)
        if i_c < 4:
            if i_c % 2 == 0:
                b_gx -= b
            else:
                b_gy -= b
    if HAS_DPREDICTED or HAS_DBIAS or HAS_DDIFFERENCES:
        b_t = tl.load(t + i_b * s_t)
        b_times = load_times(times + i_b * st_b, st_g, G)
        b_known = load_known(valid + i_b * sv_b, sv_g, G)
        b_weights = _path_weights(b_times, b_known, b_t, G)
        p_differences = differences + i_b * sd_b
        b_trust = _trust(p_differences, o_plane, o_x, o_r, i_y, H, W, noise4, noise6, G, BX, BY)
        p = predicted + i_b * sp_b + o_y * sp_y + o_x * sp_x
        o_d, o_sums = i_b * sdp_b + o_y * sdp_y + o_x * sdp_x, i.to(tl.int64) * C
        b_residual = tl.where(b_known[0] | b_known[1], b_t * (b_t - 1), 0.0)
        _store_dpredicted(
            dpredicted, o_d, sdp_c, partial_sums, o_sums, b_residual * b_gx, m, 2,
            HAS_DPREDICTED, HAS_DBIAS,
        )  # fmt: skip
        _store_dpredicted(
            dpredicted, o_d, sdp_c, partial_sums, o_sums, b_residual * b_gy, m, 3,
            HAS_DPREDICTED, HAS_DBIAS,
        )  # fmt: skip
        for g in tl.static_range(G):
            if g < 2:
                b = _predicted(p, sp_c, bias, s_bias, m, g, HAS_BIAS) + confidence_logit
                b_weight = b_weights[g]
            else:
                b = _predicted(p, sp_c, bias, s_bias, m, g + 2, HAS_BIAS)
                b_weight = largest_weight * b_trust[g // 2 - 1] * b_weights[g]
            b = tl.sigmoid(b)
            if HAS_DDIFFERENCES:
                p_dd = ddifferences + (i_b * 2 * G + 2 * g) * o_plane + o_p
                tl.store(p_dd, b * b_weight * b_gx, mask=m)
                tl.store(p_dd + o_plane, b * b_weight * b_gy, mask=m)
            if HAS_DPREDICTED or HAS_DBIAS:
                p_g = p_differences + 2 * g * o_plane + o_p
                b_product = tl.load(p_g, mask=m, other=0.0) * b_gx
                b_product += tl.load(p_g + o_plane, mask=m, other=0.0) * b_gy
                b = b * (1 - b) * b_weight * b_product
                _store_dpredicted(
                    dpredicted, o_d, sdp_c, partial_sums, o_sums, b, m, g if g < 2 else g + 2,
                    HAS_DPREDICTED, HAS_DBIAS,
                )  # fmt: skip
        b = tl.zeros((BY, BX), tl.float32)
        for i_c in tl.static_range(G + 2, C):  # of gaps that there are not
            _store_dpredicted(
                dpredicted, o_d, sdp_c, partial_sums, o_sums, b, m, i_c,
                HAS_DPREDICTED, HAS_DBIAS,
            )  # fmt: skip
    if HAS_DBIAS:
        if is_last_program(counter, programs):
            o_c = tl.arange(0, BC)
            sum_rows(dbias, counter, partial_sums, programs, C, o_c, BROWS, BC)
