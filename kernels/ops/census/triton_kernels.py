"""Triton kernels of `census`, one launch each way.

A program has BP pixels, row by row. It computes the lumas of the pixels around each of them anew,
which caches hold, so that nothing but the images is read and nothing but the result is written. The
backward gathers what each of the 48 neighbours contributes to a pixel: no atomics. All arithmetic
is float32.

Names: B* block sizes, i_* program ids and loops, o_* offsets, m_* masks, p_* pointers, s_* strides,
b_* blocks in registers.
"""

import triton
import triton.language as tl

from lift.kernels.ops.census import reference
from lift.kernels.reduction import is_last_program, sum_rows

RADIUS = tl.constexpr(reference.RADIUS)
SIDE = tl.constexpr(2 * reference.RADIUS + 1)
SOFT = tl.constexpr(reference.SOFT)
HALF = tl.constexpr(reference.HALF)
RED = tl.constexpr(reference.LUMA[0])
GREEN = tl.constexpr(reference.LUMA[1])
BLUE = tl.constexpr(reference.LUMA[2])


@triton.jit
def _luma(p, s_c, m):
    """Luma of the pixels at pointers of the red channel."""
    b_red = tl.load(p, mask=m, other=0.0).to(tl.float32)
    b_green = tl.load(p + s_c, mask=m, other=0.0).to(tl.float32)
    b_blue = tl.load(p + 2 * s_c, mask=m, other=0.0).to(tl.float32)
    return b_red * RED + b_green * GREEN + b_blue * BLUE


@triton.jit
def _pixels(blocks_per_image, HW, W, BP: tl.constexpr, INT64_OFFSETS: tl.constexpr):
    """The image of a program, its pixels, their places and mask."""
    i_b = (tl.program_id(0) // blocks_per_image).to(tl.int64)
    i_p = tl.program_id(0) % blocks_per_image
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
    o_p = i_p * BP + tl.arange(0, BP)
    return i_b, o_p, o_p // W, o_p % W, o_p < HW


@triton.jit
def _neighbour(i_y, i_x, o_y, o_x, m, H, W):
    """Place and mask of the neighbour of each pixel in row i_y and column i_x of its window."""
    o_v, o_u = o_y + (i_y - RADIUS), o_x + (i_x - RADIUS)
    return o_v, o_u, m & (o_v >= 0) & (o_v < H) & (o_u >= 0) & (o_u < W)


@triton.jit
def _difference(b_here0, b_there0, b_here1, b_there1):
    """Difference of the digits of pairs in two images, and 1 / sqrt(d^2 + SOFT) of the first."""
    b_d0, b_d1 = b_there0 - b_here0, b_there1 - b_here1
    b_norm = 1.0 / tl.sqrt(b_d0 * b_d0 + SOFT)
    return b_d0 * b_norm - b_d1 * (1.0 / tl.sqrt(b_d1 * b_d1 + SOFT)), b_norm


@triton.jit
def census_fwd_kernel(
    loss,  # (1,), written
    partial,  # (programs,), written: sums over the pairs of a program's pixels, times `share`
    counter,  # (1,), zero
    image0, s0_b, s0_c, s0_y, s0_x,  # (B, 3, H, W)
    image1, s1_b, s1_c, s1_y, s1_x,  # (B, 3, H, W)
    H, W, HW,
    blocks_per_image,  # programs per image
    share,  # 1 / the number of pairs
    programs,
    BP: tl.constexpr, BROWS: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b, _, o_y, o_x, m = _pixels(blocks_per_image, HW, W, BP, INT64_OFFSETS)
    p_0, p_1 = image0 + i_b * s0_b, image1 + i_b * s1_b
    b_here0 = _luma(p_0 + o_y * s0_y + o_x * s0_x, s0_c, m)
    b_here1 = _luma(p_1 + o_y * s1_y + o_x * s1_x, s1_c, m)
    b_sum = tl.zeros((BP,), tl.float32)
    for i_y in range(RADIUS, SIDE):
        for i_x in range(SIDE):
            o_v, o_u, m_i = _neighbour(i_y, i_x, o_y, o_x, m, H, W)
            b_there0 = _luma(p_0 + o_v * s0_y + o_u * s0_x, s0_c, m_i)
            b_there1 = _luma(p_1 + o_v * s1_y + o_u * s1_x, s1_c, m_i)
            b_s, b_norm = _difference(b_here0, b_there0, b_here1, b_there1)
            b_square = b_s * b_s
            m_i &= (i_y > RADIUS) | (i_x > RADIUS)  # each pair once
            b_sum += tl.where(m_i, b_square / (b_square + HALF), 0.0)
    tl.store(partial + tl.program_id(0), tl.sum(b_sum, 0) * share)
    if is_last_program(counter, programs):
        sum_rows(loss, counter, partial, programs, 1, tl.arange(0, 1), BROWS, 1)


@triton.jit
def census_bwd_kernel(
    dimage0, sd_b, sd_c, sd_y, sd_x,  # (B, 3, H, W), written
    grad,  # (), of the loss
    image0, s0_b, s0_c, s0_y, s0_x,  # (B, 3, H, W)
    image1, s1_b, s1_c, s1_y, s1_x,  # (B, 3, H, W)
    H, W, HW,
    blocks_per_image,  # programs per image
    share,  # 1 / the number of pairs
    BP: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b, _, o_y, o_x, m = _pixels(blocks_per_image, HW, W, BP, INT64_OFFSETS)
    p_0, p_1 = image0 + i_b * s0_b, image1 + i_b * s1_b
    b_here0 = _luma(p_0 + o_y * s0_y + o_x * s0_x, s0_c, m)
    b_here1 = _luma(p_1 + o_y * s1_y + o_x * s1_x, s1_c, m)
    b_slope = tl.zeros((BP,), tl.float32)
    for i_y in range(SIDE):
        for i_x in range(SIDE):  # the pixel itself has no slope
            o_v, o_u, m_i = _neighbour(i_y, i_x, o_y, o_x, m, H, W)
            b_there0 = _luma(p_0 + o_v * s0_y + o_u * s0_x, s0_c, m_i)
            b_there1 = _luma(p_1 + o_v * s1_y + o_u * s1_x, s1_c, m_i)
            b_s, b_norm = _difference(b_here0, b_there0, b_here1, b_there1)
            b_inverse = 1.0 / (b_s * b_s + HALF)
            b_term = b_s * b_inverse * b_inverse * b_norm * b_norm * b_norm
            b_slope -= tl.where(m_i, b_term, 0.0)
    b_slope *= 2 * HALF * SOFT * share * tl.load(grad).to(tl.float32)
    p = dimage0 + i_b * sd_b + o_y * sd_y + o_x * sd_x
    tl.store(p, b_slope * RED, mask=m)
    tl.store(p + sd_c, b_slope * GREEN, mask=m)
    tl.store(p + 2 * sd_c, b_slope * BLUE, mask=m)
