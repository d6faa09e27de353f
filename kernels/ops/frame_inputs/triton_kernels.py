"""Triton kernel of `frame_inputs`, one launch.

A program computes everything of eight rows of BX columns. Means stay in registers: pixels that are
averaged lie in one thread or in neighbouring ones. The encoder's input is written in the order of
its memory, three channels of a pixel after another, and reads the frame again, from the cache.

Names: B* block sizes, i_* program ids and loops, o_* offsets, m_* masks, p_* pointers, s_* strides,
b_* blocks in registers.
"""

import triton
import triton.language as tl

from lift.kernels.ops.frame_inputs import reference

ROWS = tl.constexpr(8)  # of a program
RED, GREEN, BLUE = (tl.constexpr(weight) for weight in reference.LUMA)


@triton.jit
def _pair_means(b):
    """Means of a row's elements 2i and 2i + 1, (n,) -> (n / 2,)."""
    return tl.sum(tl.reshape(b, (b.shape[0] // 2, 2)), 1) * 0.5


@triton.jit
def _luma(b_r, b_g, b_b):
    return b_r * RED + b_g * GREEN + b_b * BLUE


@triton.jit
def _half_row(p_frames, s_y, s_x, p_padded, i_y, o_x, H, W, WP, PADDED, PADDED_X):
    """Means over 2 x 2 pixels of two rows of one channel, (BX / 2,); writes the padded rows."""
    m = o_x < WP
    o_in = tl.minimum(o_x, W - 1) if PADDED_X else o_x  # unclamped, loads are vectors
    b_0 = tl.load(p_frames + tl.minimum(i_y, H - 1) * s_y + o_in * s_x, mask=m, other=0.0)
    b_1 = tl.load(p_frames + tl.minimum(i_y + 1, H - 1) * s_y + o_in * s_x, mask=m, other=0.0)
    if PADDED:
        tl.store(p_padded + i_y * WP + o_x, b_0, mask=m)
        tl.store(p_padded + (i_y + 1) * WP + o_x, b_1, mask=m)
    return _pair_means((b_0 + b_1) * 0.5)


@triton.jit
def _quarter_row(
    p_frames, s_c, s_y, s_x, p_padded, o_plane, p_luma2, p_quarter, p_luma4,
    i_y, i_x, H, W, WP, PADDED, PADDED_X, BX,
):  # fmt: skip
    """Everything of four rows but the encoder's input; returns luma at a quarter, (BX / 4,)."""
    o_x = i_x + tl.arange(0, BX)
    o_2 = i_x // 2 + tl.arange(0, BX // 2)
    o_4 = i_x // 4 + tl.arange(0, BX // 4)
    p_0, p_1, p_2 = p_frames, p_frames + s_c, p_frames + 2 * s_c
    p_padded1, p_padded2 = p_padded + o_plane, p_padded + 2 * o_plane
    b_r = _half_row(p_0, s_y, s_x, p_padded, i_y, o_x, H, W, WP, PADDED, PADDED_X)
    b_g = _half_row(p_1, s_y, s_x, p_padded1, i_y, o_x, H, W, WP, PADDED, PADDED_X)
    b_b = _half_row(p_2, s_y, s_x, p_padded2, i_y, o_x, H, W, WP, PADDED, PADDED_X)
    p_luma2 += i_y // 2 * (WP // 2) + o_2
    tl.store(p_luma2, _luma(b_r, b_g, b_b), mask=o_2 < WP // 2)
    i_y += 2
    b_r1 = _half_row(p_0, s_y, s_x, p_padded, i_y, o_x, H, W, WP, PADDED, PADDED_X)
    b_g1 = _half_row(p_1, s_y, s_x, p_padded1, i_y, o_x, H, W, WP, PADDED, PADDED_X)
    b_b1 = _half_row(p_2, s_y, s_x, p_padded2, i_y, o_x, H, W, WP, PADDED, PADDED_X)
    tl.store(p_luma2 + WP // 2, _luma(b_r1, b_g1, b_b1), mask=o_2 < WP // 2)
    b_r = _pair_means((b_r + b_r1) * 0.5)
    b_g = _pair_means((b_g + b_g1) * 0.5)
    b_b = _pair_means((b_b + b_b1) * 0.5)
    b_luma4 = _luma(b_r, b_g, b_b)
    o, m = i_y // 4 * (WP // 4) + o_4, o_4 < WP // 4
    tl.store(p_quarter + o, b_r, mask=m)
    tl.store(p_quarter + o_plane // 16 + o, b_g, mask=m)
    tl.store(p_quarter + o_plane // 16 * 2 + o, b_b, mask=m)
    tl.store(p_luma4 + o, b_luma4, mask=m)
    return b_luma4


@triton.jit
def frame_inputs_kernel(
    stem,  # (N, HP, WP, 3), contiguous, written
    padded,  # (N, 3, HP, WP), contiguous, written where anything is padded
    luma2,  # (N, 1, HP / 2, WP / 2), contiguous, written
    quarter,  # (N, 3, HP / 4, WP / 4), contiguous, written
    luma4,  # (N, 1, HP / 4, WP / 4), contiguous, written
    luma8,  # (N, 1, HP / 8, WP / 8), contiguous, written
    frames, s_b, s_c, s_y, s_x,  # (N, 3, H, W)
    H, W, WP, PLANE,  # PLANE: HP * WP
    blocks_per_row, blocks_per_column,  # programs
    PADDED: tl.constexpr, PADDED_X: tl.constexpr, BX: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    i_x, i_y = i % blocks_per_row, i // blocks_per_row % blocks_per_column
    i_n = (i // blocks_per_row // blocks_per_column).to(tl.int64)
    o_plane = tl.full((), PLANE, tl.int64 if INT64_OFFSETS else tl.int32)
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_x, i_y = i_x.to(tl.int64), i_y.to(tl.int64)
    i_x, i_y = i_x * BX, i_y * ROWS
    p_frames = frames + i_n * s_b
    p_padded = padded + i_n * 3 * o_plane
    p_luma2 = luma2 + i_n * (o_plane // 4)
    p_quarter = quarter + i_n * 3 * (o_plane // 16)
    p_luma4 = luma4 + i_n * (o_plane // 16)
    b_upper = _quarter_row(
        p_frames, s_c, s_y, s_x, p_padded, o_plane, p_luma2, p_quarter, p_luma4,
        i_y, i_x, H, W, WP, PADDED, PADDED_X, BX,
    )  # fmt: skip
    b_lower = _quarter_row(
        p_frames, s_c, s_y, s_x, p_padded, o_plane, p_luma2, p_quarter, p_luma4,
        i_y + 4, i_x, H, W, WP, PADDED, PADDED_X, BX,
    )  # fmt: skip
    o_8 = i_x // 8 + tl.arange(0, BX // 8)
    p_luma8 = luma8 + i_n * (o_plane // 64) + i_y // 8 * (WP // 8) + o_8
    tl.store(p_luma8, _pair_means((b_upper + b_lower) * 0.5), mask=o_8 < WP // 8)
    for i_part in tl.static_range(3):  # of 3 BX elements of each row
        o = i_part * BX + tl.arange(0, BX)
        o_c, o_x = o % 3, i_x + o // 3
        m = o_x < WP
        p_in = p_frames + o_c * s_c + tl.minimum(o_x, W - 1) * s_x
        p_out = stem + i_n * 3 * o_plane + i_x * 3 + o
        for i_row in tl.static_range(ROWS):
            b = tl.load(p_in + tl.minimum(i_y + i_row, H - 1) * s_y, mask=m, other=0.0)
            tl.store(p_out + (i_y + i_row) * WP * 3, (b - 0.5) * 4, mask=m)
