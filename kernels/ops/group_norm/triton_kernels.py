"""Triton kernels of `group_norm`: two launches forward, two backward.

The first launch of each direction divides an image into `parts` of consecutive pixels. A program
reads one part and writes its sums: forward the mean and the sum of squared deviations of each
group, backward the sums of the gradient and of its product with the normalized input. The second
launch adds up the parts, in every program again, and computes the output. Nothing is added in an
order that could change.

Deviations are summed by Welford's recurrence in each thread and merged by the formula of Chan et
al. ("Updating formulae and a pairwise algorithm for computing sample variances", 1979), so a large
mean costs no digits. A program holds BP pixels of all channels, BC with padding. The number of
channels and the distance of pixels are constants, so that a thread loads 16 bytes at once. All
arithmetic is float32.

Names: B* block sizes, i_* program ids and loops, o_* offsets, m_* masks, p_* pointers, s_* strides,
b_* blocks in registers.
"""

import triton
import triton.language as tl


@triton.jit
def _channels(C, GC, BC: tl.constexpr, BG: tl.constexpr):
    """Channels (1, BC), their mask, and which channel is in which group, (BC, BG)."""
    o_c = tl.arange(0, BC)
    m_group = (o_c[:, None] // GC == tl.arange(0, BG)[None, :]) & (o_c < C)[:, None]
    return o_c[None, :], (o_c < C)[None, :], m_group


@triton.jit
def _by_group(b_channels, m_group):
    """Sums of values (BC,) over each group, (BG,)."""
    return tl.sum(tl.where(m_group, b_channels[:, None], 0.0), 0)


@triton.jit
def _by_channel(b_groups, m_group):
    """The value of each channel's group, (1, BC), from (BG,)."""
    return tl.sum(tl.where(m_group, b_groups[None, :], 0.0), 1)[None, :]


@triton.jit
def _parameter(p, o_c, m_c, PRESENT: tl.constexpr):
    """A parameter (C,) as (1, BC); 0 where there is none."""
    if PRESENT:
        b = tl.load(p + o_c, mask=m_c, other=0.0).to(tl.float32)
    else:
        b = tl.zeros(o_c.shape, tl.float32)
    return b


@triton.jit
def _pixels(i_start, i_k, BP: tl.constexpr, INT64_OFFSETS: tl.constexpr):
    """Pixels (BP, 1) of a block."""
    o_p = i_start + i_k + tl.arange(0, BP)[:, None]
    return o_p.to(tl.int64) if INT64_OFFSETS else o_p


@triton.jit
def group_norm_stats_kernel(
    stats,  # (B, 2, parts, G), contiguous, written: means, then sums of squared deviations
    x, s_b, s_c, s_p: tl.constexpr,  # (B, C, HW)
    x_bias,  # (C,)
    HW, parts, span,  # pixels, programs of an image, pixels of a program: a multiple of BP
    C: tl.constexpr, G: tl.constexpr, GC: tl.constexpr,  # channels, groups, channels of a group
    BP: tl.constexpr, BC: tl.constexpr, BG: tl.constexpr,
    HAS_X_BIAS: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    i_part, i_b = i % parts, (i // parts).to(tl.int64)
    i_start = i_part * span
    o_c, m_c, m_group = _channels(C, GC, BC, BG)
    p_x = x + i_b * s_b + (o_c.to(tl.int64) if INT64_OFFSETS else o_c) * s_c
    b_x_bias = _parameter(x_bias, o_c, m_c, HAS_X_BIAS)
    b_mean = tl.zeros((BP, BC), tl.float32)
    b_squares = tl.zeros((BP, BC), tl.float32)
    b_n = tl.zeros((BP, 1), tl.float32)
    for i_k in range(0, span, BP):
        o_p = _pixels(i_start, i_k, BP, INT64_OFFSETS)
        m = (o_p < HW) & m_c
        b_x = tl.load(p_x + o_p * s_p, mask=m, other=0.0).to(tl.float32) + b_x_bias
        b_n += (o_p < HW).to(tl.float32)
        b_delta = tl.where(m, b_x - b_mean, 0.0)
        b_mean += b_delta * (1 / tl.maximum(b_n, 1.0))
        b_squares += b_delta * (b_x - b_mean)
    n = (tl.minimum(i_start + span, HW) - i_start).to(tl.float32)
    b_group_mean = _by_group(tl.sum(b_n * b_mean, 0), m_group) / (n * GC)
    b_delta = b_mean - _by_channel(b_group_mean, m_group)
    b_group_squares = _by_group(tl.sum(b_squares + b_n * b_delta * b_delta, 0), m_group)
    o_g = tl.arange(0, BG)
    p_stats = stats + (i_b * 2 * parts + i_part) * G + o_g
    tl.store(p_stats, b_group_mean, mask=o_g < G)
    tl.store(p_stats + parts * G, b_group_squares, mask=o_g < G)


@triton.jit
def _merged_statistics(
    stats, i_b, HW, parts, span, G, GC, eps, BPARTS: tl.constexpr, BG: tl.constexpr
):  # fmt: skip
    """Mean and 1 / standard deviation of the groups of an image, (BG,) each."""
    o_part, o_g = tl.arange(0, BPARTS)[:, None], tl.arange(0, BG)
    m = (o_part < parts) & (o_g[None, :] < G)
    p_mean = stats + i_b * 2 * parts * G + o_g
    b_first = tl.load(p_mean, mask=o_g < G, other=0.0)  # means are added as differences from it
    p_mean = p_mean[None, :] + o_part * G
    o_pixel = o_part * span
    b_n = (tl.minimum(o_pixel + span, HW) - o_pixel).to(tl.float32)
    b_mean = tl.load(p_mean, mask=m, other=0.0)
    b_delta = tl.where(m, b_mean - b_first[None, :], 0.0)
    b_merged = b_first + tl.sum(b_n * b_delta, 0) / HW
    b_delta = tl.where(m, b_mean - b_merged[None, :], 0.0)
    b_squares = tl.load(p_mean + parts * G, mask=m, other=0.0)
    b_variance = tl.sum(b_squares / GC + b_n * b_delta * b_delta, 0) / HW
    return b_merged, 1 / tl.sqrt(b_variance + eps)


@triton.jit
def group_norm_fwd_kernel(
    out, so_b, so_c, so_p: tl.constexpr,  # (B, C, HW), written
    mean,  # (B, G), contiguous, written
    rstd,  # (B, G), contiguous, written
    stats,  # (B, 2, parts, G), contiguous
    x, s_b, s_c, s_p: tl.constexpr,  # (B, C, HW)
    skip, ss_b, ss_c, ss_p: tl.constexpr,  # (B, C, HW)
    weight,  # (C,)
    bias,  # (C,)
    x_bias,  # (C,)
    eps, slope,
    HW, parts, span,  # of `group_norm_stats_kernel`
    programs, program_span,  # programs of an image, pixels of a program: a multiple of BP
    C: tl.constexpr, G: tl.constexpr, GC: tl.constexpr,  # channels, groups, channels of a group
    BP: tl.constexpr, BC: tl.constexpr, BG: tl.constexpr, BPARTS: tl.constexpr,
    HAS_X_BIAS: tl.constexpr, HAS_SKIP: tl.constexpr, ACTIVATION: tl.constexpr,
    INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    i_program, i_b = i % programs, (i // programs).to(tl.int64)
    i_start = i_program * program_span
    b_mean, b_rstd = _merged_statistics(stats, i_b, HW, parts, span, G, GC, eps, BPARTS, BG)
    o_g = tl.arange(0, BG)
    m_first = (o_g < G) & (i_program == 0)
    tl.store(mean + i_b * G + o_g, b_mean, mask=m_first)
    tl.store(rstd + i_b * G + o_g, b_rstd, mask=m_first)
    o_c, m_c, m_group = _channels(C, GC, BC, BG)
    b_weight = _parameter(weight, o_c, m_c, True)
    b_bias = _parameter(bias, o_c, m_c, True)
    b_shift = _by_channel(b_mean, m_group) - _parameter(x_bias, o_c, m_c, HAS_X_BIAS)
    b_scale = _by_channel(b_rstd, m_group)
    o_wide = o_c.to(tl.int64) if INT64_OFFSETS else o_c
    p_x, p_out = x + i_b * s_b + o_wide * s_c, out + i_b * so_b + o_wide * so_c
    if HAS_SKIP:
        p_skip = skip + i_b * ss_b + o_wide * ss_c
    for i_k in range(0, program_span, BP):
        o_p = _pixels(i_start, i_k, BP, INT64_OFFSETS)
        m = (o_p < HW) & m_c
        b_x = tl.load(p_x + o_p * s_p, mask=m, other=0.0).to(tl.float32)
        b_y = (b_x - b_shift) * b_scale * b_weight + b_bias
        if HAS_SKIP:
            b_y += tl.load(p_skip + o_p * ss_p, mask=m, other=0.0).to(tl.float32)
        if ACTIVATION:
            b_y = tl.where(b_y > 0, b_y, b_y * slope)
        tl.store(p_out + o_p * so_p, b_y, mask=m)


# -- backward --------------------------------------------------------------------------------------


@triton.jit
def _normalized_and_grad(
    p_grad, p_x, p_skip, o_grad, o_x, o_skip, m, b_shift, b_scale, b_weight, b_bias, slope,
    HAS_SKIP: tl.constexpr, ACTIVATION: tl.constexpr,
):  # fmt: skip
    """The normalized input, and the gradient of what the activation is applied to."""
    b_grad = tl.load(p_grad + o_grad, mask=m, other=0.0).to(tl.float32)
    b_x = tl.load(p_x + o_x, mask=m, other=0.0).to(tl.float32)
    b_normalized = tl.where(m, (b_x - b_shift) * b_scale, 0.0)
    if ACTIVATION:
        b_y = b_normalized * b_weight + b_bias
        if HAS_SKIP:
            b_y += tl.load(p_skip + o_skip, mask=m, other=0.0).to(tl.float32)
        b_grad = tl.where(b_y > 0, b_grad, b_grad * slope)
    return b_normalized, b_grad


@triton.jit
def _statistics(mean, rstd, x_bias, i_b, o_c, m_c, G, GC, HAS_X_BIAS: tl.constexpr):
    """What is taken from x, and what the difference is multiplied by, (1, BC) each."""
    o_g = i_b * G + o_c // GC
    b_mean = tl.load(mean + o_g, mask=m_c, other=0.0)
    b_rstd = tl.load(rstd + o_g, mask=m_c, other=0.0)
    return b_mean - _parameter(x_bias, o_c, m_c, HAS_X_BIAS), b_rstd


@triton.jit
def group_norm_bwd_sums_kernel(
    sums,  # (B, parts, 3, C), contiguous, written: gradient, its product with the normalized, this
    group_sums,  # (B, 2, parts, G), contiguous, written: the first two times weight, over groups
    grad, sg_b, sg_c, sg_p: tl.constexpr,  # (B, C, HW)
    x, s_b, s_c, s_p: tl.constexpr,  # (B, C, HW)
    skip, ss_b, ss_c, ss_p: tl.constexpr,  # (B, C, HW)
    weight,  # (C,)
    bias,  # (C,)
    x_bias,  # (C,)
    mean,  # (B, G), contiguous
    rstd,  # (B, G), contiguous
    slope,
    HW, parts, span,  # pixels, programs of an image, pixels of a program: a multiple of BP
    C: tl.constexpr, G: tl.constexpr, GC: tl.constexpr,  # channels, groups, channels of a group
    BP: tl.constexpr, BC: tl.constexpr, BG: tl.constexpr,
    HAS_X_BIAS: tl.constexpr, HAS_SKIP: tl.constexpr, ACTIVATION: tl.constexpr,
    INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    i_part, i_b = i % parts, (i // parts).to(tl.int64)
    i_start = i_part * span
    o_c, m_c, m_group = _channels(C, GC, BC, BG)
    b_weight = _parameter(weight, o_c, m_c, True)
    b_bias = _parameter(bias, o_c, m_c, True)
    b_shift, b_scale = _statistics(mean, rstd, x_bias, i_b, o_c, m_c, G, GC, HAS_X_BIAS)
    o_wide = o_c.to(tl.int64) if INT64_OFFSETS else o_c
    p_x, p_grad = x + i_b * s_b + o_wide * s_c, grad + i_b * sg_b + o_wide * sg_c
    p_skip = x
    if HAS_SKIP:
        p_skip = skip + i_b * ss_b + o_wide * ss_c
    b_grads = tl.zeros((BP, BC), tl.float32)
    b_products = tl.zeros((BP, BC), tl.float32)
    b_normalized = tl.zeros((BP, BC), tl.float32)
    for i_k in range(0, span, BP):
        o_p = _pixels(i_start, i_k, BP, INT64_OFFSETS)
        b_one, b_grad = _normalized_and_grad(
            p_grad, p_x, p_skip, o_p * sg_p, o_p * s_p, o_p * ss_p, (o_p < HW) & m_c,
            b_shift, b_scale, b_weight, b_bias, slope, HAS_SKIP, ACTIVATION,
        )  # fmt: skip
        b_grads += b_grad
        b_products += b_grad * b_one
        if HAS_X_BIAS:
            b_normalized += b_one
    b_sum, b_product = tl.sum(b_grads, 0), tl.sum(b_products, 0)
    o_c = tl.arange(0, BC)
    p_sums = sums + (i_b * parts + i_part) * 3 * C + o_c
    tl.store(p_sums, b_sum, mask=o_c < C)
    tl.store(p_sums + C, b_product, mask=o_c < C)
    if HAS_X_BIAS:
        tl.store(p_sums + 2 * C, tl.sum(b_normalized, 0), mask=o_c < C)
    o_g = tl.arange(0, BG)
    p_group_sums = group_sums + (i_b * 2 * parts + i_part) * G + o_g
    b_weight = tl.load(weight + o_c, mask=o_c < C, other=0.0).to(tl.float32)
    tl.store(p_group_sums, _by_group(b_sum * b_weight, m_group), mask=o_g < G)
    tl.store(p_group_sums + parts * G, _by_group(b_product * b_weight, m_group), mask=o_g < G)


@triton.jit
def _parameter_grads(
    dweight, dbias, dx_bias, sums, weight, rstd, i_g, B, HW, parts, C, G, GC,
    BROWS: tl.constexpr, BGC: tl.constexpr, HAS_DX_BIAS: tl.constexpr,
):  # fmt: skip
    """Gradients of the parameters (C,) of one group of channels.

    That of x_bias is the sum of the gradient of x over positions, which follows from the sums.
    """
    o_c = i_g * GC + tl.arange(0, BGC)
    m_c = tl.arange(0, BGC) < GC
    o_row = tl.arange(0, BROWS)[:, None]
    b_weight = tl.load(weight + o_c, mask=m_c, other=0.0).to(tl.float32)
    b_dweight = tl.zeros((BGC,), tl.float32)
    b_dbias, b_dx_bias = b_dweight, b_dweight
    for i_b in range(B):
        b_grads = tl.zeros((BROWS, BGC), tl.float32)
        b_products, b_normalized = b_grads, b_grads
        p_sums = sums + tl.cast(i_b, tl.int64) * parts * 3 * C + o_c[None, :]
        for i_row in range(0, parts, BROWS):
            p = p_sums + (i_row + o_row) * 3 * C
            m = (i_row + o_row < parts) & m_c[None, :]
            b_grads += tl.load(p, mask=m, other=0.0)
            b_products += tl.load(p + C, mask=m, other=0.0)
            if HAS_DX_BIAS:
                b_normalized += tl.load(p + 2 * C, mask=m, other=0.0)
        b_grad, b_product = tl.sum(b_grads, 0), tl.sum(b_products, 0)
        b_dbias += b_grad
        b_dweight += b_product
        if HAS_DX_BIAS:
            b_mean = tl.sum(b_weight * b_grad, 0) / GC
            b_slope = tl.sum(b_weight * b_product, 0) / GC / HW * tl.sum(b_normalized, 0)
            b_rstd = tl.load(rstd + i_b * G + i_g)
            b_dx_bias += b_rstd * (b_weight * b_grad - b_mean - b_slope)
    tl.store(dweight + o_c, b_dweight, mask=m_c)
    tl.store(dbias + o_c, b_dbias, mask=m_c)
    if HAS_DX_BIAS:
        tl.store(dx_bias + o_c, b_dx_bias, mask=m_c)


@triton.jit
def _merged_sums(group_sums, i_b, parts, G, BPARTS: tl.constexpr, BG: tl.constexpr):
    """Both sums of the groups of an image, (BG,) each."""
    o_part, o_g = tl.arange(0, BPARTS)[:, None], tl.arange(0, BG)[None, :]
    m = (o_part < parts) & (o_g < G)
    p = group_sums + i_b * 2 * parts * G + o_part * G + o_g
    b_grad = tl.sum(tl.load(p, mask=m, other=0.0), 0)
    return b_grad, tl.sum(tl.load(p + parts * G, mask=m, other=0.0), 0)


@triton.jit
def group_norm_bwd_kernel(
    dx, sd_b, sd_c, sd_p: tl.constexpr,  # (B, C, HW), written
    dskip, sk_b, sk_c, sk_p: tl.constexpr,  # (B, C, HW), written
    dweight,  # (C,), written
    dbias,  # (C,), written
    dx_bias,  # (C,), written
    sums,  # (B, parts, 3, C), contiguous
    group_sums,  # (B, 2, parts, G), contiguous
    grad, sg_b, sg_c, sg_p: tl.constexpr,  # (B, C, HW)
    x, s_b, s_c, s_p: tl.constexpr,  # (B, C, HW)
    skip, ss_b, ss_c, ss_p: tl.constexpr,  # (B, C, HW)
    weight,  # (C,)
    bias,  # (C,)
    x_bias,  # (C,)
    mean,  # (B, G), contiguous
    rstd,  # (B, G), contiguous
    slope,
    B, HW, parts,
    programs, program_span,  # programs of an image, pixels of a program: a multiple of BP
    parameter_programs,  # the first ones: one for each group, or none
    C: tl.constexpr, G: tl.constexpr, GC: tl.constexpr,  # channels, groups, channels of a group
    BP: tl.constexpr, BC: tl.constexpr, BG: tl.constexpr, BPARTS: tl.constexpr,
    BROWS: tl.constexpr, BGC: tl.constexpr,
    HAS_X_BIAS: tl.constexpr, HAS_SKIP: tl.constexpr, ACTIVATION: tl.constexpr,
    HAS_DX: tl.constexpr, HAS_DSKIP: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    if i < parameter_programs:
        _parameter_grads(
            dweight, dbias, dx_bias, sums, weight, rstd, i, B, HW, parts, C, G, GC,
            BROWS, BGC, HAS_X_BIAS,
        )  # fmt: skip
    else:
        i -= parameter_programs
        i_start, i_b = i % programs * program_span, (i // programs).to(tl.int64)
        o_c, m_c, m_group = _channels(C, GC, BC, BG)
        b_weight = _parameter(weight, o_c, m_c, True)
        b_bias = _parameter(bias, o_c, m_c, True)
        b_shift, b_scale = _statistics(mean, rstd, x_bias, i_b, o_c, m_c, G, GC, HAS_X_BIAS)
        b_grads, b_products = _merged_sums(group_sums, i_b, parts, G, BPARTS, BG)
        b_mean_grad = _by_channel(b_grads, m_group) / GC / HW
        b_mean_product = _by_channel(b_products, m_group) / GC / HW
        o_wide = o_c.to(tl.int64) if INT64_OFFSETS else o_c
        p_x, p_grad = x + i_b * s_b + o_wide * s_c, grad + i_b * sg_b + o_wide * sg_c
        p_skip = x
        if HAS_SKIP:
            p_skip = skip + i_b * ss_b + o_wide * ss_c
        for i_k in range(0, program_span, BP):
            o_p = _pixels(i_start, i_k, BP, INT64_OFFSETS)
            m = (o_p < HW) & m_c
            b_normalized, b_grad = _normalized_and_grad(
                p_grad, p_x, p_skip, o_p * sg_p, o_p * s_p, o_p * ss_p, m,
                b_shift, b_scale, b_weight, b_bias, slope, HAS_SKIP, ACTIVATION,
            )  # fmt: skip
            if HAS_DSKIP:
                tl.store(dskip + i_b * sk_b + o_wide * sk_c + o_p * sk_p, b_grad, mask=m)
            if HAS_DX:
                b_dx = b_grad * b_weight - b_mean_grad - b_normalized * b_mean_product
                tl.store(dx + i_b * sd_b + o_wide * sd_c + o_p * sd_p, b_dx * b_scale, mask=m)
