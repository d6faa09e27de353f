"""Triton kernels of `lucas_kanade` and `align`, three launches a step.

The first warps both images and writes the mean and the difference of each channel, so that every
pixel is sampled once. The second solves and writes weighted motion and weights, the third averages
them; in `align` it also moves the flows. A program of these computes BY rows of BX columns. It
walks down the rows that their windows have, sums what a row has in the window horizontally, and
adds this to each of the BY rows with the weight that the row has there. Products never reach
memory. All arithmetic is float32.

Names: B* block sizes, i_* program ids and loops, o_* offsets, m_* masks, p_* pointers, s_* strides,
b_* blocks in registers.
"""

import triton
import triton.language as tl

from lift.kernels.ops.lucas_kanade import reference
from lift.kernels.ops.warp_blend.triton_kernels import (
    axis_coords,
    bilinear,
    corner_offsets,
    load_corners,
)

RADIUS = tl.constexpr(reference.RADIUS)
TAPS = tl.constexpr(2 * reference.RADIUS + 1)
WEIGHT_SUM = tl.constexpr(float(reference.BOX**4))
DAMPING = tl.constexpr(reference.DAMPING)
LIMIT = tl.constexpr(reference.LIMIT)
ERROR = tl.constexpr(reference.ERROR)
SMOOTH = tl.constexpr(reference.SMOOTH)


@triton.jit
def _warp_coords(flow, s_c, s_y, s_x, m, o_x, o_y, H, W, s_image_y, s_image_x):
    """Offsets of the four pixels around each sample of an image, and the fractions between."""
    p = flow + o_y * s_y + o_x * s_x
    o_w, o_e, b_fx, _ = axis_coords(tl.load(p, mask=m, other=0.0), o_x, W)
    o_n, o_s, b_fy, _ = axis_coords(tl.load(p + s_c, mask=m, other=0.0), o_y, H)
    o_nw, o_ne, o_sw, o_se = corner_offsets(o_n, o_s, o_w, o_e, s_image_y, s_image_x)
    return o_nw, o_ne, o_sw, o_se, b_fx, b_fy


@triton.jit
def lucas_kanade_warp_kernel(
    warped,  # (B, 2, C, HW), contiguous, written: mean, then difference
    image0, s0_b, s0_c, s0_y, s0_x,  # (B, C, H, W)
    image1, s1_b, s1_c, s1_y, s1_x,  # (B, C, H, W)
    flow0, sf0_b, sf0_c, sf0_y, sf0_x,  # (B, 2, H, W)
    flow1, sf1_b, sf1_c, sf1_y, sf1_x,  # (B, 2, H, W)
    t, st_b,  # (B,)
    H, W, HW,
    blocks_per_image,  # programs per image
    C, BP: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    o_plane = tl.full((), HW, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
    o_p = i_p * BP + tl.arange(0, BP)
    m = o_p < HW
    o_y, o_x = o_p // W, o_p % W
    o_nw0, o_ne0, o_sw0, o_se0, b_fx0, b_fy0 = _warp_coords(
        flow0 + i_b * sf0_b, sf0_c, sf0_y, sf0_x, m, o_x, o_y, H, W, s0_y, s0_x
    )
    o_nw1, o_ne1, o_sw1, o_se1, b_fx1, b_fy1 = _warp_coords(
        flow1 + i_b * sf1_b, sf1_c, sf1_y, sf1_x, m, o_x, o_y, H, W, s1_y, s1_x
    )
    b_t = tl.load(t + i_b * st_b)
    p_0, p_1 = image0 + i_b * s0_b, image1 + i_b * s1_b
    p_mean = warped + i_b * 2 * C * o_plane + o_p
    p_difference = p_mean + C * o_plane
    for _ in range(C):
        b_nw, b_ne, b_sw, b_se = load_corners(p_0, o_nw0, o_ne0, o_sw0, o_se0, m)
        b_warped0 = bilinear(b_nw, b_ne, b_sw, b_se, b_fx0, b_fy0)
        b_nw, b_ne, b_sw, b_se = load_corners(p_1, o_nw1, o_ne1, o_sw1, o_se1, m)
        b_warped1 = bilinear(b_nw, b_ne, b_sw, b_se, b_fx1, b_fy1)
        b_d = b_warped1 - b_warped0
        tl.store(p_mean, b_warped1 - b_t * b_d, mask=m)
        tl.store(p_difference, b_d, mask=m)
        p_0 += s0_c
        p_1 += s1_c
        p_mean += o_plane
        p_difference += o_plane


@triton.jit
def _row_sums(p_mean, p_difference, o_x, i_y, H, W):
    """Products of a row of one channel, summed horizontally over the window; (1, BX) each.

    Pixels beyond the border are the nearest one, and so are their neighbours.
    """
    p_above, p_below = p_mean + tl.maximum(i_y - 1, 0) * W, p_mean + tl.minimum(i_y + 1, H - 1) * W
    p_mean, p_difference = p_mean + i_y * W, p_difference + i_y * W
    b_xx = tl.zeros(o_x.shape, tl.float32)
    b_xy, b_yy, b_xd, b_yd, b_dd = b_xx, b_xx, b_xx, b_xx, b_xx
    for i_dx in tl.static_range(TAPS):
        o = tl.minimum(tl.maximum(o_x + (i_dx - RADIUS), 0), W - 1)
        o_west, o_east = tl.maximum(o - 1, 0), tl.minimum(o + 1, W - 1)
        b_gx = (tl.load(p_mean + o_east) - tl.load(p_mean + o_west)) * 0.5
        b_gy = (tl.load(p_below + o) - tl.load(p_above + o)) * 0.5
        b_d = tl.load(p_difference + o)
        i_w = i_dx + 1 if i_dx < RADIUS else TAPS - i_dx
        b_wx, b_wy = i_w * b_gx, i_w * b_gy
        b_xx += b_wx * b_gx
        b_xy += b_wx * b_gy
        b_yy += b_wy * b_gy
        b_xd += b_wx * b_d
        b_yd += b_wy * b_d
        b_dd += i_w * b_d * b_d
    return b_xx, b_xy, b_yy, b_xd, b_yd, b_dd


@triton.jit
def _motion(flow0, s0_y, s0_x, flow1, s1_y, s1_x, m, o_x, o_y):
    """One component of the motion of the flows."""
    b_flow0 = tl.load(flow0 + o_y * s0_y + o_x * s0_x, mask=m, other=0.0)
    b_flow1 = tl.load(flow1 + o_y * s1_y + o_x * s1_x, mask=m, other=0.0)
    return b_flow1 - b_flow0


@triton.jit
def lucas_kanade_solve_kernel(
    weighted,  # (B, 3, HW), contiguous, written: weight times motion, then weight
    warped,  # (B, 2, C, HW), contiguous
    flow0, sf0_b, sf0_c, sf0_y, sf0_x,  # (B, 2, H, W)
    flow1, sf1_b, sf1_c, sf1_y, sf1_x,  # (B, 2, H, W)
    H, W, HW,
    blocks_per_row, blocks_per_column,  # programs
    C, BX: tl.constexpr, BY: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    i_x, i_y = i % blocks_per_row, i // blocks_per_row % blocks_per_column
    i_b = (i // blocks_per_row // blocks_per_column).to(tl.int64)
    o_plane = tl.full((), HW, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_x, i_y = i_x.to(tl.int64), i_y.to(tl.int64)
    i_y *= BY
    o_x = (i_x * BX + tl.arange(0, BX))[None, :]
    o_r = tl.arange(0, BY)[:, None]
    p_mean = warped + i_b * 2 * C * o_plane
    p_difference = p_mean + C * o_plane
    b_xx = tl.zeros((BY, BX), tl.float32)
    b_xy, b_yy, b_xd, b_yd, b_dd = b_xx, b_xx, b_xx, b_xx, b_xx
    for _ in range(C):  # sums over channels
        for i_k in range(BY + TAPS - 1):
            i_row = tl.minimum(tl.maximum(i_y + i_k - RADIUS, 0), H - 1)
            b_0, b_1, b_2, b_3, b_4, b_5 = _row_sums(p_mean, p_difference, o_x, i_row, H, W)
            b_w = tl.minimum(o_r - i_k + TAPS, i_k + 1 - o_r)
            b_w = tl.maximum(b_w, 0).to(tl.float32)
            b_xx += b_w * b_0
            b_xy += b_w * b_1
            b_yy += b_w * b_2
            b_xd += b_w * b_3
            b_yd += b_w * b_4
            b_dd += b_w * b_5
        p_mean += o_plane
        p_difference += o_plane
    b_xx, b_xy, b_yy = b_xx / WEIGHT_SUM, b_xy / WEIGHT_SUM, b_yy / WEIGHT_SUM
    b_xd, b_yd, b_dd = b_xd / WEIGHT_SUM, b_yd / WEIGHT_SUM, b_dd / WEIGHT_SUM
    # The first part of the determinant is never negative but for rounding.
    b_det = tl.maximum(b_xx * b_yy - b_xy * b_xy, 0.0) + DAMPING * (b_xx + b_yy + DAMPING)
    b_xx, b_yy = b_xx + DAMPING, b_yy + DAMPING
    b_dx = tl.minimum(tl.maximum((b_xy * b_yd - b_yy * b_xd) / b_det, -LIMIT), LIMIT)
    b_dy = tl.minimum(tl.maximum((b_xy * b_xd - b_xx * b_yd) / b_det, -LIMIT), LIMIT)
    b_error = tl.maximum(b_dd + b_xd * b_dx + b_yd * b_dy, 0.0)
    b_weight = b_det / ((b_xx + b_yy) * (b_error + ERROR))
    o_y = i_y + o_r
    m = (o_x < W) & (o_y < H)
    p_0, p_1 = flow0 + i_b * sf0_b, flow1 + i_b * sf1_b
    b_dx += _motion(p_0, sf0_y, sf0_x, p_1, sf1_y, sf1_x, m, o_x, o_y)
    b_dy += _motion(p_0 + sf0_c, sf0_y, sf0_x, p_1 + sf1_c, sf1_y, sf1_x, m, o_x, o_y)
    p_weighted = weighted + i_b * 3 * o_plane + o_y * W + o_x
    tl.store(p_weighted, b_weight * b_dx, mask=m)
    tl.store(p_weighted + o_plane, b_weight * b_dy, mask=m)
    tl.store(p_weighted + 2 * o_plane, b_weight, mask=m)


@triton.jit
def _averages(p_weighted, o_plane, o_x, o_r, i_y, H, W, BX: tl.constexpr, BY: tl.constexpr):
    """Weighted motion and weights of an image, summed over the square around each pixel."""
    b_x = tl.zeros((BY, BX), tl.float32)
    b_y, b_weight = b_x, b_x
    for i_k in range(BY + SMOOTH - 1):
        i_row = tl.minimum(tl.maximum(i_y + i_k - SMOOTH // 2, 0), H - 1)
        b_0 = tl.zeros(o_x.shape, tl.float32)
        b_1, b_2 = b_0, b_0
        for i_dx in tl.static_range(SMOOTH):
            o = tl.minimum(tl.maximum(o_x + (i_dx - SMOOTH // 2), 0), W - 1)
            p = p_weighted + i_row * W + o
            b_0 += tl.load(p)
            b_1 += tl.load(p + o_plane)
            b_2 += tl.load(p + 2 * o_plane)
        # Not a product with 0, which a motion that is not finite would pass.
        m_row = (o_r <= i_k) & (i_k < o_r + SMOOTH)
        b_x += tl.where(m_row, b_0, 0.0)
        b_y += tl.where(m_row, b_1, 0.0)
        b_weight += tl.where(m_row, b_2, 0.0)
    return b_x, b_y, b_weight


@triton.jit
def lucas_kanade_smooth_kernel(
    out,  # (B, 2, HW), contiguous, written
    weighted,  # (B, 3, HW), contiguous
    flow0, sf0_b, sf0_c, sf0_y, sf0_x,  # (B, 2, H, W)
    flow1, sf1_b, sf1_c, sf1_y, sf1_x,  # (B, 2, H, W)
    H, W, HW,
    blocks_per_row, blocks_per_column,  # programs
    BX: tl.constexpr, BY: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    i_x, i_y = i % blocks_per_row, i // blocks_per_row % blocks_per_column
    i_b = (i // blocks_per_row // blocks_per_column).to(tl.int64)
    o_plane = tl.full((), HW, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_x, i_y = i_x.to(tl.int64), i_y.to(tl.int64)
    i_y *= BY
    o_x = (i_x * BX + tl.arange(0, BX))[None, :]
    o_r = tl.arange(0, BY)[:, None]
    p_weighted = weighted + i_b * 3 * o_plane
    b_x, b_y, b_weight = _averages(p_weighted, o_plane, o_x, o_r, i_y, H, W, BX, BY)
    o_y = i_y + o_r
    m = (o_x < W) & (o_y < H)
    p_0, p_1 = flow0 + i_b * sf0_b, flow1 + i_b * sf1_b
    b_x = b_x / b_weight - _motion(p_0, sf0_y, sf0_x, p_1, sf1_y, sf1_x, m, o_x, o_y)
    p_0, p_1 = p_0 + sf0_c, p_1 + sf1_c
    b_y = b_y / b_weight - _motion(p_0, sf0_y, sf0_x, p_1, sf1_y, sf1_x, m, o_x, o_y)
    p_out = out + i_b * 2 * o_plane + o_y * W + o_x
    tl.store(p_out, b_x, mask=m)
    tl.store(p_out + o_plane, b_y, mask=m)


@triton.jit
def align_smooth_kernel(
    aligned,  # (B, 4 or 6, HW), contiguous, written: the flows after the step, the rest
    missing,  # (B, 2, HW), contiguous, written: the sum of the steps
    missing_before,  # (B, 2, HW), contiguous, or None in the first step
    rest, sr_b, sr_c, sr_y, sr_x,  # (B, 2, H, W), copied in the last step, else None
    weighted,  # (B, 3, HW), contiguous
    flow0, sf0_b, sf0_c, sf0_y, sf0_x,  # (B, 2, H, W)
    flow1, sf1_b, sf1_c, sf1_y, sf1_x,  # (B, 2, H, W)
    t, st_b,  # (B,)
    H, W, HW,
    blocks_per_row, blocks_per_column,  # programs
    BX: tl.constexpr, BY: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    i_x, i_y = i % blocks_per_row, i // blocks_per_row % blocks_per_column
    i_b = (i // blocks_per_row // blocks_per_column).to(tl.int64)
    o_plane = tl.full((), HW, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_x, i_y = i_x.to(tl.int64), i_y.to(tl.int64)
    i_y *= BY
    o_x = (i_x * BX + tl.arange(0, BX))[None, :]
    o_r = tl.arange(0, BY)[:, None]
    p_weighted = weighted + i_b * 3 * o_plane
    b_x, b_y, b_weight = _averages(p_weighted, o_plane, o_x, o_r, i_y, H, W, BX, BY)
    b_t = tl.load(t + i_b * st_b)
    o_y = i_y + o_r
    m = (o_x < W) & (o_y < H)
    o = o_y * W + o_x
    p_0 = flow0 + i_b * sf0_b + o_y * sf0_y + o_x * sf0_x
    p_1 = flow1 + i_b * sf1_b + o_y * sf1_y + o_x * sf1_x
    p_missing = missing + i_b * 2 * o_plane + o
    p_aligned = aligned + i_b * (4 if rest is None else 6) * o_plane + o
    for i_c in tl.static_range(2):
        b_flow0 = tl.load(p_0 + i_c * sf0_c, mask=m, other=0.0)
        b_flow1 = tl.load(p_1 + i_c * sf1_c, mask=m, other=0.0)
        b_step = (b_x if i_c == 0 else b_y) / b_weight - (b_flow1 - b_flow0)
        tl.store(p_aligned + i_c * o_plane, b_flow0 - b_t * b_step, mask=m)
        tl.store(p_aligned + (2 + i_c) * o_plane, b_flow1 + (1 - b_t) * b_step, mask=m)
        if missing_before is not None:
            b_step += tl.load(missing_before + i_b * 2 * o_plane + o + i_c * o_plane, mask=m)
        tl.store(p_missing + i_c * o_plane, b_step, mask=m)
        if rest is not None:
            p = rest + i_b * sr_b + i_c * sr_c + o_y * sr_y + o_x * sr_x
            tl.store(p_aligned + (4 + i_c) * o_plane, tl.load(p, mask=m, other=0.0), mask=m)
