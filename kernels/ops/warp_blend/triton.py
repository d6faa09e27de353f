"""Backward warp and visibility blend in Triton: two samples and their blend in one pass, forward
and backward.

Nothing but the result reaches memory: no grid, no warped image, and for backward only the inputs
are kept; samples and weights are computed again. One program serves BP pixels of one image,
numbered row by row, and runs over the channels BC at a time: BC = 1 where each channel is a plane
(neighbouring threads take neighbouring pixels), more where channels lie side by side (neighbouring
threads take neighbouring channels). Flow, coordinates, weights and sums are float32, whatever the
images are.

Images are read with any strides. Flow, visibility and the incoming gradient, which are read in the
order of pixels, may be slices of more channels, channels_last or expanded; other strides (a crop, a
transpose) are copied first.

The gradient of an image is summed by float32 atomics, in any order, into a float32 buffer. Under
`torch.use_deterministic_algorithms(True)` it is summed in 64-bit fixed point instead, in which
order does not matter: the unit is 2^-62 H W max|grad|, so the sum cannot overflow, and rounding
stays below float32's for all but vanishing gradients. The CUDA gradients of `grid_sample` do the
same in the same way, sums of 8 bytes and one pass more over the gradient and over the sums. They
are not called from
here: they would need a grid, and the weighted gradient of each image, in memory, which this kernel
spares.
"""

import torch
import triton
import triton.language as tl

from lift.kernels.autograd import define
from lift.kernels.checks import unsuited_to_triton
from lift.kernels.ops.warp_blend.registration import SCHEMAS, attach, empty_gradients, empty_image

INTERPRETED = (
    triton.knobs.runtime.interpret
)  # read by Triton when it was imported: the kernels run on the CPU, slowly


# -- kernels: B* block sizes, i_* program ids, o_* offsets, m_* masks, p_* pointers, b_* loaded and computed blocks ---


@triton.jit
def _coordinate(b_flow, o_pixel, SIZE):
    """Where pixels read along one axis: the pixels before and after, the fraction between, and
    whether a gradient flows.
    """
    b_at = o_pixel.to(tl.float32) + b_flow
    m_inside = (b_at > 0) & (b_at < SIZE - 1)  # false for NaN
    b_at = tl.where(b_at > 0, b_at, 0.0)  # NaN to 0: the interpreter's maximum keeps NaN
    b_at = tl.minimum(b_at, SIZE - 1.0)
    b_before = tl.floor(b_at)
    o_before = b_before.to(tl.int32)
    b_fraction = b_at - b_before
    o_after = tl.minimum(o_before + 1, SIZE - 1)
    return o_before.to(o_pixel.dtype), o_after.to(o_pixel.dtype), b_fraction, m_inside


@triton.jit
def _place(flow, s_channel, o_flow, m_pixel, o_x, o_y, H, W):
    """The rows and columns that a pixel reads, its fractions between them, and where flow has a
    gradient.
    """
    b_dx = tl.load(flow + o_flow, mask=m_pixel, other=0.0)
    b_dy = tl.load(flow + s_channel + o_flow, mask=m_pixel, other=0.0)
    o_west, o_east, b_fx, m_x = _coordinate(b_dx, o_x, W)
    o_north, o_south, b_fy, m_y = _coordinate(b_dy, o_y, H)
    return o_north, o_south, o_west, o_east, b_fx, b_fy, m_x, m_y


@triton.jit
def _corners(o_north, o_south, o_west, o_east, s_y, s_x):
    """Offsets of the four pixels around a place."""
    return (
        o_north * s_y + o_west * s_x,
        o_north * s_y + o_east * s_x,
        o_south * s_y + o_west * s_x,
        o_south * s_y + o_east * s_x,
    )


@triton.jit
def _read(p_image, o_nw, o_ne, o_sw, o_se, m):
    """Four corners of an image as float32: the interpreter's bfloat16 arithmetic is wrong."""
    return (
        tl.load(p_image + o_nw, mask=m, other=0.0).to(tl.float32),
        tl.load(p_image + o_ne, mask=m, other=0.0).to(tl.float32),
        tl.load(p_image + o_sw, mask=m, other=0.0).to(tl.float32),
        tl.load(p_image + o_se, mask=m, other=0.0).to(tl.float32),
    )


@triton.jit
def _mix(b_nw, b_ne, b_sw, b_se, b_fx, b_fy):
    b_north = (1 - b_fx) * b_nw + b_fx * b_ne
    b_south = (1 - b_fx) * b_sw + b_fx * b_se
    return (1 - b_fy) * b_north + b_fy * b_south


@triton.jit
def _slopes(b_nw, b_ne, b_sw, b_se, b_fx, b_fy):
    """How a sample changes with x and with y."""
    return (1 - b_fy) * (b_ne - b_nw) + b_fy * (b_se - b_sw), (1 - b_fx) * (b_sw - b_nw) + b_fx * (
        b_se - b_ne
    )


@triton.jit
def _weights(b_occ0, b_occ1):
    """v0 / (v0 + v1) and v1 / (v0 + v1) of v = sigmoid(occ), from 1 / v = 1 + e^-occ = e^m a.

    m = max(-occ, 0) and a = 1 + e^-|occ|, so that nothing overflows and neither weight is rounded
    to 1 - 1. The larger of e^m0, e^m1 is taken out of all three sums.
    """
    b_m0, b_m1 = tl.maximum(-b_occ0, 0.0), tl.maximum(-b_occ1, 0.0)
    b_ratio = tl.exp(-tl.abs(b_m0 - b_m1))
    b_0 = (1 + tl.exp(-tl.abs(b_occ1))) * tl.where(b_m0 > b_m1, b_ratio, 1.0)
    b_1 = (1 + tl.exp(-tl.abs(b_occ0))) * tl.where(b_m0 > b_m1, 1.0, b_ratio)
    b_inverse = 1 / (b_0 + b_1)
    return b_0 * b_inverse, b_1 * b_inverse


@triton.jit
def _hidden(b_occ):
    """sigmoid(-occ)."""
    b = tl.exp(-tl.abs(b_occ))
    return tl.where(b_occ > 0, b, 1.0) / (1 + b)


@triton.jit
def _forward(
    out,
    s_b,
    s_c,
    s_p,  # (B, C, HW), written
    image0,
    s0_b,
    s0_c,
    s0_y,
    s0_x,  # (B, C, H, W)
    image1,
    s1_b,
    s1_c,
    s1_y,
    s1_x,  # (B, C, H, W)
    flow0,
    sf0_b,
    sf0_c,
    sf0_p,  # (B, 2, HW)
    flow1,
    sf1_b,
    sf1_c,
    sf1_p,  # (B, 2, HW)
    occ0,
    so0_b,
    so0_p,  # (B, HW)
    occ1,
    so1_b,
    so1_p,  # (B, HW)
    H,
    W,
    HW,
    blocks,  # blocks: programs an image takes
    C: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    BLEND: tl.constexpr,
    WIDE: tl.constexpr,
):
    i_b = (tl.program_id(0) // blocks).to(tl.int64)
    i_p = tl.program_id(0) % blocks
    o_c = tl.arange(0, BC)[None, :]
    if WIDE:  # offsets within one image can pass 2^31
        i_p, o_c = i_p.to(tl.int64), o_c.to(tl.int64)
    o_p = (i_p * BP + tl.arange(0, BP))[:, None]
    m_p = o_p < HW
    o_y, o_x = o_p // W, o_p % W
    o_n, o_s, o_w, o_e, b_fx0, b_fy0, _, _ = _place(
        flow0 + i_b * sf0_b, sf0_c, o_p * sf0_p, m_p, o_x, o_y, H, W
    )
    o_nw0, o_ne0, o_sw0, o_se0 = _corners(o_n, o_s, o_w, o_e, s0_y, s0_x)
    p_0 = image0 + i_b * s0_b
    p_out = out + i_b * s_b
    if BLEND:
        o_n, o_s, o_w, o_e, b_fx1, b_fy1, _, _ = _place(
            flow1 + i_b * sf1_b, sf1_c, o_p * sf1_p, m_p, o_x, o_y, H, W
        )
        o_nw1, o_ne1, o_sw1, o_se1 = _corners(o_n, o_s, o_w, o_e, s1_y, s1_x)
        p_1 = image1 + i_b * s1_b
        b_w0, b_w1 = _weights(
            tl.load(occ0 + i_b * so0_b + o_p * so0_p, mask=m_p, other=0.0).to(tl.float32),
            tl.load(occ1 + i_b * so1_b + o_p * so1_p, mask=m_p, other=0.0).to(tl.float32),
        )

    for i_c in range(0, C, BC):
        o_i = i_c + o_c
        m = m_p & (o_i < C)
        b_nw, b_ne, b_sw, b_se = _read(p_0 + o_i * s0_c, o_nw0, o_ne0, o_sw0, o_se0, m)
        b_out = _mix(b_nw, b_ne, b_sw, b_se, b_fx0, b_fy0)
        if BLEND:
            b_nw, b_ne, b_sw, b_se = _read(p_1 + o_i * s1_c, o_nw1, o_ne1, o_sw1, o_se1, m)
            b_out = b_w0 * b_out + b_w1 * _mix(b_nw, b_ne, b_sw, b_se, b_fx1, b_fy1)
        tl.store(p_out + o_i * s_c + o_p * s_p, b_out.to(out.dtype.element_ty), mask=m)


@triton.jit
def _add(p, b_value, m, b_scale, FIXED: tl.constexpr):
    """Add to an image's gradient; what is 0 by its weight costs nothing (whole-pixel flow, borders,
    hidden pixels).
    """
    if FIXED:
        tl.atomic_add(p, tl.floor(b_value * b_scale + 0.5).to(tl.int64), mask=m, sem="relaxed")
    else:
        tl.atomic_add(p, b_value, mask=m, sem="relaxed")


@triton.jit
def _scatter(p, o_nw, o_ne, o_sw, o_se, b_fx, b_fy, b_g, b_w, m, b_scale, FIXED: tl.constexpr):
    """Spread b_g over the four pixels that were read; b_w is the blend's weight, already in b_g."""
    m = m & (b_w != 0)
    m_east, m_south = b_fx != 0, b_fy != 0  # fractions are below 1: north-west has a part
    b_north, b_south = (1 - b_fy) * b_g, b_fy * b_g  # not b_g times four products: fewer registers
    _add(p + o_nw, (1 - b_fx) * b_north, m, b_scale, FIXED)
    _add(p + o_ne, b_fx * b_north, m & m_east, b_scale, FIXED)
    _add(p + o_sw, (1 - b_fx) * b_south, m & m_south, b_scale, FIXED)
    _add(p + o_se, b_fx * b_south, m & m_east & m_south, b_scale, FIXED)


@triton.jit
def _backward(
    grad,
    s_b,
    s_c,
    s_p,  # (B, C, HW), of the result
    image0,
    s0_b,
    s0_c,
    s0_y,
    s0_x,  # (B, C, H, W)
    image1,
    s1_b,
    s1_c,
    s1_y,
    s1_x,  # (B, C, H, W)
    flow0,
    sf0_b,
    sf0_c,
    sf0_p,  # (B, 2, HW)
    flow1,
    sf1_b,
    sf1_c,
    sf1_p,  # (B, 2, HW)
    occ0,
    so0_b,
    so0_p,  # (B, HW)
    occ1,
    so1_b,
    so1_p,  # (B, HW)
    dimage0,
    sd0_b,
    sd0_c,
    sd0_y,
    sd0_x,  # (B, C, H, W), added to: float32, or int64 where FIXED
    dimage1,
    sd1_b,
    sd1_c,
    sd1_y,
    sd1_x,  # (B, C, H, W), as dimage0
    dflow0,
    dflow1,  # (B, 2, HW), contiguous, written
    docc0,
    docc1,  # (B, HW), contiguous, written
    scale,  # (), units of fixed point in 1, where FIXED
    H,
    W,
    HW,
    blocks,  # blocks: programs an image takes
    C: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    BLEND: tl.constexpr,
    WIDE: tl.constexpr,
    FIXED: tl.constexpr,
    IMAGE0: tl.constexpr,
    IMAGE1: tl.constexpr,
    FLOW0: tl.constexpr,
    FLOW1: tl.constexpr,
    OCC0: tl.constexpr,
    OCC1: tl.constexpr,
):
    i_b = (tl.program_id(0) // blocks).to(tl.int64)
    i_p = tl.program_id(0) % blocks
    o_c = tl.arange(0, BC)[None, :]
    if WIDE:
        i_p, o_c = i_p.to(tl.int64), o_c.to(tl.int64)
    o_p = (i_p * BP + tl.arange(0, BP))[:, None]
    m_p = o_p < HW
    o_y, o_x = o_p // W, o_p % W
    p_grad = grad + i_b * s_b
    b_scale = 1.0
    if FIXED:
        b_scale = tl.load(scale)
    SAMPLE0: tl.constexpr = FLOW0 or OCC0 or OCC1  # is the image itself read
    SAMPLE1: tl.constexpr = FLOW1 or OCC0 or OCC1
    b_w0 = tl.full((BP, 1), 1.0, tl.float32)
    b_w1 = b_w0
    if BLEND:
        b_occ0 = tl.load(occ0 + i_b * so0_b + o_p * so0_p, mask=m_p, other=0.0).to(tl.float32)
        b_occ1 = tl.load(occ1 + i_b * so1_b + o_p * so1_p, mask=m_p, other=0.0).to(tl.float32)
        b_w0, b_w1 = _weights(b_occ0, b_occ1)
    if SAMPLE0 or IMAGE0:
        o_n, o_s, o_w, o_e, b_fx0, b_fy0, m_x0, m_y0 = _place(
            flow0 + i_b * sf0_b, sf0_c, o_p * sf0_p, m_p, o_x, o_y, H, W
        )
        if SAMPLE0:
            o_nw0, o_ne0, o_sw0, o_se0 = _corners(o_n, o_s, o_w, o_e, s0_y, s0_x)
            p_0 = image0 + i_b * s0_b
        if IMAGE0:
            o_nwd0, o_ned0, o_swd0, o_sed0 = _corners(o_n, o_s, o_w, o_e, sd0_y, sd0_x)
            p_d0 = dimage0 + i_b * sd0_b
    if SAMPLE1 or IMAGE1:
        o_n, o_s, o_w, o_e, b_fx1, b_fy1, m_x1, m_y1 = _place(
            flow1 + i_b * sf1_b, sf1_c, o_p * sf1_p, m_p, o_x, o_y, H, W
        )
        if SAMPLE1:
            o_nw1, o_ne1, o_sw1, o_se1 = _corners(o_n, o_s, o_w, o_e, s1_y, s1_x)
            p_1 = image1 + i_b * s1_b
        if IMAGE1:
            o_nwd1, o_ned1, o_swd1, o_sed1 = _corners(o_n, o_s, o_w, o_e, sd1_y, sd1_x)
            p_d1 = dimage1 + i_b * sd1_b
    b_dx0 = tl.zeros((BP, 1), tl.float32)
    b_dy0 = tl.zeros((BP, 1), tl.float32)
    b_dx1 = tl.zeros((BP, 1), tl.float32)
    b_dy1 = tl.zeros((BP, 1), tl.float32)
    b_dw = tl.zeros((BP, 1), tl.float32)  # sum over channels of grad (sample0 - sample1)

    for i_c in range(0, C, BC):
        o_i = i_c + o_c
        m = m_p & (o_i < C)
        b_g = tl.load(p_grad + o_i * s_c + o_p * s_p, mask=m, other=0.0).to(tl.float32)
        b_difference = tl.zeros((BP, BC), tl.float32)
        if SAMPLE0:
            b_nw, b_ne, b_sw, b_se = _read(p_0 + o_i * s0_c, o_nw0, o_ne0, o_sw0, o_se0, m)
            if OCC0 or OCC1:
                b_difference = _mix(b_nw, b_ne, b_sw, b_se, b_fx0, b_fy0)
            if FLOW0:
                b_x, b_y = _slopes(b_nw, b_ne, b_sw, b_se, b_fx0, b_fy0)
                b_dx0 += tl.sum(b_g * b_x, 1, keep_dims=True)
                b_dy0 += tl.sum(b_g * b_y, 1, keep_dims=True)
        if SAMPLE1:
            b_nw, b_ne, b_sw, b_se = _read(p_1 + o_i * s1_c, o_nw1, o_ne1, o_sw1, o_se1, m)
            if OCC0 or OCC1:
                b_difference -= _mix(b_nw, b_ne, b_sw, b_se, b_fx1, b_fy1)
            if FLOW1:
                b_x, b_y = _slopes(b_nw, b_ne, b_sw, b_se, b_fx1, b_fy1)
                b_dx1 += tl.sum(b_g * b_x, 1, keep_dims=True)
                b_dy1 += tl.sum(b_g * b_y, 1, keep_dims=True)
        if OCC0 or OCC1:
            b_dw += tl.sum(b_g * b_difference, 1, keep_dims=True)
        if IMAGE0:
            _scatter(
                p_d0 + o_i * sd0_c,
                o_nwd0,
                o_ned0,
                o_swd0,
                o_sed0,
                b_fx0,
                b_fy0,
                b_g * b_w0,
                b_w0,
                m,
                b_scale,
                FIXED,
            )
        if IMAGE1:
            _scatter(
                p_d1 + o_i * sd1_c,
                o_nwd1,
                o_ned1,
                o_swd1,
                o_sed1,
                b_fx1,
                b_fy1,
                b_g * b_w1,
                b_w1,
                m,
                b_scale,
                FIXED,
            )

    o_flow = i_b * HW * 2 + o_p
    if FLOW0:
        tl.store(dflow0 + o_flow, tl.where(m_x0, b_w0 * b_dx0, 0.0), mask=m_p)
        tl.store(dflow0 + o_flow + HW, tl.where(m_y0, b_w0 * b_dy0, 0.0), mask=m_p)
    if FLOW1:
        tl.store(dflow1 + o_flow, tl.where(m_x1, b_w1 * b_dx1, 0.0), mask=m_p)
        tl.store(dflow1 + o_flow + HW, tl.where(m_y1, b_w1 * b_dy1, 0.0), mask=m_p)
    o_occ = i_b * HW + o_p
    if OCC0:  # dlogsigmoid(occ) = sigmoid(-occ)
        tl.store(docc0 + o_occ, b_dw * b_w0 * b_w1 * _hidden(b_occ0), mask=m_p)
    if OCC1:
        tl.store(docc1 + o_occ, -b_dw * b_w0 * b_w1 * _hidden(b_occ1), mask=m_p)


# -- launching -------------------------------------------------------------------------------------

_wide: bool | None = None  # tests set it: 64-bit offsets without 2^31 elements


def blocks(C: int, stride_c: int) -> dict[str, int]:
    """Block sizes for C channels that lie `stride_c` elements apart, for four warps.

    Planes: a pixel a thread, so that reading flow and gathering pixels agree on who holds what, and
    nothing is exchanged. Channels side
    by side: four elements a thread, which one load of 8 or 16 bytes serves.
    """
    if stride_c != 1 or C < 3:
        return {"BP": 128, "BC": 1}
    BC = (
        min((64, 32, 16), key=lambda n: -C % n) if C > 16 else triton.next_power_of_2(C)
    )  # the fewest idle threads
    return {"BP": 512 // BC, "BC": BC}


def _rows(x: torch.Tensor) -> torch.Tensor:
    """x (B, C, H, W) such that its pixels, row by row, lie at one distance; a copy where they do
    not.
    """
    _, _, H, W = x.shape
    return x if H == 1 or W == 1 or x.stride(2) == W * x.stride(3) else x.contiguous()


def _by_row(x: torch.Tensor | None) -> tuple:
    """x and its strides by batch, channel and pixel."""
    if x is None:
        return None, 0, 0, 0
    return x, x.stride(0), x.stride(1), x.stride(2) if x.shape[3] == 1 else x.stride(3)


def _by_pixel(x: torch.Tensor | None) -> tuple:
    """x and its strides by batch, channel, row and column."""
    return (None, 0, 0, 0, 0) if x is None else (x, *x.stride())


def _one_channel(x: torch.Tensor | None) -> tuple:
    """x (B, 1, H, W) and its strides by batch and pixel."""
    tensor, s_b, _, s_p = _by_row(x)
    return tensor, s_b, s_p


def _is_wide(*tensors: torch.Tensor | None) -> bool:
    """Can an offset within one image of the batch pass 2^31? Whole images are counted in 64 bits
    anyhow.
    """
    if _wide is not None:
        return _wide
    return any(
        sum((n - 1) * s for n, s in zip(x.shape[1:], x.stride()[1:], strict=True)) + 4096 >= 2**31
        for x in tensors
        if x is not None
    )


def _launch(kernel, arguments: tuple, options: dict) -> None:
    out, blocks = arguments[0], arguments[-1]
    with torch.cuda.device_of(out):  # Triton launches on the current device
        kernel[(out.shape[0] * blocks,)](*arguments, **options)


def _forward_arguments(out, image0, image1, flow0, flow1, occ0, occ1) -> tuple[tuple, dict]:
    """What `_forward` is launched with; image1, flow1, occ0, occ1 are None for a single warp."""
    flow0, flow1, occ0, occ1 = (None if x is None else _rows(x) for x in (flow0, flow1, occ0, occ1))
    _, C, H, W = out.shape
    block = blocks(C, image0.stride(1))
    arguments = (
        *_by_row(out),
        *_by_pixel(image0),
        *_by_pixel(image1),
        *_by_row(flow0),
        *_by_row(flow1),
        *_one_channel(occ0),
        *_one_channel(occ1),
        H,
        W,
        H * W,
        triton.cdiv(H * W, block["BP"]),
    )
    wide = _is_wide(image0, image1, flow0, flow1, occ0, occ1, out)
    return arguments, {"C": C, **block, "BLEND": image1 is not None, "WIDE": wide, "num_warps": 4}


def _backward_arguments(
    grad,
    image0,
    image1,
    flow0,
    flow1,
    occ0,
    occ1,
    dimage0,
    dimage1,
    dflow0,
    dflow1,
    docc0,
    docc1,
    scale,
) -> tuple[tuple, dict]:
    """What `_backward` is launched with; gradients that are not asked for are None, and scale where
    sums are not in fixed point.
    """
    grad, flow0, flow1, occ0, occ1 = (
        None if x is None else _rows(x) for x in (grad, flow0, flow1, occ0, occ1)
    )
    _, C, H, W = grad.shape
    block = blocks(C, image0.stride(1))
    arguments = (
        *_by_row(grad),
        *_by_pixel(image0),
        *_by_pixel(image1),
        *_by_row(flow0),
        *_by_row(flow1),
        *_one_channel(occ0),
        *_one_channel(occ1),
        *_by_pixel(dimage0),
        *_by_pixel(dimage1),
        dflow0,
        dflow1,
        docc0,
        docc1,
        scale,
        H,
        W,
        H * W,
        triton.cdiv(H * W, block["BP"]),
    )
    wide = _is_wide(
        grad,
        image0,
        image1,
        flow0,
        flow1,
        occ0,
        occ1,
        dimage0,
        dimage1,
        dflow0,
        dflow1,
        docc0,
        docc1,
    )
    return arguments, {
        "C": C,
        **block,
        "BLEND": image1 is not None,
        "WIDE": wide,
        "FIXED": scale is not None,
        "IMAGE0": dimage0 is not None,
        "IMAGE1": dimage1 is not None,
        "FLOW0": dflow0 is not None,
        "FLOW1": dflow1 is not None,
        "OCC0": docc0 is not None,
        "OCC1": docc1 is not None,
        "num_warps": 4,
    }


def _run_forward(image0, *others) -> torch.Tensor:
    out = empty_image(image0)
    if out.numel() > 0:
        _launch(_forward, *_forward_arguments(out, image0, *others))
    return out


def _run_backward(grad, images: int, inputs: tuple, needs: int) -> tuple[torch.Tensor, ...]:
    gradients = empty_gradients(images, inputs, needs)
    if grad.numel() == 0 or needs == 0:
        return tuple(g.zero_() for g in gradients)
    wanted = [g if needs >> i & 1 else None for i, g in enumerate(gradients)]
    fixed = torch.are_deterministic_algorithms_enabled() and any(
        g is not None for g in wanted[:images]
    )
    scale, inverse = _fixed_point(grad) if fixed else (None, None)
    sums = [
        None if g is None else _zeros(g, torch.int64 if fixed else torch.float32)
        for g in wanted[:images]
    ]
    _launch(
        _backward,
        *_backward_arguments(
            grad, *_paired(images, *inputs), *_paired(images, *sums, *wanted[images:]), scale
        ),
    )
    for g, total in zip(wanted, sums, strict=False):
        if total is not None and fixed:
            torch.mul(total, inverse, out=g)  # one pass: float64 in registers, never in memory
        elif total is not None and total is not g:
            g.copy_(total)
    return gradients


def _paired(images: int, *tensors) -> tuple:
    """Six tensors, as `warp_blend` has them, from the two of `warp` or those six."""
    return tensors if images == 2 else (tensors[0], None, tensors[1], None, None, None)


def _zeros(gradient: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Where to sum an image's gradient: in its own memory, if that has the dtype of sums."""
    return gradient.zero_() if gradient.dtype == dtype else torch.zeros_like(gradient, dtype=dtype)


def _fixed_point(grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Units of fixed point in 1, float32, and its inverse, float64, NaN where the gradient is not
    finite; on the device, without waiting.

    A pixel of an image is read at most once, in all, by each pixel of the result: its gradient
    stays below H W max|grad|.
    """
    largest = torch.linalg.vector_norm(grad, float("inf"), dtype=torch.float32).double()
    scale = (2.0**62 / (grad.shape[2] * grad.shape[3] * largest)).clamp(max=2.0**100).float()
    return torch.where(largest.isfinite(), scale, 0.0).float(), torch.where(
        largest.isfinite(), 1 / scale.double(), torch.nan
    )


# -- operations ------------------------------------------------------------------------------------


def _warp(image, flow):
    return _run_forward(image, None, flow, None, None, None)


def _warp_backward(grad, image, flow, needs):
    return _run_backward(grad, 1, (image, flow), needs)


def _warp_blend(image0, image1, flow0, flow1, occ0, occ1):
    return _run_forward(image0, image1, flow0, flow1, occ0, occ1)


def _warp_blend_backward(grad, image0, image1, flow0, flow1, occ0, occ1, needs):
    return _run_backward(grad, 2, (image0, image1, flow0, flow1, occ0, occ1), needs)


_library = define(
    "lift_triton",
    SCHEMAS,
    (_warp, _warp_backward, _warp_blend, _warp_blend_backward),
    ("CUDA", "CPU") if INTERPRETED else ("CUDA",),
)
attach("lift_triton", _library)


# -- public ----------------------------------------------------------------------------------------


def reason(*arguments) -> str | None:
    """Why Triton cannot serve; arguments as `warp` or `warp_blend` have them, none to ask about the
    machine.
    """
    return unsuited_to_triton(INTERPRETED, *arguments[:1])


def warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """As `warp_reference`, for float32, float16 and bfloat16."""
    return torch.ops.lift_triton.warp(image, flow)


def warp_blend(
    image0: torch.Tensor,
    image1: torch.Tensor,
    flow0: torch.Tensor,
    flow1: torch.Tensor,
    occ0: torch.Tensor,
    occ1: torch.Tensor,
) -> torch.Tensor:
    """As `warp_blend_reference`, for float32, float16 and bfloat16."""
    return torch.ops.lift_triton.warp_blend(image0, image1, flow0, flow1, occ0, occ1)


# -- ahead of time ---------------------------------------------------------------------------------


def specialisations():
    """What `ahead_of_time` compiles: each dtype, layout, operation, way to sum and set of gradients
    at least once.
    """
    last, plane = torch.channels_last, torch.contiguous_format
    for label, images, dtype, size, layout, image_gradients in (
        ("blend float32 3 planes", 2, torch.float32, (4, 3, 1080, 1920), plane, "sums"),
        ("blend bfloat16 32 last", 2, torch.bfloat16, (4, 32, 540, 960), last, "sums"),
        ("blend float16 3 planes", 2, torch.float16, (4, 3, 1080, 1920), plane, "none"),
        ("warp float32 64 last", 1, torch.float32, (4, 64, 270, 480), last, "fixed point"),
        ("warp float16 5 last, odd, 64-bit", 1, torch.float16, (1, 5, 30001, 20001), last, "sums"),
    ):
        B, _, H, W = size
        image = torch.empty(size, dtype=dtype, device="meta").to(memory_format=layout)
        flow, occ = (torch.empty(B, channels, H, W, device="meta") for channels in (2, 1))
        inputs = _paired(images, *[image] * images, *[flow] * images, *[occ] * images)
        yield f"forward {label}", _forward, *_forward_arguments(image, *inputs)
        fixed = image_gradients == "fixed point"
        total = (
            None if image_gradients == "none" else image.to(torch.int64 if fixed else torch.float32)
        )
        asked = _paired(images, *[total] * images, *[flow] * images, *[occ] * images)
        scale = torch.empty((), device="meta") if fixed else None
        yield (
            f"backward {label}, images' gradients: {image_gradients}",
            _backward,
            *_backward_arguments(image, *inputs, *asked, scale),
        )
