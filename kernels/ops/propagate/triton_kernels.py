"""Triton kernels of `propagate`, two launches a pass and one for its gradient.

The first writes how much the images differ by each of the five fields of flows; a program computes
BP pixels of all fields. The second sums the differences over the windows, and blends the flows. The
gradient of a pixel's flows is summed over the pixels that read them. All arithmetic is float32.

Names: B* block sizes, i_* program ids and loops, o_* offsets, m_* masks, p_* pointers, s_* strides,
b_* blocks in registers.
"""

import triton
import triton.language as tl

from lift.kernels.ops.propagate import reference
from lift.kernels.ops.warp_blend.triton_kernels import (
    axis_coords,
    bilinear,
    corner_offsets,
    load_corners,
)

WINDOW = tl.constexpr(reference.WINDOW)
TEMPERATURE = tl.constexpr(reference.TEMPERATURE)
FIELDS = tl.constexpr(1 + len(reference.DIRECTIONS))


@triton.jit
def _moved(o_x, o_y, i_field, distance, h, w):
    """The pixel at the distance that field 1 to 4 is read from, and whether it is inside.

    Field 0 is read from the pixel itself. With -distance: the pixel that reads the field from here.
    """
    i_half = i_field // 2
    i_dx = (i_field % 2) * (2 - i_field)  # 0, 1, 0, -1, 0
    i_dy = (1 - i_field % 2) * (i_half * (5 - 3 * i_half) // 2)  # 0, 0, 1, 0, -1
    o_x += i_dx * distance
    o_y += i_dy * distance
    return o_x, o_y, (o_x >= 0) & (o_x < w) & (o_y >= 0) & (o_y < h)


@triton.jit
def _source(o_x, o_y, i_field, distance, h, w):
    """The pixel whose flows a field has: to the right, below, left, above, or the pixel itself."""
    o_from_x, o_from_y, m_in = _moved(o_x, o_y, i_field, distance, h, w)
    return tl.where(m_in, o_from_x, o_x), tl.where(m_in, o_from_y, o_y)


@triton.jit
def _sample(luma, s_y, s_x, b_dx, b_dy, m, o_x, o_y, H, W):
    o_w, o_e, b_fx, _ = axis_coords(b_dx, o_x, W)
    o_n, o_s, b_fy, _ = axis_coords(b_dy, o_y, H)
    o_nw, o_ne, o_sw, o_se = corner_offsets(o_n, o_s, o_w, o_e, s_y, s_x)
    b_nw, b_ne, b_sw, b_se = load_corners(luma, o_nw, o_ne, o_sw, o_se, m)
    return bilinear(b_nw, b_ne, b_sw, b_se, b_fx, b_fy)


@triton.jit
def propagate_compare_kernel(
    differences,  # (B, FIELDS, hw), contiguous, written
    luma0, s0_b, s0_y, s0_x,  # (B, 1, 2 h, 2 w)
    luma1, s1_b, s1_y, s1_x,  # (B, 1, 2 h, 2 w)
    state, ss_b, ss_c, ss_y, ss_x,  # (B, 6, h, w)
    distance, h, w, hw,
    blocks_per_image,  # programs per image
    BP: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    o_plane = tl.full((), hw, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
    o_p = i_p * BP + tl.arange(0, BP)
    m = o_p < hw
    o_y, o_x = o_p // w, o_p % w
    luma0 += i_b * s0_b
    luma1 += i_b * s1_b
    p_difference = differences + i_b * FIELDS * o_plane + o_p
    for i_field in range(FIELDS):
        o_from_x, o_from_y = _source(o_x, o_y, i_field, distance, h, w)
        p_flow = state + i_b * ss_b + o_from_y * ss_y + o_from_x * ss_x
        b_dx0 = tl.load(p_flow, mask=m, other=0.0) * 2
        b_dy0 = tl.load(p_flow + ss_c, mask=m, other=0.0) * 2
        b_dx1 = tl.load(p_flow + 2 * ss_c, mask=m, other=0.0) * 2
        b_dy1 = tl.load(p_flow + 3 * ss_c, mask=m, other=0.0) * 2
        b_sum = tl.zeros((BP,), tl.float32)
        for i_k in tl.static_range(4):  # the pixel's 2 x 2 pixels of the images
            o_fine_x, o_fine_y = 2 * o_x + i_k % 2, 2 * o_y + i_k // 2
            b_0 = _sample(luma0, s0_y, s0_x, b_dx0, b_dy0, m, o_fine_x, o_fine_y, 2 * h, 2 * w)
            b_1 = _sample(luma1, s1_y, s1_x, b_dx1, b_dy1, m, o_fine_x, o_fine_y, 2 * h, 2 * w)
            b_sum += tl.abs(b_1 - b_0)
        tl.store(p_difference, b_sum * 0.25, mask=m)
        p_difference += o_plane


@triton.jit
def _cost(p_difference, m, o_x, o_y, h, w):
    """Differences of a field averaged over the window: over the pixels of it that are inside."""
    b_sum = tl.zeros(o_x.shape, tl.float32)
    b_count = tl.zeros(o_x.shape, tl.float32)
    for i_dy in range(WINDOW):  # unrolled, 25 loads in flight would take twice the registers
        for i_dx in tl.static_range(WINDOW):
            o_at_x, o_at_y = o_x + (i_dx - WINDOW // 2), o_y + (i_dy - WINDOW // 2)
            m_in = m & (o_at_x >= 0) & (o_at_x < w) & (o_at_y >= 0) & (o_at_y < h)
            b_sum += tl.load(p_difference + o_at_y * w + o_at_x, mask=m_in, other=0.0)
            b_count += m_in.to(tl.float32)
    return b_sum / tl.maximum(b_count, 1.0)


@triton.jit
def propagate_blend_kernel(
    out,  # (B, 6, hw), contiguous, written
    weights,  # (B, FIELDS, hw), contiguous, written if SAVE
    differences,  # (B, FIELDS, hw), contiguous
    state, ss_b, ss_c, ss_y, ss_x,  # (B, 6, h, w)
    distance, h, w, hw,
    blocks_per_image,  # programs per image
    BP: tl.constexpr, SAVE: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    o_plane = tl.full((), hw, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
    o_p = i_p * BP + tl.arange(0, BP)
    m = o_p < hw
    o_y, o_x = o_p // w, o_p % w
    p_state = state + i_b * ss_b
    p_differences = differences + i_b * FIELDS * o_plane
    # A softmax in one pass: the sums are of weights over exp(-least / TEMPERATURE).
    b_least = _cost(p_differences, m, o_x, o_y, h, w)
    b_weights = tl.full((BP,), 1.0, tl.float32)
    p_weight = weights + i_b * FIELDS * o_plane + o_p
    if SAVE:  # the costs, until all are known
        tl.store(p_weight, b_least, mask=m)
    p_flow = p_state + o_y * ss_y + o_x * ss_x
    b_dx0 = tl.load(p_flow, mask=m, other=0.0)
    b_dy0 = tl.load(p_flow + ss_c, mask=m, other=0.0)
    b_dx1 = tl.load(p_flow + 2 * ss_c, mask=m, other=0.0)
    b_dy1 = tl.load(p_flow + 3 * ss_c, mask=m, other=0.0)
    b_rest0 = tl.load(p_flow + 4 * ss_c, mask=m, other=0.0)
    b_rest1 = tl.load(p_flow + 5 * ss_c, mask=m, other=0.0)
    for i_field in range(1, FIELDS):
        p_differences += o_plane
        b_cost = _cost(p_differences, m, o_x, o_y, h, w)
        if SAVE:
            tl.store(p_weight + i_field * o_plane, b_cost, mask=m)
        b_next = tl.minimum(b_least, b_cost)
        b_old = tl.exp((b_next - b_least) / TEMPERATURE)
        b_new = tl.exp((b_next - b_cost) / TEMPERATURE)
        b_least = b_next
        o_from_x, o_from_y = _source(o_x, o_y, i_field, distance, h, w)
        p_flow = p_state + o_from_y * ss_y + o_from_x * ss_x
        b_dx0 = b_old * b_dx0 + b_new * tl.load(p_flow, mask=m, other=0.0)
        b_dy0 = b_old * b_dy0 + b_new * tl.load(p_flow + ss_c, mask=m, other=0.0)
        b_dx1 = b_old * b_dx1 + b_new * tl.load(p_flow + 2 * ss_c, mask=m, other=0.0)
        b_dy1 = b_old * b_dy1 + b_new * tl.load(p_flow + 3 * ss_c, mask=m, other=0.0)
        b_weights = b_old * b_weights + b_new
    p_out = out + i_b * 6 * o_plane + o_p
    tl.store(p_out, b_dx0 / b_weights, mask=m)
    tl.store(p_out + o_plane, b_dy0 / b_weights, mask=m)
    tl.store(p_out + 2 * o_plane, b_dx1 / b_weights, mask=m)
    tl.store(p_out + 3 * o_plane, b_dy1 / b_weights, mask=m)
    tl.store(p_out + 4 * o_plane, b_rest0, mask=m)
    tl.store(p_out + 5 * o_plane, b_rest1, mask=m)
    if SAVE:
        for _ in range(FIELDS):  # a thread reads what it wrote itself
            b_cost = tl.load(p_weight, mask=m, other=0.0)
            tl.store(p_weight, tl.exp((b_least - b_cost) / TEMPERATURE) / b_weights, mask=m)
            p_weight += o_plane


@triton.jit
def propagate_bwd_kernel(
    dstate,  # (B, 6, hw), contiguous, written
    grad, sg_b, sg_c, sg_y, sg_x,  # (B, 6, h, w)
    weights,  # (B, FIELDS, hw), contiguous
    distance, h, w, hw,
    blocks_per_image,  # programs per image
    BP: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    o_plane = tl.full((), hw, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
    o_p = i_p * BP + tl.arange(0, BP)
    m = o_p < hw
    o_y, o_x = o_p // w, o_p % w
    grad += i_b * sg_b
    p_weights = weights + i_b * FIELDS * o_plane
    b_own = tl.load(p_weights + o_p, mask=m, other=0.0)
    b_dx0 = tl.zeros((BP,), tl.float32)
    b_dy0 = tl.zeros((BP,), tl.float32)
    b_dx1 = tl.zeros((BP,), tl.float32)
    b_dy1 = tl.zeros((BP,), tl.float32)
    for i_field in range(1, FIELDS):
        p_weights += o_plane
        _, _, m_in = _moved(o_x, o_y, i_field, distance, h, w)
        b_own += tl.load(p_weights + o_p, mask=m & ~m_in, other=0.0)
        o_by_x, o_by_y, m_in = _moved(o_x, o_y, i_field, -distance, h, w)
        m_in &= m
        b_weight = tl.load(p_weights + o_by_y * w + o_by_x, mask=m_in, other=0.0)
        p_grad = grad + o_by_y * sg_y + o_by_x * sg_x
        b_dx0 += b_weight * tl.load(p_grad, mask=m_in, other=0.0)
        b_dy0 += b_weight * tl.load(p_grad + sg_c, mask=m_in, other=0.0)
        b_dx1 += b_weight * tl.load(p_grad + 2 * sg_c, mask=m_in, other=0.0)
        b_dy1 += b_weight * tl.load(p_grad + 3 * sg_c, mask=m_in, other=0.0)
    p_grad = grad + o_y * sg_y + o_x * sg_x
    b_dx0 += b_own * tl.load(p_grad, mask=m, other=0.0)
    b_dy0 += b_own * tl.load(p_grad + sg_c, mask=m, other=0.0)
    b_dx1 += b_own * tl.load(p_grad + 2 * sg_c, mask=m, other=0.0)
    b_dy1 += b_own * tl.load(p_grad + 3 * sg_c, mask=m, other=0.0)
    b_rest0 = tl.load(p_grad + 4 * sg_c, mask=m, other=0.0)
    b_rest1 = tl.load(p_grad + 5 * sg_c, mask=m, other=0.0)
    p_dstate = dstate + i_b * 6 * o_plane + o_p
    tl.store(p_dstate, b_dx0, mask=m)
    tl.store(p_dstate + o_plane, b_dy0, mask=m)
    tl.store(p_dstate + 2 * o_plane, b_dx1, mask=m)
    tl.store(p_dstate + 3 * o_plane, b_dy1, mask=m)
    tl.store(p_dstate + 4 * o_plane, b_rest0, mask=m)
    tl.store(p_dstate + 5 * o_plane, b_rest1, mask=m)
