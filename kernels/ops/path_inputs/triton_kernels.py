"""Triton kernels of `path_inputs`, forward and backward, a launch each.

The whole chain of samples belongs to one pixel, so nothing but the inputs and the outputs passes
through memory. A gap's motion is at index g of a tuple, its side is g % 2, and the gap nearer to
the references is at g - 2. A program takes BP pixels, and their features BC channels at a time.

Names: B* block sizes, i_* program ids, o_* offsets, m_* masks, p_* pointers, s_* strides, b_*
blocks in registers.
"""

import triton
import triton.language as tl

from lift.kernels.ops.warp_blend.triton_kernels import (
    axis_coords,
    bilinear,
    bilinear_slopes,
    corner_offsets,
    load_corners,
)

# -- times and validity, one value for each image --------------------------------------------------


@triton.jit
def load_times(times, s_g, G: tl.constexpr):
    """The times of the outer frames, a tuple by gap."""
    b_times = ()
    for g in tl.static_range(G):
        b_times = b_times + (tl.load(times + g * s_g),)
    return b_times


@triton.jit
def load_known(valid, s_g, G: tl.constexpr):
    """Which differences are known, a tuple by gap; see `differences_valid`."""
    b_known = ()
    for g in tl.static_range(G):
        b_valid = tl.load(valid + g * s_g) != 0
        if g >= 2:  # both of the order before
            b_valid = b_valid & b_known[g // 2 * 2 - 2] & b_known[g // 2 * 2 - 1]
        b_known = b_known + (b_valid,)
    return b_known


@triton.jit
def _in_order(b_times, G: tl.constexpr):
    """The times of all frames, the references included, from the earliest to the latest."""
    b_at = (0.0, 1.0)
    for k in tl.static_range(0, G, 2):
        b_at = (b_times[k],) + b_at + (b_times[k + 1],)
    return b_at


# -- the chain of samples --------------------------------------------------------------------------


@triton.jit
def _gap_motions(
    motions, s_g, s_c, s_y, s_x, b_times, b_x0, b_y0, b_x1, b_y1, o_x, o_y, m, H, W,
    G: tl.constexpr, SLOPES: tl.constexpr,
):  # fmt: skip
    """The motion of each gap along the path of the pixel, as tuples of dx and of dy.

    Of the references' interval last. With SLOPES also the derivatives of each sample, four of a
    gap: of dx by x and by y, of dy by x and by y; zero where a coordinate was clamped.
    """
    b_dx, b_dy = b_x1 - b_x0, b_y1 - b_y0
    b_x, b_y = (b_x0, b_x1), (b_y0, b_y1)  # from the target to the inner frame of each gap
    b_vx, b_vy = (b_dx, b_dx), (b_dy, b_dy)  # velocity nearer to the references
    b_edge = (0.0, 1.0) + b_times
    b_mx, b_my, b_slopes = (), (), ()
    for g in tl.static_range(G):
        b_reach = b_times[g] - b_edge[g]  # signed
        b_half = b_reach * 0.5
        o_w, o_e, b_fx, m_x = axis_coords(b_x[g] + b_half * b_vx[g], o_x, W)
        o_n, o_s, b_fy, m_y = axis_coords(b_y[g] + b_half * b_vy[g], o_y, H)
        o_nw, o_ne, o_sw, o_se = corner_offsets(o_n, o_s, o_w, o_e, s_y, s_x)
        p = motions + g * s_g
        b_nw, b_ne, b_sw, b_se = load_corners(p, o_nw, o_ne, o_sw, o_se, m)
        b_gx = bilinear(b_nw, b_ne, b_sw, b_se, b_fx, b_fy)
        if SLOPES:
            b_by_x, b_by_y = bilinear_slopes(b_nw, b_ne, b_sw, b_se, b_fx, b_fy)
            b_slopes = b_slopes + (tl.where(m_x, b_by_x, 0.0), tl.where(m_y, b_by_y, 0.0))
        b_nw, b_ne, b_sw, b_se = load_corners(p + s_c, o_nw, o_ne, o_sw, o_se, m)
        b_gy = bilinear(b_nw, b_ne, b_sw, b_se, b_fx, b_fy)
        if SLOPES:
            b_by_x, b_by_y = bilinear_slopes(b_nw, b_ne, b_sw, b_se, b_fx, b_fy)
            b_slopes = b_slopes + (tl.where(m_x, b_by_x, 0.0), tl.where(m_y, b_by_y, 0.0))
        b_mx, b_my = b_mx + (b_gx,), b_my + (b_gy,)
        b_speed_x, b_speed_y = b_gx / tl.abs(b_reach), b_gy / tl.abs(b_reach)
        b_vx, b_vy = b_vx + (b_speed_x,), b_vy + (b_speed_y,)
        b_x, b_y = b_x + (b_x[g] + b_reach * b_speed_x,), b_y + (b_y[g] + b_reach * b_speed_y,)
    return b_mx + (b_dx,), b_my + (b_dy,), b_slopes


# -- divided differences of one component ----------------------------------------------------------


@triton.jit
def _next_order(b_values, b_at, N: tl.constexpr, ORDER: tl.constexpr):
    """Of N differences those of the next order, ORDER."""
    b_next = ()
    for i in tl.static_range(N - 1):
        b_next = b_next + ((b_values[i + 1] - b_values[i]) / (b_at[i + ORDER] - b_at[i]),)
    return b_next


@triton.jit
def _next_order_backward(b_grads, b_at, N: tl.constexpr, ORDER: tl.constexpr):
    """The gradients of the N differences that `_next_order` took, of those that it returned."""
    b_scaled = ()
    for i in tl.static_range(N - 1):
        b_scaled = b_scaled + (b_grads[i] / (b_at[i + ORDER] - b_at[i]),)
    b_before = (-b_scaled[0],)
    for i in tl.static_range(1, N - 1):
        b_before = b_before + (b_scaled[i - 1] - b_scaled[i],)
    return b_before + (b_scaled[N - 2],)


@triton.jit
def _differences(b_motions, b_at, G: tl.constexpr):
    """The differences in the middle, a tuple by gap, of motions by gap and between references."""
    b_values = (b_motions[G],)
    for k in tl.static_range(0, G, 2):
        b_values = (b_motions[k],) + b_values + (b_motions[k + 1],)
    b_order = ()
    for i in tl.static_range(G + 1):
        b_order = b_order + (b_values[i] / (b_at[i + 1] - b_at[i]),)
    b_middle = ()
    for k in tl.static_range(0, G, 2):  # G - k differences of order k + 2
        if k > 0:
            b_order = _next_order(b_order, b_at, G - k + 2, k + 1)
        b_order = _next_order(b_order, b_at, G - k + 1, k + 2)
        b_middle = b_middle + (b_order[(G - k) // 2 - 1], b_order[(G - k) // 2])
    return b_middle


@triton.jit
def _differences_backward(b_grads, b_at, G: tl.constexpr):
    """The gradients of the motions that `_differences` took, of the differences by gap."""
    b_order = (b_grads[G - 2], b_grads[G - 1])
    for k in tl.static_range(G - 2, -1, -2):  # G - k differences of order k + 2
        if k < G - 2:
            b_order = _next_order_backward(b_order, b_at, G - k, k + 3)
            b_sum = ()
            for j in tl.static_range(G - k):
                if j == (G - k) // 2 - 1:
                    b_sum = b_sum + (b_order[j] + b_grads[k],)
                elif j == (G - k) // 2:
                    b_sum = b_sum + (b_order[j] + b_grads[k + 1],)
                else:
                    b_sum = b_sum + (b_order[j],)
            b_order = b_sum
        b_order = _next_order_backward(b_order, b_at, G - k + 1, k + 2)
    b_values = ()
    for i in tl.static_range(G + 1):
        b_values = b_values + (b_order[i] / (b_at[i + 1] - b_at[i]),)
    b_motions = ()
    for k in tl.static_range(0, G, 2):
        b_motions = b_motions + (b_values[G // 2 - 1 - k // 2], b_values[G // 2 + 1 + k // 2])
    return b_motions + (b_values[G // 2],)


# -- channels_last ---------------------------------------------------------------------------------


@triton.jit
def _side_by_side(b_values, N: tl.constexpr, LEVELS: tl.constexpr):
    """N = 2 ** LEVELS blocks (BP,) as the columns of one, (BP, N)."""
    BP: tl.constexpr = b_values[0].shape[0]
    for level in tl.static_range(LEVELS):
        b_joined = ()
        for i in tl.static_range(N >> (level + 1)):
            b_joined = b_joined + (tl.join(b_values[i], b_values[i + (N >> (level + 1))]),)
        b_values = b_joined
    return tl.reshape(b_values[0], (BP, N))


# -- kernels ---------------------------------------------------------------------------------------


@triton.jit
def path_inputs_fwd_kernel(
    out,  # (B, HW, C + 2 + 2 GAPS), contiguous, written
    differences,  # (B, G, 2, HW), contiguous, written
    hidden, sh_b, sh_c, sh_y, sh_x,  # (B, C, H, W)
    state, ss_b, ss_c,  # (B, 6, HW), pixels in rows
    motions, sm_b, sm_g, sm_c, sm_y, sm_x,  # (B, G, 2, H, W)
    times, st_b, st_g,  # (B, G)
    valid, sv_b, sv_g,  # (B, G), uint8
    inner, motion, outer,  # factors
    H, W, HW,
    blocks_per_image,  # programs per image
    C: tl.constexpr, G: tl.constexpr, GAPS: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr, LEVELS: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    o_plane = tl.full((), HW, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
    o_p = i_p * BP + tl.arange(0, BP)
    m = o_p < HW
    o_y, o_x = o_p // W, o_p % W
    p_out = out + i_b * o_plane * (C + 2 + 2 * GAPS) + o_p[:, None] * (C + 2 + 2 * GAPS)

    o_c = tl.arange(0, BC)[None, :]
    p_hidden = hidden + i_b * sh_b + (o_y * sh_y + o_x * sh_x)[:, None]
    for i_c in range(0, C, BC):
        m_c = m[:, None] & (i_c + o_c < C)
        b_hidden = tl.load(p_hidden + (i_c + o_c) * sh_c, mask=m_c, other=0.0).to(tl.float32)
        tl.store(p_out + i_c + o_c, b_hidden.to(out.dtype.element_ty), mask=m_c)

    b_times = load_times(times + i_b * st_b, st_g, G)
    b_known = load_known(valid + i_b * sv_b, sv_g, G)
    b_at = _in_order(b_times, G)
    p_state = state + i_b * ss_b + o_p
    b_mx, b_my, _ = _gap_motions(
        motions + i_b * sm_b, sm_g, sm_c, sm_y, sm_x, b_times,
        tl.load(p_state, mask=m, other=0.0), tl.load(p_state + ss_c, mask=m, other=0.0),
        tl.load(p_state + 2 * ss_c, mask=m, other=0.0),
        tl.load(p_state + 3 * ss_c, mask=m, other=0.0),
        o_x, o_y, m, H, W, G, False,
    )  # fmt: skip
    b_dx, b_dy = _differences(b_mx, b_at, G), _differences(b_my, b_at, G)
    p_differences = differences + i_b * 2 * G * o_plane + o_p
    b_columns = ()
    for g in tl.static_range(G):
        b_x, b_y = tl.where(b_known[g], b_dx[g], 0.0), tl.where(b_known[g], b_dy[g], 0.0)
        tl.store(p_differences + 2 * g * o_plane, b_x, mask=m)
        tl.store(p_differences + (2 * g + 1) * o_plane, b_y, mask=m)
        if g < 2:
            b_columns = b_columns + (b_x * inner, b_y * inner)
        else:
            b_columns = b_columns + (b_x * outer, b_y * outer)
        if g == 1:
            b_columns = b_columns + (b_mx[G] * motion, b_my[G] * motion)
    b_zero = tl.zeros((BP,), tl.float32)
    for _ in tl.static_range(2 + 2 * G, 2**LEVELS):
        b_columns = b_columns + (b_zero,)
    b_motion = _side_by_side(b_columns, 2**LEVELS, LEVELS)
    o_s = tl.arange(0, 2**LEVELS)[None, :]
    m_s = m[:, None] & (o_s < 2 + 2 * GAPS)
    tl.store(p_out + C + o_s, b_motion.to(out.dtype.element_ty), mask=m_s)


@triton.jit
def path_inputs_bwd_kernel(
    grad, s_b, s_c, s_y, s_x,  # (B, C + 2 + 2 GAPS, H, W), of the first output, if HAS_GRAD
    grad_differences, sg_b, sg_g, sg_c,  # (B, G, 2, HW), pixels in rows, if HAS_GRAD_DIFFERENCES
    state, ss_b, ss_c,  # (B, 6, HW), pixels in rows
    motions, sm_b, sm_g, sm_c, sm_y, sm_x,  # (B, G, 2, H, W)
    times, st_b, st_g,  # (B, G)
    valid, sv_b, sv_g,  # (B, G), uint8
    dhidden, sh_b, sh_c, sh_y, sh_x,  # (B, C, H, W), written
    dstate,  # (B, 6, HW), contiguous, written
    inner, motion, outer,  # factors
    H, W, HW,
    blocks_per_image,  # programs per image
    C: tl.constexpr, G: tl.constexpr, GAPS: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr, LEVELS: tl.constexpr, INT64_OFFSETS: tl.constexpr,
    HAS_GRAD: tl.constexpr, HAS_GRAD_DIFFERENCES: tl.constexpr,
    HAS_DHIDDEN: tl.constexpr, HAS_DSTATE: tl.constexpr,
):  # fmt: skip
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    o_plane = tl.full((), HW, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:
        i_p = i_p.to(tl.int64)
    o_p = i_p * BP + tl.arange(0, BP)
    m = o_p < HW
    o_y, o_x = o_p // W, o_p % W
    if HAS_DHIDDEN:
        o_c = tl.arange(0, BC)[None, :]
        p_dhidden = dhidden + i_b * sh_b + (o_y * sh_y + o_x * sh_x)[:, None]
        for i_c in range(0, C, BC):
            m_c = m[:, None] & (i_c + o_c < C)
            b_grad = tl.zeros((BP, BC), tl.float32)
            if HAS_GRAD:
                p = grad + i_b * s_b + (o_y * s_y + o_x * s_x)[:, None] + (i_c + o_c) * s_c
                b_grad = tl.load(p, mask=m_c, other=0.0).to(tl.float32)
            p = p_dhidden + (i_c + o_c) * sh_c
            tl.store(p, b_grad.to(dhidden.dtype.element_ty), mask=m_c)
    if HAS_DSTATE:
        b_times = load_times(times + i_b * st_b, st_g, G)
        b_known = load_known(valid + i_b * sv_b, sv_g, G)
        b_at = _in_order(b_times, G)
        p_state = state + i_b * ss_b + o_p
        _, _, b_slopes = _gap_motions(
            motions + i_b * sm_b, sm_g, sm_c, sm_y, sm_x, b_times,
            tl.load(p_state, mask=m, other=0.0), tl.load(p_state + ss_c, mask=m, other=0.0),
            tl.load(p_state + 2 * ss_c, mask=m, other=0.0),
            tl.load(p_state + 3 * ss_c, mask=m, other=0.0),
            o_x, o_y, m, H, W, G, True,
        )  # fmt: skip
        b_zero = tl.zeros((BP,), tl.float32)
        b_dx, b_dy = (), ()
        for g in tl.static_range(G):
            b_gx, b_gy = b_zero, b_zero
            if HAS_GRAD_DIFFERENCES:
                p = grad_differences + i_b * sg_b + g * sg_g + o_p
                b_gx += tl.load(p, mask=m, other=0.0)
                b_gy += tl.load(p + sg_c, mask=m, other=0.0)
            if HAS_GRAD:
                p = grad + i_b * s_b + o_y * s_y + o_x * s_x
                p += (C + 2 * g + (2 if g >= 2 else 0)) * s_c
                b_factor = inner if g < 2 else outer
                b_gx += tl.load(p, mask=m, other=0.0).to(tl.float32) * b_factor
                b_gy += tl.load(p + s_c, mask=m, other=0.0).to(tl.float32) * b_factor
            b_dx = b_dx + (tl.where(b_known[g], b_gx, 0.0),)
            b_dy = b_dy + (tl.where(b_known[g], b_gy, 0.0),)
        b_dmx, b_dmy = _differences_backward(b_dx, b_at, G), _differences_backward(b_dy, b_at, G)
        b_dvx, b_dvy = b_dmx[G], b_dmy[G]
        if HAS_GRAD:
            p = grad + i_b * s_b + o_y * s_y + o_x * s_x + (C + 4) * s_c
            b_dvx += tl.load(p, mask=m, other=0.0).to(tl.float32) * motion
            b_dvy += tl.load(p + s_c, mask=m, other=0.0).to(tl.float32) * motion

        # From the outermost gaps inwards; both sides meet in the references' velocity.
        b_edge = (0.0, 1.0) + b_times
        b_side = ()
        for side in tl.static_range(2):
            # gradients of the flow to a gap's outer frame and of the velocity in the gap
            b_fx, b_fy, b_px, b_py = b_zero, b_zero, b_zero, b_zero
            for g in tl.static_range(G - 2 + side, -1, -2):
                b_reach = b_times[g] - b_edge[g]
                b_gx = b_dmx[g] + (b_px + b_reach * b_fx) / tl.abs(b_reach)
                b_gy = b_dmy[g] + (b_py + b_reach * b_fy) / tl.abs(b_reach)
                b_sx = b_slopes[4 * g] * b_gx + b_slopes[4 * g + 2] * b_gy
                b_sy = b_slopes[4 * g + 1] * b_gx + b_slopes[4 * g + 3] * b_gy
                b_fx += b_sx
                b_fy += b_sy
                b_px, b_py = b_reach * 0.5 * b_sx, b_reach * 0.5 * b_sy
            b_side = b_side + (b_fx, b_fy)
            b_dvx += b_px
            b_dvy += b_py
        p_dstate = dstate + i_b * 6 * o_plane + o_p
        tl.store(p_dstate, b_side[0] - b_dvx, mask=m)
        tl.store(p_dstate + o_plane, b_side[1] - b_dvy, mask=m)
        tl.store(p_dstate + 2 * o_plane, b_side[2] + b_dvx, mask=m)
        tl.store(p_dstate + 3 * o_plane, b_side[3] + b_dvy, mask=m)
        tl.store(p_dstate + 4 * o_plane, b_zero, mask=m)
        tl.store(p_dstate + 5 * o_plane, b_zero, mask=m)
