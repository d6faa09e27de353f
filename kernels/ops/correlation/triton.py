"""Correlation over a square of displacements in Triton: products, sums and the scaling to unit
length in one pass, forward and backward.

Nothing but the result reaches memory, and a number a location where maps are scaled: no shifted
copy, no product, no scaled map; for backward only the inputs are kept, and lengths are computed
again. A program of the forward serves BP locations of one row and the 2 r + 1 displacements of one
dy, or of all in turn where locations alone make programs enough. It runs over the channels BC at a
time: BC = 1 where each channel is a plane (neighbouring threads take neighbouring locations), more
where channels lie side by side.

Gradients are gathered, not scattered: a location's is the sum over displacements of the result's
gradient times the other map, in one order, so that its bits depend on nothing else and no atomics
are needed,

    dleft(x) = sum over d of g[d](x) right(x + d),   dright(x) = sum over d of g[-d](x + d) left(x +
    d)

A program of the backward holds all channels of BP locations, for which the maps are read with any
strides. All arithmetic is float32.
"""

import torch
import triton
import triton.language as tl

from lift.kernels.autograd import define
from lift.kernels.checks import unsuited_to_triton
from lift.kernels.ops.correlation.reference import SHORTEST
from lift.kernels.ops.correlation.registration import SCHEMAS, attach, empty_gradients, empty_result

INTERPRETED = (
    triton.knobs.runtime.interpret
)  # read by Triton when it was imported: the kernels run on the CPU, slowly
LEAST = tl.constexpr(SHORTEST**2)


# -- kernels: B* block sizes, i_* program ids and loops, o_* offsets, m_* masks, p_* pointers, b_* loaded and computed blocks ---


@triton.jit
def _where(i, segments, H, BP: tl.constexpr, WIDE: tl.constexpr):
    """The image, the row and the columns (BP) that program i serves."""
    i_row = i // segments
    i_b, i_y, o_x = (i_row // H).to(tl.int64), i_row % H, (i % segments) * BP + tl.arange(0, BP)
    if WIDE:  # offsets within one image can pass 2^31
        i_y, o_x = i_y.to(tl.int64), o_x.to(tl.int64)
    return i_b, i_y, o_x


@triton.jit
def _inverse_length(
    p_map, s_c, m_x, C: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, WIDE: tl.constexpr
):
    o_c = tl.arange(0, BC)[None, :]
    if WIDE:
        o_c = o_c.to(tl.int64)
    b_squares = tl.zeros((BP, BC), tl.float32)
    for i_c in range(0, C, BC):
        b = tl.load(p_map + (i_c + o_c) * s_c, mask=m_x & (i_c + o_c < C), other=0.0).to(tl.float32)
        b_squares += b * b
    return tl.rsqrt(tl.maximum(tl.sum(b_squares, 1), LEAST))


@triton.jit
def _lengths(
    scale0,
    scale1,  # (B, HW), written: one by the length of left's channels, and of right's
    left,
    sl_b,
    sl_c,
    sl_y,
    sl_x,  # (B, C, H, W)
    right,
    sr_b,
    sr_c,
    sr_y,
    sr_x,  # (B, C, H, W)
    H,
    W,
    segments,  # segments: programs a row takes
    C: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    WIDE: tl.constexpr,
):
    i_b, i_y, o_x = _where(tl.program_id(0), segments, H, BP, WIDE)
    m_x = o_x < W
    o_out = i_b * H * W + i_y * W + o_x
    b_left = _inverse_length(
        left + i_b * sl_b + i_y * sl_y + (o_x * sl_x)[:, None], sl_c, m_x[:, None], C, BP, BC, WIDE
    )
    tl.store(scale0 + o_out, b_left, mask=m_x)
    b_right = _inverse_length(
        right + i_b * sr_b + i_y * sr_y + (o_x * sr_x)[:, None], sr_c, m_x[:, None], C, BP, BC, WIDE
    )
    tl.store(scale1 + o_out, b_right, mask=m_x)


@triton.jit
def _forward(
    out,  # (B, D, HW), written
    left,
    sl_b,
    sl_c,
    sl_y,
    sl_x,  # (B, C, H, W)
    right,
    sr_b,
    sr_c,
    sr_y,
    sr_x,  # (B, C, H, W)
    scale0,
    scale1,  # (B, HW), as `_lengths` made them; None where maps are taken as they are
    H,
    W,
    segments,
    C: tl.constexpr,
    RADIUS: tl.constexpr,
    ROWS: tl.constexpr,
    BP: tl.constexpr,
    BD: tl.constexpr,
    BC: tl.constexpr,
    WIDE: tl.constexpr,
):
    SIDE: tl.constexpr = 2 * RADIUS + 1
    GROUPS: tl.constexpr = SIDE // ROWS  # programs that share the locations, each with ROWS of dy
    i_group = tl.program_id(0) % GROUPS
    i_b, i_y, o_x = _where(tl.program_id(0) // GROUPS, segments, H, BP, WIDE)
    o_x = o_x[:, None, None]
    o_d = tl.arange(0, BD)[None, :, None]
    o_c = tl.arange(0, BC)[None, None, :]
    if WIDE:
        o_d, o_c = o_d.to(tl.int64), o_c.to(tl.int64)
    m_x = o_x < W
    o_moved = o_x + o_d - RADIUS
    m_moved = m_x & (o_d < SIDE) & (o_moved >= 0) & (o_moved < W)
    p_left = left + i_b * sl_b + i_y * sl_y + o_x * sl_x
    o_d, o_x2, m_out = (
        tl.reshape(o_d, (1, BD)),
        tl.reshape(o_x, (BP, 1)),
        tl.reshape(m_x & (o_d < SIDE), (BP, BD)),
    )
    for i_k in range(ROWS):
        i_dy = i_group * ROWS + i_k
        i_moved = i_y + i_dy - RADIUS
        m_right = m_moved & (i_moved >= 0) & (i_moved < H)
        p_right = right + i_b * sr_b + i_moved * sr_y + o_moved * sr_x
        b_products = tl.zeros((BP, BD, BC), tl.float32)
        for i_c in range(0, C, BC):
            m_c = i_c + o_c < C
            b_left = tl.load(p_left + (i_c + o_c) * sl_c, mask=m_x & m_c, other=0.0).to(tl.float32)
            b_right = tl.load(p_right + (i_c + o_c) * sr_c, mask=m_right & m_c, other=0.0).to(
                tl.float32
            )
            b_products += b_left * b_right
        b_out = tl.sum(b_products, 2)
        if scale0 is not None:
            b_out *= tl.load(scale0 + i_b * H * W + i_y * W + o_x2, mask=o_x2 < W, other=0.0)
            p_scale = scale1 + i_b * H * W + i_moved * W + tl.reshape(o_moved, (BP, BD))
            b_out *= tl.load(p_scale, mask=tl.reshape(m_right, (BP, BD)), other=0.0)
        tl.store(
            out + (i_b * SIDE * SIDE + i_dy * SIDE + o_d) * H * W + i_y * W + o_x2,
            b_out,
            mask=m_out,
        )


@triton.jit
def _backward(
    dmap,
    sd_b,
    sd_c,
    sd_y,
    sd_x,  # (B, C, H, W), written: the gradient of `map`
    map,
    sm_b,
    sm_c,
    sm_y,
    sm_x,  # (B, C, H, W), read for its lengths alone
    other,
    so_b,
    so_c,
    so_y,
    so_x,  # (B, C, H, W)
    grad,
    sg_b,
    sg_d,
    sg_y,
    sg_x,  # (B, D, H, W)
    scale,  # (B, HW), one by the length of other's channels, or None
    H,
    W,
    segments,
    C: tl.constexpr,
    RADIUS: tl.constexpr,
    MIRROR: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    WIDE: tl.constexpr,
):
    SIDE: tl.constexpr = 2 * RADIUS + 1
    i_b, i_y, o_x = _where(tl.program_id(0), segments, H, BP, WIDE)
    o_x = o_x[:, None]
    o_c = tl.arange(0, BC)[None, :]  # all channels
    if WIDE:
        o_c = o_c.to(tl.int64)
    m_x, m_c = o_x < W, o_c < C
    p_grad, p_other = grad + i_b * sg_b, other + i_b * so_b
    # i_d is 32 bits wide: a type of its own decides how wide its product with a stride is
    i_first = tl.full((), SIDE * SIDE - 1 if MIRROR else 0, tl.int64 if WIDE else tl.int32)
    b_sum = tl.zeros((BP, BC), tl.float32)
    for i_d in range(SIDE * SIDE):
        i_moved, o_moved = i_y + i_d // SIDE - RADIUS, o_x + i_d % SIDE - RADIUS
        m_moved = m_x & (o_moved >= 0) & (o_moved < W) & (i_moved >= 0) & (i_moved < H)
        if MIRROR:  # map is right: the result at x + d holds its product with left there
            p_g = p_grad + (i_first - i_d) * sg_d + i_moved * sg_y + o_moved * sg_x
        else:
            p_g = p_grad + (i_first + i_d) * sg_d + i_y * sg_y + o_x * sg_x
        b_g = tl.load(p_g, mask=m_moved, other=0.0)
        if scale is not None:
            b_g *= tl.load(scale + i_b * H * W + i_moved * W + o_moved, mask=m_moved, other=0.0)
        b_other = tl.load(
            p_other + i_moved * so_y + o_moved * so_x + o_c * so_c, mask=m_moved & m_c, other=0.0
        ).to(tl.float32)
        b_sum += b_g * b_other
    if scale is not None:  # of x / |x|: what does not point along x, over |x|
        b_map = tl.load(
            map + i_b * sm_b + i_y * sm_y + o_x * sm_x + o_c * sm_c, mask=m_x & m_c, other=0.0
        ).to(tl.float32)
        b_square = tl.sum(b_map * b_map, 1)[:, None]
        b_scale = tl.rsqrt(tl.maximum(b_square, LEAST))
        b_map *= b_scale
        b_along = tl.where(b_square >= LEAST, tl.sum(b_sum * b_map, 1)[:, None], 0.0)
        b_sum = b_scale * (b_sum - b_along * b_map)
    tl.store(dmap + i_b * sd_b + i_y * sd_y + o_x * sd_x + o_c * sd_c, b_sum, mask=m_x & m_c)


# -- launching -------------------------------------------------------------------------------------

MOST_CHANNELS = 256  # a program of the backward holds them all
MOST_RADIUS = 6
ENOUGH = 2048  # programs that fill any card, with locations alone
_wide: bool | None = None  # tests set it: 64-bit offsets without 2^31 elements


def _by_pixel(x: torch.Tensor) -> tuple:
    """x and its strides."""
    return x, *x.stride()


def _columns(W: int, most: int) -> int:
    """How many columns of a row of W a program takes."""
    return min(triton.next_power_of_2(W), most)


def _is_wide(*tensors: torch.Tensor) -> bool:
    """Can an offset within one image of the batch pass 2^31? Whole images are counted in 64 bits
    anyhow.
    """
    if _wide is not None:
        return _wide
    return any(
        sum((n - 1) * s for n, s in zip(x.shape[1:], x.stride()[1:], strict=True)) + 4096 >= 2**31
        for x in tensors
    )


def _launch(kernel, programs: int, arguments: tuple, options: dict) -> None:
    with torch.cuda.device_of(arguments[0]):  # Triton launches on the current device
        kernel[(programs,)](*arguments, **options)


def _lengths_arguments(scale0, scale1, left, right) -> tuple[int, tuple, dict]:
    """Programs, arguments and options of `_lengths`."""
    B, C, H, W = left.shape
    BC = min(triton.next_power_of_2(C), 32) if left.stride(1) == 1 else 1
    BP = _columns(W, 1024 // BC if BC > 1 else 128)
    segments = triton.cdiv(W, BP)
    options = {"C": C, "BP": BP, "BC": BC, "WIDE": _is_wide(scale0, left, right), "num_warps": 4}
    return (
        B * H * segments,
        (scale0, scale1, *_by_pixel(left), *_by_pixel(right), H, W, segments),
        options,
    )


def _forward_arguments(out, left, right, scales, radius: int) -> tuple[int, tuple, dict]:
    """Programs, arguments and options of `_forward`."""
    B, C, H, W = left.shape
    side = 2 * radius + 1
    BD, BC = (
        triton.next_power_of_2(side),
        min(triton.next_power_of_2(C), 16) if left.stride(1) == 1 else 1,
    )
    BP = _columns(W, max(2048 // (BD * BC), 1) if BC > 1 else min(1024 // BD, 256))
    segments = triton.cdiv(W, BP)
    places = B * H * segments
    rows = side if places >= ENOUGH else 1
    options = {
        "C": C,
        "RADIUS": radius,
        "ROWS": rows,
        "BP": BP,
        "BD": BD,
        "BC": BC,
        "WIDE": _is_wide(left, right, out),
        "num_warps": 4,
    }
    return (
        places * (side // rows),
        (out, *_by_pixel(left), *_by_pixel(right), *scales, H, W, segments),
        options,
    )


def _backward_arguments(
    dmap, map, other, grad, scale, radius: int, mirror: bool
) -> tuple[int, tuple, dict]:
    """Programs, arguments and options of `_backward`; the scale is other's."""
    B, C, H, W = map.shape
    BC = triton.next_power_of_2(C)
    BP = _columns(W, max(2048 // BC, 1 if other.stride(1) == 1 else 32))
    segments = triton.cdiv(W, BP)
    options = {
        "C": C,
        "RADIUS": radius,
        "MIRROR": mirror,
        "BP": BP,
        "BC": BC,
        "WIDE": _is_wide(dmap, map, other, grad),
        "num_warps": 4 if BP * BC <= 2048 else 8,
    }
    arguments = (
        *_by_pixel(dmap),
        *_by_pixel(map),
        *_by_pixel(other),
        *_by_pixel(grad),
        scale,
        H,
        W,
        segments,
    )
    return B * H * segments, arguments, options


# -- operations ------------------------------------------------------------------------------------


def _scales(left, right, unit: bool) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """What left's and right's channels are scaled by, (B, HW) each; None where they are taken as
    they are.
    """
    if not unit:
        return None, None
    B, _, H, W = left.shape
    scale0, scale1 = (left.new_empty((B, H * W), dtype=torch.float32) for _ in range(2))
    _launch(_lengths, *_lengths_arguments(scale0, scale1, left, right))
    return scale0, scale1


def _correlation(left, right, radius, unit):
    out = empty_result(left, radius)
    if left.numel() == 0:
        return out.zero_()  # no channels: sums of nothing
    _launch(_forward, *_forward_arguments(out, left, right, _scales(left, right, unit), radius))
    return out


def _correlation_backward(grad, left, right, radius, unit, needs):
    gradients = empty_gradients(left, right, needs)
    if left.numel() == 0 or needs == 0:
        return gradients
    scale0, scale1 = _scales(left, right, unit)
    if needs & 1:
        _launch(
            _backward,
            *_backward_arguments(gradients[0], left, right, grad, scale1, radius, mirror=False),
        )
    if needs & 2:
        _launch(
            _backward,
            *_backward_arguments(gradients[1], right, left, grad, scale0, radius, mirror=True),
        )
    return gradients


_library = define(
    "lift_triton",
    SCHEMAS,
    (_correlation, _correlation_backward),
    ("CUDA", "CPU") if INTERPRETED else ("CUDA",),
)
attach("lift_triton", _library)


# -- public ----------------------------------------------------------------------------------------


def reason(*arguments) -> str | None:
    """Why Triton cannot serve; arguments as `correlation` has them, none to ask about the machine."""
    why = unsuited_to_triton(INTERPRETED, *arguments[:1])
    if why or not arguments:
        return why
    left, _, radius = arguments[:3]
    if left.shape[1] > MOST_CHANNELS:
        return f"maps of {left.shape[1]} channels: at most {MOST_CHANNELS}"
    if radius > MOST_RADIUS:
        return f"a radius of {radius}: at most {MOST_RADIUS}"
    return None


def correlation(
    left: torch.Tensor, right: torch.Tensor, radius: int, unit: bool = False
) -> torch.Tensor:
    """As `correlation_reference`, for float32, float16 and bfloat16."""
    return torch.ops.lift_triton.correlation(left, right, radius, unit)


# -- ahead of time ---------------------------------------------------------------------------------


def specialisations():
    """What `ahead_of_time` compiles: each dtype, layout, radius of the presets and way to share the
    work at least once.
    """
    last, plane = torch.channels_last, torch.contiguous_format
    for label, dtype, size, layout, radius, unit in (
        ("float32 64 last, radius 3, unit", torch.float32, (1, 64, 270, 480), last, 3, True),
        ("bfloat16 64 last, radius 3, unit", torch.bfloat16, (4, 64, 64, 64), last, 3, True),
        ("bfloat16 64 last, radius 0, unit", torch.bfloat16, (4, 64, 64, 64), last, 0, True),
        ("float16 64 last, radius 6, unit", torch.float16, (4, 64, 16, 16), last, 6, True),
        ("float16 24 last, radius 2, unit", torch.float16, (1, 24, 270, 480), last, 2, True),
        ("float32 24 planes, radius 2, unit", torch.float32, (1, 24, 180, 320), plane, 2, True),
        ("float32 256 planes, radius 6", torch.float32, (1, 256, 68, 120), plane, 6, False),
        (
            "float16 5 last, radius 1, odd, 64-bit",
            torch.float16,
            (1, 5, 30001, 20001),
            last,
            1,
            False,
        ),
    ):
        B, _, H, W = size
        map = torch.empty(size, dtype=dtype, device="meta").to(memory_format=layout)
        grad, scale = (
            empty_result(map, radius),
            torch.empty(B, H * W, device="meta") if unit else None,
        )
        if unit:
            yield f"lengths {label}", _lengths, *_lengths_arguments(scale, scale, map, map)[1:]
        yield (
            f"forward {label}",
            _forward,
            *_forward_arguments(grad, map, map, (scale, scale), radius)[1:],
        )
        for name, mirror in (("left", False), ("right", True)):
            yield (
                f"backward {label}, {name}",
                _backward,
                *_backward_arguments(map, map, map, grad, scale, radius, mirror)[1:],
            )
