"""Triton kernel of `change_map`, one launch.

A program computes BY rows of BX columns of the map. It walks down the rows of 2 x 2 blocks that
these have around them, takes maxima and minima of each over the six columns around, and merges them
into those of the BY rows that the row of blocks belongs to. All arithmetic is float32.

Names: B* block sizes, i_* program ids and loops, o_* offsets, m_* masks, p_* pointers, s_* strides,
b_* blocks in registers.
"""

import triton
import triton.language as tl

from lift.kernels.ops.change_map import reference

NOISE_CONTRAST = tl.constexpr(reference.NOISE_CONTRAST)
MIN_DIFFERENCE = tl.constexpr(reference.MIN_DIFFERENCE)


@triton.jit
def change_map_kernel(
    out,  # (B, 1, H / 2, W / 2), contiguous, written
    image0, s0_b, s0_c, s0_y, s0_x,  # (B, 3, H, W)
    image1, s1_b, s1_c, s1_y, s1_x,  # (B, 3, H, W)
    H, W,
    blocks_per_row, blocks_per_column,  # programs
    BX: tl.constexpr, BY: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    i_x, i_y = i % blocks_per_row, i // blocks_per_row % blocks_per_column
    i_b = (i // blocks_per_row // blocks_per_column).to(tl.int64)
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_x, i_y = i_x.to(tl.int64), i_y.to(tl.int64)
    i_y *= BY
    o_x = (i_x * BX + tl.arange(0, BX))[None, :]
    o_r = tl.arange(0, BY)[:, None]
    p_0, p_1 = image0 + i_b * s0_b, image1 + i_b * s1_b
    b_difference = tl.zeros((BY, BX), tl.float32)
    b_contrast0 = tl.zeros((BY, BX), tl.float32)
    b_contrast1 = tl.zeros((BY, BX), tl.float32)
    for _ in range(3):  # channels
        b_max0 = tl.full((BY, BX), -float("inf"), tl.float32)
        b_min0 = tl.full((BY, BX), float("inf"), tl.float32)
        b_max1, b_min1 = b_max0, b_min0
        for i_k in range(BY + 2):  # rows of blocks
            b_high0 = tl.full((1, BX), -float("inf"), tl.float32)
            b_low0 = tl.full((1, BX), float("inf"), tl.float32)
            b_high1, b_low1 = b_high0, b_low0
            b_apart = tl.zeros((1, BX), tl.float32)
            for i_dy in tl.static_range(2):
                i_row = tl.minimum(tl.maximum(2 * (i_y + i_k) - 2 + i_dy, 0), H - 1)
                for i_dx in tl.static_range(6):
                    o = tl.minimum(tl.maximum(2 * o_x - 2 + i_dx, 0), W - 1)
                    b_0 = tl.load(p_0 + i_row * s0_y + o * s0_x).to(tl.float32)
                    b_1 = tl.load(p_1 + i_row * s1_y + o * s1_x).to(tl.float32)
                    b_high0, b_low0 = tl.maximum(b_high0, b_0), tl.minimum(b_low0, b_0)
                    b_high1, b_low1 = tl.maximum(b_high1, b_1), tl.minimum(b_low1, b_1)
                    b_apart = tl.maximum(b_apart, tl.abs(b_0 - b_1))
            m_row = (o_r <= i_k) & (i_k < o_r + 3)
            b_max0 = tl.where(m_row, tl.maximum(b_max0, b_high0), b_max0)
            b_min0 = tl.where(m_row, tl.minimum(b_min0, b_low0), b_min0)
            b_max1 = tl.where(m_row, tl.maximum(b_max1, b_high1), b_max1)
            b_min1 = tl.where(m_row, tl.minimum(b_min1, b_low1), b_min1)
            b_difference = tl.where(m_row, tl.maximum(b_difference, b_apart), b_difference)
        b_contrast0 = tl.maximum(b_contrast0, b_max0 - b_min0)
        b_contrast1 = tl.maximum(b_contrast1, b_max1 - b_min1)
        p_0 += s0_c
        p_1 += s1_c
    b_contrast = (b_contrast0 + b_contrast1) * 0.5 + NOISE_CONTRAST
    b = tl.log(tl.maximum(b_difference, MIN_DIFFERENCE) / b_contrast)
    h, w, o_y = H // 2, W // 2, i_y + o_r
    tl.store(out + i_b * h * w + o_y * w + o_x, b, mask=(o_x < w) & (o_y < h))
