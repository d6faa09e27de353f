"""Triton kernels of `bias_act`.

A program of the forward computes a block of BP pixels and BC channels. One of the backward walks
over several such blocks of an image and sums the gradient of the bias over them; the last program
of a block of channels adds up these sums, always in one order. All arithmetic is float32.

Loads of several channels are vectorised where the compiler knows a power of two that divides the
pixel stride. So the pixel strides of channels-last tensors come in units of ALIGN.

Names: B* block sizes, i_* program ids and loops, o_* offsets, m_* masks, p_* pointers, s_* strides,
b_* blocks in registers.
"""

import triton
import triton.language as tl

from lift.kernels.reduction import is_last_program, sum_rows


@triton.jit
def _pixel_stride(s_p, LAST: tl.constexpr, ALIGN: tl.constexpr):
    return s_p * ALIGN if LAST else s_p


@triton.jit
def _corners(o, inverse, n):
    """Source rows (or columns) of the upsampled ones `o`, and the weight of the second."""
    b_source = tl.maximum((o.to(tl.float32) + 0.5) * inverse - 0.5, 0.0)
    o_0 = tl.minimum(b_source.to(o.dtype), n - 1)
    return o_0, tl.minimum(o_0 + 1, n - 1), b_source - o_0.to(tl.float32)


@triton.jit
def _upsampled(p_skip, s_p, o_p, W, w, h, inverse, m):
    """Bilinear samples of an image of w x h pixels; p_skip points to its channels."""
    o_y0, o_y1, b_fy = _corners(o_p // W, inverse, h)
    o_x0, o_x1, b_fx = _corners(o_p % W, inverse, w)
    p_0, p_1 = p_skip + o_y0 * w * s_p, p_skip + o_y1 * w * s_p
    b_nw = tl.load(p_0 + o_x0 * s_p, mask=m, other=0.0).to(tl.float32)
    b_ne = tl.load(p_0 + o_x1 * s_p, mask=m, other=0.0).to(tl.float32)
    b_sw = tl.load(p_1 + o_x0 * s_p, mask=m, other=0.0).to(tl.float32)
    b_se = tl.load(p_1 + o_x1 * s_p, mask=m, other=0.0).to(tl.float32)
    b_n = b_nw + b_fx * (b_ne - b_nw)
    b_s = b_sw + b_fx * (b_se - b_sw)
    return b_n + b_fy * (b_s - b_n)


@triton.jit
def bias_act_fwd_kernel(
    out, so_b, so_c, so_p,  # (B, C, HW), written
    x, sx_b, sx_c, sx_p,  # (B, C, HW)
    bias, s_bias,  # (C,)
    skip, ss_b, ss_c, ss_p,  # (B, C, HW), or (B, C, h w) before upsampling
    slope, inverse,  # inverse of the factor of upsampling
    W, HW, w, h, units,  # units: C / ALIGN
    blocks_per_image, channel_blocks,  # programs
    OUT_LAST: tl.constexpr, X_LAST: tl.constexpr, SKIP_LAST: tl.constexpr,
    HAS_BIAS: tl.constexpr, HAS_SKIP: tl.constexpr, UPSAMPLE: tl.constexpr, ACT: tl.constexpr,
    ALIGN: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_block = tl.program_id(0) // channel_blocks
    i_b = (i_block // blocks_per_image).to(tl.int64)
    i_p = i_block % blocks_per_image
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
    o_p = (i_p * BP + tl.arange(0, BP))[:, None]
    o_c = ((tl.program_id(0) % channel_blocks) * BC + tl.arange(0, BC))[None, :]
    if INT64_OFFSETS:
        o_c = o_c.to(tl.int64)
    m_c = o_c < units * ALIGN
    m = (o_p < HW) & m_c
    p_x = x + i_b * sx_b + o_c * sx_c + o_p * _pixel_stride(sx_p, X_LAST, ALIGN)
    b_out = tl.load(p_x, mask=m, other=0.0).to(tl.float32)
    if HAS_BIAS:
        b_out += tl.load(bias + o_c * s_bias, mask=m_c, other=0.0).to(tl.float32)
    if HAS_SKIP:
        s_p = _pixel_stride(ss_p, SKIP_LAST, ALIGN)
        p_skip = skip + i_b * ss_b + o_c * ss_c
        if UPSAMPLE:
            b_out += _upsampled(p_skip, s_p, o_p, W, w, h, inverse, m)
        else:
            b_out += tl.load(p_skip + o_p * s_p, mask=m, other=0.0).to(tl.float32)
    if ACT:
        b_out = tl.where(b_out > 0, b_out, b_out * slope)
    p_out = out + i_b * so_b + o_c * so_c + o_p * _pixel_stride(so_p, OUT_LAST, ALIGN)
    tl.store(p_out, b_out, mask=m)


@triton.jit
def bias_act_bwd_kernel(
    dx, sd_b, sd_c, sd_p,  # (B, C, HW), written
    dskip, ss_b, ss_c, ss_p,  # (B, C, HW), written: the same values
    dbias,  # (C,), written
    partial,  # (rows, C), contiguous, written: sums over pixels; dbias where there is one row
    counters,  # (channel_blocks,), zeros, or None for one row
    grad, sg_b, sg_c, sg_p,  # (B, C, HW)
    out, so_b, so_c, so_p,  # (B, C, HW), the forward's output
    slope, HW, units,  # units: C / ALIGN
    blocks_per_program, programs_per_image, channel_blocks, rows,
    HAS_DX: tl.constexpr, HAS_DSKIP: tl.constexpr, HAS_DBIAS: tl.constexpr, ACT: tl.constexpr,
    DX_LAST: tl.constexpr, SKIP_LAST: tl.constexpr, GRAD_LAST: tl.constexpr,
    OUT_LAST: tl.constexpr,
    ALIGN: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, BROWS: tl.constexpr,
    INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_row = tl.program_id(0) // channel_blocks
    i_b = (i_row // programs_per_image).to(tl.int64)
    i_p = (i_row % programs_per_image) * blocks_per_program
    o_c = ((tl.program_id(0) % channel_blocks) * BC + tl.arange(0, BC))[None, :]
    m_c = o_c < units * ALIGN
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
        o_c = o_c.to(tl.int64)
    s_grad, s_out = _pixel_stride(sg_p, GRAD_LAST, ALIGN), _pixel_stride(so_p, OUT_LAST, ALIGN)
    s_dx, s_skip = _pixel_stride(sd_p, DX_LAST, ALIGN), _pixel_stride(ss_p, SKIP_LAST, ALIGN)
    b_sum = tl.zeros((BP, BC), tl.float32)
    for i in range(0, blocks_per_program):
        o_p = ((i_p + i) * BP + tl.arange(0, BP))[:, None]
        m = (o_p < HW) & m_c
        p_grad = grad + i_b * sg_b + o_c * sg_c + o_p * s_grad
        b_g = tl.load(p_grad, mask=m, other=0.0).to(tl.float32)
        if ACT:
            p_out = out + i_b * so_b + o_c * so_c + o_p * s_out
            b_out = tl.load(p_out, mask=m, other=0.0).to(tl.float32)
            b_g = tl.where(b_out > 0, b_g, b_g * slope)
        if HAS_DX:
            tl.store(dx + i_b * sd_b + o_c * sd_c + o_p * s_dx, b_g, mask=m)
        if HAS_DSKIP:
            tl.store(dskip + i_b * ss_b + o_c * ss_c + o_p * s_skip, b_g, mask=m)
        if HAS_DBIAS:
            b_sum += b_g
    if HAS_DBIAS:
        b_row = tl.sum(b_sum, 0, keep_dims=True)
        tl.store(partial + i_row * (units * ALIGN) + o_c, b_row, mask=m_c)
        if counters is not None:
            i_c = tl.program_id(0) % channel_blocks
            if is_last_program(counters + i_c, rows):
                o_sums = i_c * BC + tl.arange(0, BC)
                sum_rows(dbias, counters + i_c, partial, rows, units * ALIGN, o_sums, BROWS, BC)


@triton.jit
def _weights(o, i_source, inverse, n):
    """The weight of row (or column) `i_source` of n in the upsampled ones `o`."""
    b_source = (o.to(tl.float32) + 0.5) * inverse - 0.5
    b_source = tl.minimum(tl.maximum(b_source, 0.0), n - 1)
    return tl.maximum(1.0 - tl.abs(b_source - i_source), 0.0)


@triton.jit
def bias_act_upsample_bwd_kernel(
    dskip, ss_b, ss_c, ss_p,  # (B, C, h w), written
    grad, sg_b, sg_c, sg_p,  # (B, C, H W)
    out, so_b, so_c, so_p,  # (B, C, H W), the forward's output
    slope, inverse, factor,  # factor of upsampling, and its inverse
    W, H, w, h, hw, units,  # units: C / ALIGN
    blocks_per_image, channel_blocks,  # programs
    ACT: tl.constexpr,
    SKIP_LAST: tl.constexpr, GRAD_LAST: tl.constexpr, OUT_LAST: tl.constexpr,
    ALIGN: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, INT64_OFFSETS: tl.constexpr,
):  # fmt: skip
    i_block = tl.program_id(0) // channel_blocks
    i_b = (i_block // blocks_per_image).to(tl.int64)
    i_p = i_block % blocks_per_image
    if INT64_OFFSETS:  # offsets within one image can pass 2^31
        i_p = i_p.to(tl.int64)
    o_p = (i_p * BP + tl.arange(0, BP))[:, None]
    o_c = ((tl.program_id(0) % channel_blocks) * BC + tl.arange(0, BC))[None, :]
    if INT64_OFFSETS:
        o_c = o_c.to(tl.int64)
    m_c = o_c < units * ALIGN
    m = (o_p < hw) & m_c
    s_grad, s_out = _pixel_stride(sg_p, GRAD_LAST, ALIGN), _pixel_stride(so_p, OUT_LAST, ALIGN)
    p_grad = grad + i_b * sg_b + o_c * sg_c
    if ACT:
        p_out = out + i_b * so_b + o_c * so_c
    o_y, o_x = o_p // w, o_p % w
    b_sum = tl.zeros((BP, BC), tl.float32)
    for i_y in range(0, 2 * factor):  # every upsampled pixel that reads this one
        o_up_y = o_y * factor + (i_y - factor // 2)
        b_wy = _weights(o_up_y, o_y, inverse, h)
        for i_x in range(0, 2 * factor):
            o_up_x = o_x * factor + (i_x - factor // 2)
            b_w = b_wy * _weights(o_up_x, o_x, inverse, w)
            m_up = m & (o_up_y >= 0) & (o_up_y < H) & (o_up_x >= 0) & (o_up_x < W)
            o_up = o_up_y * W + o_up_x
            b_g = tl.load(p_grad + o_up * s_grad, mask=m_up, other=0.0).to(tl.float32)
            if ACT:
                b_out = tl.load(p_out + o_up * s_out, mask=m_up, other=0.0).to(tl.float32)
                b_g = tl.where(b_out > 0, b_g, b_g * slope)
            b_sum += b_w * b_g
    s_skip = _pixel_stride(ss_p, SKIP_LAST, ALIGN)
    tl.store(dskip + i_b * ss_b + o_c * ss_c + o_p * s_skip, b_sum, mask=m)
