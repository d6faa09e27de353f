"""`temporal_attention` in Triton: launches.

Two families of kernels: windows of 1 and 2 pixels are summed in registers (location_kernels.py),
larger ones are products of blocks (window_kernels.py); `_is_location` is where that is decided,
tuning.py where block sizes are. Both read (B, T, H, W, heads, d) in place by its strides (the last
must be 1; else a contiguous copy is made) and write per-program sums of the shares and of the bias
gradients, which `torch.sum` adds: no atomics, the same bits every time.
"""

import functools

import torch
import triton

from lift.kernels.checks import capability
from lift.kernels.ops.temporal_attention import (
    configs as tuning,
)
from lift.kernels.ops.temporal_attention import (
    registration,
)
from lift.kernels.ops.temporal_attention import (
    triton_small_window as location_kernels,
)
from lift.kernels.ops.temporal_attention import (
    triton_window as window_kernels,
)

INTERPRETED = (
    triton.knobs.runtime.interpret
)  # read by Triton when it was imported: the kernels run on the CPU, slowly
WINDOWS = 8  # pixels: the largest side
FRAMES = 64  # keys: the mask is the bits of one integer
CHANNELS = (16, 32, 64)  # of a head
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


# -- launches: `launch` takes a kernel, its number of programs, arguments and keywords -------------

_long: bool | None = None  # tests set it: 64-bit offsets without 2^31 elements


def _launch(kernel, programs: int, arguments: tuple, keywords: dict) -> None:
    if INTERPRETED:  # Triton 3.6's interpreter makes arrays of integers, which
        arguments = tuple(  # NumPy 2.4 does not take as the number of a loop's rounds
            triton.language.constexpr(x) if isinstance(x, int) else x for x in arguments
        )
    with torch.cuda.device_of(arguments[0]):  # Triton launches on the current device
        kernel[(programs,)](*arguments, **keywords)


def _is_location(window: int) -> bool:
    """Which kernels serve a window: those of locations, or those of windows."""
    return window <= 2


@functools.cache
def _card(device: torch.device) -> str | None:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def _strided(x: torch.Tensor) -> torch.Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _windows(H: int, W: int, window: int, shift: int) -> tuple[int, int]:
    """How many windows a picture has, and how many stand side by side."""
    rows, columns = triton.cdiv(H + shift, window), triton.cdiv(W + shift, window)
    return rows * columns, columns


def _is_long(*tensors: torch.Tensor) -> bool:
    """Can an offset inside one frame of one head pass 2^31? Clips, frames and heads are counted in
    64 bits anyhow.
    """
    if _long is not None:
        return _long
    B, T, H, W, heads, d = tensors[0].shape
    return (
        max(
            (H + WINDOWS) * (x.stride(2) + W * heads * d) + (W + WINDOWS) * x.stride(3)
            for x in tensors
        )
        >= 2**31
    )


def _shape_class(kernel, q: torch.Tensor, window: int) -> tuning.ShapeClass:
    places = window * window if _is_location(window) else 16 if window <= 4 else 64
    return tuning.ShapeClass(
        kernel.__name__,
        places,
        "one" if q.shape[1] == 1 else "many",
        q.shape[5],
        8 * q.element_size(),
    )


def _location_keywords(kernel, q: torch.Tensor, window: int, Tk: int) -> dict:
    """Block sizes: BL windows and BH heads."""
    shape, BT = _shape_class(kernel, q, window), triton.next_power_of_2(Tk)
    found = dict(tuning.for_frames(shape, tuning.settings(shape, _card(q.device)), BT))
    values, (heads, d) = found.pop("VALUES"), q.shape[4:]
    BH = min(triton.next_power_of_2(heads), max(1, 512 // d))
    return {"WINDOW": window, "D": d, "BL": max(1, values // (BH * d)), "BH": BH, "BT": BT, **found}


def _window_keywords(kernel, q: torch.Tensor, window: int, *tensors: torch.Tensor) -> dict:
    """Block sizes: WP, the window's padded side, BM queries and BN keys."""
    shape, BT = _shape_class(kernel, q, window), triton.next_power_of_2(tensors[0].shape[1])
    return {
        "WINDOW": window,
        "WP": 4 if window <= 4 else 8,
        "D": q.shape[5],
        "BM": tuning.rows(shape),
        "BT": BT,
        "LONG": _is_long(q, *tensors),
        **tuning.for_frames(shape, tuning.settings(shape, _card(q.device)), BT),
    }


def _tables(time_bias, window_bias, mask, B: int) -> tuple[tuple, int]:
    """The small tables as the kernels take them, and the stride of time_bias from clip to clip."""
    step = 0 if time_bias is None or time_bias.shape[0] == 1 and B > 1 else time_bias[0].numel()
    return (
        None if time_bias is None else time_bias.contiguous(),
        None if window_bias is None else window_bias.contiguous(),
        None if mask is None else mask.contiguous().view(torch.uint8),
    ), step


def _forward(q, k, v, time_bias, window_bias, mask, window, shift, scale, launch=_launch):
    if (
        INTERPRETED and q.dtype == torch.bfloat16 and not q.is_meta
    ):  # the interpreter cuts bfloat16 off instead of rounding
        out, share, statistic = _forward(
            q.float(), k.float(), v.float(), time_bias, window_bias, mask, window, shift, scale
        )
        return out.to(q.dtype), share, statistic
    (B, Tq, H, W, heads, _), Tk = q.shape, k.shape[1]
    q, k, v = _strided(q), _strided(k), _strided(v)
    out = q.new_empty(q.shape)
    statistic = q.new_empty((B, Tq, H, W, heads), dtype=torch.float32)
    if out.numel() == 0:
        return out, q.new_zeros((B, Tq, Tk), dtype=torch.float32), statistic
    windows, columns = _windows(H, W, window, shift)
    tables, step = _tables(time_bias, window_bias, mask, B)
    strides = (*q.stride()[:5], *k.stride()[:5], *v.stride()[:5], step)
    sizes = (scale, Tq, Tk, H, W, heads, columns, windows)
    if _is_location(window):
        kernel, area = location_kernels.location_forward, window * window
        keywords = _location_keywords(kernel, q, window, Tk)
        pieces, head_blocks = (
            triton.cdiv(windows, keywords["BL"]),
            triton.cdiv(heads, keywords["BH"]),
        )
        share = statistic.new_empty((B, pieces * head_blocks, Tq, area, Tk))
        launch(
            kernel,
            B * pieces * head_blocks * Tq * area,
            (q, k, v, *tables, out, statistic, share, *strides, *sizes, pieces, shift),
            keywords,
        )
        share = share.sum((1, 3))
    else:
        kernel = window_kernels.window_forward
        keywords = _window_keywords(kernel, q, window, k, v)
        frames = keywords["BM"] // keywords["WP"] ** 2
        count = triton.cdiv(Tq, frames)
        share = statistic.new_empty((B, windows * heads, count * frames, Tk))
        launch(
            kernel,
            B * windows * heads * count,
            (q, k, v, *tables, out, statistic, share, *strides, *sizes, count, shift),
            keywords,
        )
        share = share.sum(1)[:, :Tq]
    return out, share / (heads * H * W), statistic


def _backward(
    grad,
    q,
    k,
    v,
    out,
    statistic,
    time_bias,
    window_bias,
    mask,
    window,
    shift,
    scale,
    needs,
    launch=_launch,
):
    if INTERPRETED and q.dtype == torch.bfloat16 and not q.is_meta:
        found = _backward(
            grad.float(),
            q.float(),
            k.float(),
            v.float(),
            out.float(),
            statistic,
            time_bias,
            window_bias,
            mask,
            window,
            shift,
            scale,
            needs,
        )
        return tuple(g.to(q.dtype) if i < 3 else g for i, g in enumerate(found))
    dq, dk, dv, d_time, d_window = registration.empty_gradients(
        (q, k, v, time_bias, window_bias), needs
    )
    if q.numel() == 0:
        return dq, dk.zero_(), dv.zero_(), d_time.zero_(), d_window.zero_()
    B, Tk = k.shape[:2]
    grad, q, k, v = _strided(grad), _strided(q), _strided(k), _strided(v)
    time, place, keys = bool(needs & 8), bool(needs & 16), bool(needs & 6)
    room = (
        dq if needs & 1 else torch.empty_like(out),
        *(x if x.numel() or not keys else q.new_empty(k.shape) for x in (dk, dv)),
    )
    tables, step = _tables(time_bias, window_bias, mask, B)
    strides = (*grad.stride()[:5], *q.stride()[:5], *k.stride()[:5], *v.stride()[:5], step)
    run = _backward_of_locations if _is_location(window) else _backward_of_windows
    times, places = run(
        (grad, q, k, v),
        out,
        statistic,
        tables,
        room,
        strides,
        window,
        shift,
        scale,
        time,
        place,
        keys,
        launch,
    )
    if time:  # (B, heads, Tq, Tk)
        d_time = (
            times.sum(0, keepdim=True) if time_bias.shape[0] == 1 and B > 1 else times
        ).contiguous()
    if place:  # (heads, side, side, side, side): rows and columns of the query, then of the key
        d_window = _by_offset(places[:, :window, :window, :window, :window]).contiguous()
    return (
        *(
            found if needs >> i & 1 else empty
            for i, (found, empty) in enumerate(zip(room, (dq, dk, dv), strict=True))
        ),
        d_time,
        d_window,
    )


def _backward_of_locations(
    inputs, out, statistic, tables, room, strides, window, shift, scale, time, place, keys, launch
):
    """Fill `room` with dq, dk and dv; return the sums that the bias gradients are made of."""
    (B, Tq, H, W, heads, _), q, Tk, area = out.shape, inputs[1], inputs[2].shape[1], window * window
    windows, columns = _windows(H, W, window, shift)
    sizes = (scale, Tq, Tk, H, W, heads, columns, windows)
    kernel = location_kernels.location_backward
    own = keys and tuning.own_keys(_shape_class(kernel, q, window))
    keywords = _location_keywords(kernel, q, window, Tk)
    pieces, head_blocks = triton.cdiv(windows, keywords["BL"]), triton.cdiv(heads, keywords["BH"])
    delta = (
        statistic if own else torch.empty_like(statistic)
    )  # written where keys have a kernel of their own
    times = statistic.new_empty((B, pieces, Tq, area, heads, Tk) if time else (0,))
    places = statistic.new_empty((B, pieces, Tq, area, heads, area) if place else (0,))
    launch(
        kernel,
        B * pieces * head_blocks * Tq * area,
        (
            *inputs,
            out,
            statistic,
            *tables,
            *room,
            delta,
            times,
            places,
            *strides,
            *sizes,
            pieces,
            shift,
        ),
        keywords | {"OWN": own, "TIME": time, "PLACE": place},
    )
    if keys and not own:
        kernel = location_kernels.location_backward_keys
        keywords = _location_keywords(kernel, q, window, Tk)
        pieces = triton.cdiv(windows, keywords["BL"])
        launch(
            kernel,
            B * pieces * head_blocks * Tk * area,
            (*inputs, delta, statistic, *tables, *room[1:], *strides, *sizes, pieces, shift),
            keywords,
        )
    return (
        times.sum((1, 3)).transpose(1, 2) if time else None,
        places.sum((0, 1, 2)).transpose(0, 1).reshape(heads, window, window, window, window)
        if place
        else None,
    )


def _backward_of_windows(
    inputs, out, statistic, tables, room, strides, window, shift, scale, time, place, keys, launch
):
    """As `_backward_of_locations`."""
    (B, Tq, H, W, heads, _), (grad, q, k, v), Tk = out.shape, inputs, inputs[2].shape[1]
    windows, columns = _windows(H, W, window, shift)
    sizes = (scale, Tq, Tk, H, W, heads, columns, windows)
    kernel = window_kernels.window_backward
    own = keys and tuning.own_keys(_shape_class(kernel, q, window))
    keywords = _window_keywords(kernel, q, window, k, v, grad)
    side = keywords["WP"]
    frames = keywords["BM"] // side**2
    count = triton.cdiv(Tq, frames)
    delta = statistic if own else torch.empty_like(statistic)
    times = statistic.new_empty((B, windows, heads, count * frames, Tk) if time else (0,))
    places = statistic.new_empty(
        (B, windows, heads, count, side, side, side, side) if place else (0,)
    )
    launch(
        kernel,
        B * windows * heads * count,
        (
            *inputs,
            out,
            statistic,
            *tables,
            *room,
            delta,
            times,
            places,
            *strides,
            *sizes,
            count,
            shift,
        ),
        keywords | {"OWN": own, "TIME": time, "PLACE": place},
    )
    if keys and not own:
        kernel = window_kernels.window_backward_keys
        keywords = _window_keywords(kernel, q, window, k, v, grad)
        count = triton.cdiv(Tq, max(1, keywords["BM"] // side**2))
        launch(
            kernel,
            B * windows * heads * Tk * (side**2 // keywords["BN"]),
            (*inputs, delta, statistic, *tables, *room[1:], *strides, *sizes, count, shift),
            keywords,
        )
    return times.sum(1)[:, :, :Tq] if time else None, places.sum((0, 1, 3)) if place else None


def _by_offset(places: torch.Tensor) -> torch.Tensor:
    """(heads, w, w, w, w), by query and key place -> (heads, 2 w - 1, 2 w - 1), by offset: each sum
    in a fixed order.
    """
    window = places.shape[1]
    offset = torch.arange(1 - window, window, device=places.device)
    at = torch.arange(window, device=places.device)
    to = at + offset[:, None]  # (offset, query)
    outside = (to < 0) | (to >= window)
    to = to.clamp(0, window - 1)
    found = places[
        :,
        at[None, None, :, None],
        at[None, None, None, :],
        to[:, None, :, None],
        to[None, :, None, :],
    ]
    return found.masked_fill(outside[:, None, :, None] | outside[None, :, None, :], 0).sum(
        (-2, -1)
    )  # (heads, dy, dx, y, x)


# -- registration ----------------------------------------------------------------------------------

_library = registration.attach(
    "lift_triton", _forward, _backward, ("CUDA", "CPU") if INTERPRETED else ("CUDA",), rows=True
)


# -- public ----------------------------------------------------------------------------------------


def reason(*arguments) -> str | None:
    """Why Triton cannot serve; arguments as `temporal_attention_reference` has them, none to ask
    about the machine.
    """
    if not INTERPRETED and not torch.cuda.is_available():
        return "no CUDA device"
    if not arguments:
        return None
    q, k, _, window = arguments[:4]
    if not q.is_cuda and not (INTERPRETED and q.device.type == "cpu"):
        return f"the tensors are on {q.device.type}, not on a CUDA device"
    if q.dtype not in DTYPES:
        return (
            f"queries of {str(q.dtype).removeprefix('torch.')}: float32, float16 or bfloat16 only"
        )
    if (
        q.is_cuda
        and q.dtype == torch.bfloat16
        and not _is_location(window)
        and capability(q.device) < (8, 0)
    ):
        return "a GPU before compute capability 8.0, which has no products of bfloat16: float16 or float32 only"
    if q.shape[-1] not in CHANNELS:
        return f"{q.shape[-1]} channels a head: {', '.join(map(str, CHANNELS))} only"
    if window > WINDOWS:
        return f"a window of {window}: at most {WINDOWS}"
    if k.shape[1] > FRAMES:
        return f"{k.shape[1]} frames of keys: at most {FRAMES}"
    return None


def temporal_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    window: int,
    shift: int = 0,
    time_bias: torch.Tensor | None = None,
    window_bias: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `temporal_attention_reference`, for float32, float16 and bfloat16."""
    return registration.call(
        "lift_triton", q, k, v, window, shift, time_bias, window_bias, mask, scale
    )


# -- ahead of time ---------------------------------------------------------------------------------


def specialisations():
    """What `ahead_of_time` compiles: each kernel as the presets train with it, and the rest where
    it is largest.
    """
    for label, dtype, Tq, window, d, tables, kernels in (
        ("window 8", torch.bfloat16, 1, 8, 32, True, ("window_forward", "window_backward")),
        ("window 8", torch.float32, 1, 8, 32, True, ("window_forward", "window_backward")),
        ("window 8 among frames", torch.float16, 15, 8, 32, True, ("window_backward_keys",)),
        ("window 4", torch.float16, 1, 4, 32, True, ("window_forward", "window_backward")),
        (
            "window 2",
            torch.float16,
            1,
            2,
            32,
            True,
            ("location_forward", "location_backward", "location_backward_keys"),
        ),
        ("window 1", torch.bfloat16, 1, 1, 32, False, ("location_forward", "location_backward")),
    ):
        yield from (
            found
            for found in _specialisation(label, dtype, Tq, window, d, tables)
            if found[1].__name__ in kernels
        )


def further_specialisations():
    """Every class of shapes that has settings of its own, and more frames than the presets'."""
    for dtype in (torch.float16, torch.float32):
        for window in (8, 4, 2, 1):
            for d in CHANNELS:
                for Tq, Tk in ((1, 15), (15, 15), *(((1, 32), (1, FRAMES)) if d == 32 else ())):
                    label = f"window {window}, {d} channels, {Tq} to {Tk} frames"
                    yield from _specialisation(label, dtype, Tq, window, d, True, Tk)


def _specialisation(
    label: str, dtype: torch.dtype, Tq: int, window: int, d: int, tables: bool, Tk: int = 15
):
    """The launches of one forward and one backward, on tensors without data."""
    B, H, W, heads = 2, 68, 120, 8
    found = []

    def note(kernel, programs, arguments, keywords):
        found.append(
            (
                f"{kernel.__name__.split('_', 1)[1]} {label} {str(dtype).removeprefix('torch.')}",
                kernel,
                arguments,
                keywords,
            )
        )

    q, k = (torch.empty(B, T, H, W, heads, d, dtype=dtype, device="meta") for T in (Tq, Tk))
    given = (
        q,
        k,
        k,
        torch.empty(B, heads, Tq, Tk, device="meta") if tables else None,
        torch.empty(heads, 2 * window - 1, 2 * window - 1, device="meta") if tables else None,
        torch.empty(B, Tk, dtype=torch.bool, device="meta") if tables else None,
    )
    settings = (window, 0, d**-0.5)
    out, _, statistic = _forward(*given, *settings, launch=note)
    _backward(
        out, *given[:3], out, statistic, *given[3:], *settings, 31 if tables else 7, launch=note
    )
    return found
