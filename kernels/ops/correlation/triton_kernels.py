"""Triton kernels of `correlation`, forward and backward.

One pass over products, sums and normalization: neither a shifted copy nor a product reaches memory,
and only the backward writes an inverse norm per location. All arithmetic is float32. The distance
between columns is a constant, which tells the compiler how far a location's channels are aligned.

A program of the forward computes BP locations of one row and the 2 radius + 1 displacements of one
dy, or of all dy in turn where the locations alone fill a GPU. It loops over the channels BC at a
time: BC = 1 where each channel is a plane, more in channels_last.

The backward gathers: a location's gradient is a sum over displacements in one order, so it needs no
atomics and has the same bits every time,

    dfmap0(x) = sum over d of grad[d](x) fmap1(x + d)
    dfmap1(x) = sum over d of grad[-d](x + d) fmap0(x + d)

A program of the backward holds all channels of BP locations, of maps with any strides.

Names: B* block sizes, i_* program ids and loops, o_* offsets, m_* masks, p_* pointers, s_* strides,
b_* blocks in registers.
"""

import triton
import triton.language as tl

from lift.kernels.ops.correlation.reference import EPS

EPS_SQ = tl.constexpr(EPS**2)
# The squares of large values overflow float32. Times SHRINK, which no rounding notices, those up to
# HUGE do not, whatever the number of channels; larger values count as HUGE.
SHRINK = tl.constexpr(2.0**-40)
HUGE = tl.constexpr(2.0**98)


@triton.jit
def _shrunk(b, MAY_BE_HUGE: tl.constexpr):
    """Features in float32, times SHRINK where they may be huge."""
    b = b.to(tl.float32)
    if MAY_BE_HUGE:
        b = tl.minimum(tl.maximum(b * SHRINK, -HUGE * SHRINK), HUGE * SHRINK)
    return b


@triton.jit
def _min_square(MAY_BE_HUGE: tl.constexpr):
    """EPS_SQ for `_shrunk` features."""
    return EPS_SQ * SHRINK * SHRINK if MAY_BE_HUGE else EPS_SQ


@triton.jit
def _locations(i, blocks_per_row, H, BP: tl.constexpr, INT64_OFFSETS: tl.constexpr):
    """The image, the row and the columns (BP) of program i."""
    i_row = i // blocks_per_row
    i_b, i_y, o_x = (
        (i_row // H).to(tl.int64),
        i_row % H,
        (i % blocks_per_row) * BP + tl.arange(0, BP),
    )
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_y, o_x = i_y.to(tl.int64), o_x.to(tl.int64)
    return i_b, i_y, o_x


@triton.jit
def _inverse_norm(
    p_fmap,
    s_c,
    m_x,
    C: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    INT64_OFFSETS: tl.constexpr,
):
    MAY_BE_HUGE: tl.constexpr = p_fmap.dtype.scalar.element_ty != tl.float16
    o_c = tl.arange(0, BC)[None, :]
    if INT64_OFFSETS:
        o_c = o_c.to(tl.int64)
    b_squares = tl.zeros((BP, BC), tl.float32)
    for i_c in range(0, C, BC):
        b = tl.load(p_fmap + (i_c + o_c) * s_c, mask=m_x & (i_c + o_c < C), other=0.0)
        b = _shrunk(b, MAY_BE_HUGE)
        b_squares += b * b
    b_inv_norm = tl.rsqrt(tl.maximum(tl.sum(b_squares, 1), _min_square(MAY_BE_HUGE)))
    return b_inv_norm * SHRINK if MAY_BE_HUGE else b_inv_norm


@triton.jit
def correlation_inverse_norms_kernel(
    inv_norm0, inv_norm1,  # (B, HW), written
    fmap0, s0_b, s0_c, s0_y, s0_x: tl.constexpr,  # (B, C, H, W)
    fmap1, s1_b, s1_c, s1_y, s1_x: tl.constexpr,  # (B, C, H, W)
    H, W,
    blocks_per_row,  # programs per row
    C: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_b, i_y, o_x = _locations(tl.program_id(0), blocks_per_row, H, BP, INT64_OFFSETS)
    m_x = o_x < W
    o_out = i_b * H * W + i_y * W + o_x
    b_fmap0 = _inverse_norm(
        fmap0 + i_b * s0_b + i_y * s0_y + (o_x * s0_x)[:, None],
        s0_c,
        m_x[:, None],
        C,
        BP,
        BC,
        INT64_OFFSETS,
    )
    tl.store(inv_norm0 + o_out, b_fmap0, mask=m_x)
    b_fmap1 = _inverse_norm(
        fmap1 + i_b * s1_b + i_y * s1_y + (o_x * s1_x)[:, None],
        s1_c,
        m_x[:, None],
        C,
        BP,
        BC,
        INT64_OFFSETS,
    )
    tl.store(inv_norm1 + o_out, b_fmap1, mask=m_x)


@triton.jit
def correlation_fwd_kernel(
    out,  # (B, D, HW), written
    fmap0, s0_b, s0_c, s0_y, s0_x: tl.constexpr,  # (B, C, H, W)
    fmap1, s1_b, s1_c, s1_y, s1_x: tl.constexpr,  # (B, C, H, W)
    H, W,
    blocks_per_row,  # programs per row
    C: tl.constexpr, RADIUS: tl.constexpr, NORMALIZE: tl.constexpr,
    ROWS_PER_PROGRAM: tl.constexpr,
    BP: tl.constexpr, BD: tl.constexpr, BC: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    SIDE: tl.constexpr = 2 * RADIUS + 1
    MAY_BE_HUGE: tl.constexpr = NORMALIZE and fmap0.dtype.element_ty != tl.float16
    GROUPS: tl.constexpr = SIDE // ROWS_PER_PROGRAM  # programs that split the rows of dy
    i_group = tl.program_id(0) % GROUPS
    i_b, i_y, o_x = _locations(tl.program_id(0) // GROUPS, blocks_per_row, H, BP, INT64_OFFSETS)
    o_x = o_x[:, None, None]
    o_d = tl.arange(0, BD)[None, :, None]
    o_c = tl.arange(0, BC)[None, None, :]
    if INT64_OFFSETS:
        o_d, o_c = o_d.to(tl.int64), o_c.to(tl.int64)
    m_x = o_x < W
    o_shifted = o_x + o_d - RADIUS
    m_shifted = m_x & (o_d < SIDE) & (o_shifted >= 0) & (o_shifted < W)
    p_fmap0 = fmap0 + i_b * s0_b + i_y * s0_y + o_x * s0_x
    o_d, o_x2, m_out = (
        tl.reshape(o_d, (1, BD)),
        tl.reshape(o_x, (BP, 1)),
        tl.reshape(m_x & (o_d < SIDE), (BP, BD)),
    )
    for i_k in range(ROWS_PER_PROGRAM):
        i_dy = i_group * ROWS_PER_PROGRAM + i_k
        i_shifted = i_y + i_dy - RADIUS
        m_fmap1 = m_shifted & (i_shifted >= 0) & (i_shifted < H)
        p_fmap1 = fmap1 + i_b * s1_b + i_shifted * s1_y + o_shifted * s1_x
        b_products = tl.zeros((BP, BD, BC), tl.float32)
        b_squares0 = tl.zeros((BP, 1, BC), tl.float32)
        b_squares1 = tl.zeros((BP, BD, BC), tl.float32)
        for i_c in range(0, C, BC):
            m_c = i_c + o_c < C
            b_fmap0 = tl.load(p_fmap0 + (i_c + o_c) * s0_c, mask=m_x & m_c, other=0.0)
            b_fmap1 = tl.load(p_fmap1 + (i_c + o_c) * s1_c, mask=m_fmap1 & m_c, other=0.0)
            b_fmap0, b_fmap1 = _shrunk(b_fmap0, MAY_BE_HUGE), _shrunk(b_fmap1, MAY_BE_HUGE)
            b_products += b_fmap0 * b_fmap1
            if NORMALIZE:
                b_squares0 += b_fmap0 * b_fmap0
                b_squares1 += b_fmap1 * b_fmap1
        b_out = tl.sum(b_products, 2)
        if NORMALIZE:
            b_out *= tl.rsqrt(tl.maximum(tl.sum(b_squares0, 2), _min_square(MAY_BE_HUGE)))
            b_out *= tl.rsqrt(tl.maximum(tl.sum(b_squares1, 2), _min_square(MAY_BE_HUGE)))
        tl.store(
            out + (i_b * SIDE * SIDE + i_dy * SIDE + o_d) * H * W + i_y * W + o_x2,
            b_out,
            mask=m_out,
        )


@triton.jit
def _backward(
    i,  # which program of those that compute this gradient
    dfmap, sd_b, sd_c, sd_y, sd_x: tl.constexpr,
    fmap, sm_b, sm_c, sm_y, sm_x: tl.constexpr,
    other, so_b, so_c, so_y, so_x: tl.constexpr,
    grad, sg_b, sg_d, sg_y, sg_x,
    inv_norm,
    H, W,
    blocks_per_row,
    C: tl.constexpr, RADIUS: tl.constexpr, TRANSPOSED: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    SIDE: tl.constexpr = 2 * RADIUS + 1
    i_b, i_y, o_x = _locations(i, blocks_per_row, H, BP, INT64_OFFSETS)
    o_x = o_x[:, None]
    o_c = tl.arange(0, BC)[None, :]  # all channels
    if INT64_OFFSETS:
        o_c = o_c.to(tl.int64)
    m_x, m_c = o_x < W, o_c < C
    p_grad, p_other = grad + i_b * sg_b, other + i_b * so_b
    # i_d has 32 bits; i_first decides how many its product with a stride has.
    i_first = tl.full(
        (), SIDE * SIDE - 1 if TRANSPOSED else 0, tl.int64 if INT64_OFFSETS else tl.int32
    )
    b_sum = tl.zeros((BP, BC), tl.float32)
    for i_d in range(SIDE * SIDE):
        i_shifted, o_shifted = i_y + i_d // SIDE - RADIUS, o_x + i_d % SIDE - RADIUS
        m_shifted = m_x & (o_shifted >= 0) & (o_shifted < W) & (i_shifted >= 0) & (i_shifted < H)
        if TRANSPOSED:  # fmap is fmap1: the output at x + d has its product with fmap0
            p_g = p_grad + (i_first - i_d) * sg_d + i_shifted * sg_y + o_shifted * sg_x
        else:
            p_g = p_grad + (i_first + i_d) * sg_d + i_y * sg_y + o_x * sg_x
        b_g = tl.load(p_g, mask=m_shifted, other=0.0)
        if inv_norm is not None:
            b_g *= tl.load(
                inv_norm + i_b * H * W + i_shifted * W + o_shifted, mask=m_shifted, other=0.0
            )
        b_other = tl.load(
            p_other + i_shifted * so_y + o_shifted * so_x + o_c * so_c,
            mask=m_shifted & m_c,
            other=0.0,
        ).to(tl.float32)
        b_sum += b_g * b_other
    if inv_norm is not None:  # of x / |x|: the part orthogonal to x, over |x|
        MAY_BE_HUGE: tl.constexpr = fmap.dtype.element_ty != tl.float16
        b_fmap = tl.load(
            fmap + i_b * sm_b + i_y * sm_y + o_x * sm_x + o_c * sm_c, mask=m_x & m_c, other=0.0
        )
        b_fmap = _shrunk(b_fmap, MAY_BE_HUGE)
        b_square = tl.sum(b_fmap * b_fmap, 1)[:, None]
        b_inv_norm = tl.rsqrt(tl.maximum(b_square, _min_square(MAY_BE_HUGE)))
        b_along = tl.sum(b_sum * b_fmap, 1)[:, None] * (b_inv_norm * b_inv_norm)
        b_along = tl.where(b_square >= _min_square(MAY_BE_HUGE), b_along, 0.0)
        b_sum = b_inv_norm * (b_sum - b_along * b_fmap)
        if MAY_BE_HUGE:
            b_sum *= SHRINK
    tl.store(dfmap + i_b * sd_b + i_y * sd_y + o_x * sd_x + o_c * sd_c, b_sum, mask=m_x & m_c)


@triton.jit
def correlation_bwd_kernel(
    dfmap, sd_b, sd_c, sd_y, sd_x: tl.constexpr,  # (B, C, H, W), written: the gradient of fmap
    fmap, sm_b, sm_c, sm_y, sm_x: tl.constexpr,  # (B, C, H, W), read for its norms only
    other, so_b, so_c, so_y, so_x: tl.constexpr,  # (B, C, H, W)
    grad, sg_b, sg_d, sg_y, sg_x,  # (B, D, H, W)
    inv_norm,  # (B, HW), of other, or None without normalization
    H, W,
    blocks_per_row,  # programs per row
    C: tl.constexpr, RADIUS: tl.constexpr, TRANSPOSED: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    _backward(
        tl.program_id(0),
        dfmap, sd_b, sd_c, sd_y, sd_x,
        fmap, sm_b, sm_c, sm_y, sm_x,
        other, so_b, so_c, so_y, so_x,
        grad, sg_b, sg_d, sg_y, sg_x,
        inv_norm, H, W, blocks_per_row, C, RADIUS, TRANSPOSED, BP, BC, INT64_OFFSETS,
    )  # fmt: skip


@triton.jit
def correlation_bwd_both_kernel(
    dfmap0, dfmap1, sd_b, sd_c, sd_y, sd_x: tl.constexpr,  # (B, C, H, W), written
    fmap0, fmap1, sm_b, sm_c, sm_y, sm_x: tl.constexpr,  # (B, C, H, W)
    grad, sg_b, sg_d, sg_y, sg_x,  # (B, D, H, W)
    inv_norm0, inv_norm1,  # (B, HW), or None without normalization
    H, W,
    blocks_per_row,  # programs per row
    programs,  # for each gradient
    C: tl.constexpr, RADIUS: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    """Both gradients, of maps with the same strides: the first programs compute that of fmap0."""
    i = tl.program_id(0)
    if i < programs:
        _backward(
            i,
            dfmap0, sd_b, sd_c, sd_y, sd_x,
            fmap0, sm_b, sm_c, sm_y, sm_x,
            fmap1, sm_b, sm_c, sm_y, sm_x,
            grad, sg_b, sg_d, sg_y, sg_x,
            inv_norm1, H, W, blocks_per_row, C, RADIUS, False, BP, BC, INT64_OFFSETS,
        )  # fmt: skip
    else:
        _backward(
            i - programs,
            dfmap1, sd_b, sd_c, sd_y, sd_x,
            fmap1, sm_b, sm_c, sm_y, sm_x,
            fmap0, sm_b, sm_c, sm_y, sm_x,
            grad, sg_b, sg_d, sg_y, sg_x,
            inv_norm0, H, W, blocks_per_row, C, RADIUS, True, BP, BC, INT64_OFFSETS,
        )  # fmt: skip
