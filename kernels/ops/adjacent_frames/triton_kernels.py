"""Triton kernel of `adjacent_frames`: a program takes a clip.

Names: B* block sizes, i_* program ids, o_* offsets, m_* masks, p_* pointers, s_* strides, b_*
blocks in registers.
"""

import triton
import triton.language as tl

from lift.kernels.ops.adjacent_frames import reference

MAX_GAP = tl.constexpr(reference.MAX_GAP)


@triton.jit
def adjacent_frames_kernel(
    ends,  # (2, B, 2 PER_SIDE), int64, contiguous, written
    outer_times,  # (B, 2 PER_SIDE), contiguous, written
    exists,  # (B, 2 PER_SIDE), uint8, contiguous, written
    times, st_b, st_t,  # (B, T)
    mask, sm_b, sm_t,  # (B, T), uint8
    indices, si_b, si_t,  # (B, T), int64
    left, B, T,
    PER_SIDE: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    i_b = tl.program_id(0)
    o_t = tl.arange(0, BT)
    m = o_t < T
    b_times = tl.load(times + i_b * st_b + o_t * st_t, mask=m, other=0.0)
    m_real = tl.load(mask + i_b * sm_b + o_t * sm_t, mask=m, other=0) != 0
    p_indices = indices + i_b * si_b
    b_indices = tl.load(p_indices + o_t * si_t, mask=m, other=0)
    for side in tl.static_range(2):
        b_outward = b_times if side == 0 else 1 - b_times  # below 0 beyond the reference
        b_edge = tl.sum(tl.zeros_like(b_times))
        b_start = b_edge  # of the gap; -infinity where there is no frame, so none is beyond it
        b_inner = tl.load(p_indices + (left + side) * si_t)
        for k in tl.static_range(PER_SIDE):
            b_gap = b_start - b_outward
            m_beyond = m_real & (b_gap > 0) & (b_gap <= MAX_GAP)
            b_start = tl.max(tl.where(m_beyond, b_outward, float("-inf")))
            b_exists = b_start > float("-inf")
            o_nearest = tl.min(tl.where(m_beyond & (b_outward == b_start), o_t, BT))
            b_outer = tl.sum(tl.where(o_t == o_nearest, b_indices, 0))
            b_outer = tl.where(b_exists, b_outer, b_inner)
            b_edge = tl.where(b_exists, b_start, b_edge - 1)
            o = i_b * 2 * PER_SIDE + 2 * k + side
            tl.store(ends + o, b_outer if side == 0 else b_inner)
            tl.store(ends + B * 2 * PER_SIDE + o, b_inner if side == 0 else b_outer)
            tl.store(outer_times + o, b_edge if side == 0 else 1 - b_edge)
            tl.store(exists + o, b_exists.to(tl.uint8))
            b_inner = b_outer
