"""Launches of the Triton kernels of `temporal_attention`.

Windows of 1 and 2 pixels are summed in registers (triton_small_window.py), larger ones are products
of blocks (triton_window.py); configs.py has the block sizes. The kernels read
(B, T, H, W, heads, d) in place by its strides; the last must be 1, or a contiguous copy is made.
They write partial sums of the frame weights and of the bias gradients, one per program, which
`torch.sum` adds: no atomics, the same bits every time.
"""

import functools
from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import torch
import triton

from lift.kernels import launch as launches
from lift.kernels.autograd import empty_grads
from lift.kernels.checks import TRITON_DTYPES, capability
from lift.kernels.launch import (
    DISPATCH_KEYS,  # noqa: F401  for dispatch
    INTERPRETED,
    needs_int64_offsets,
    strides,
)
from lift.kernels.ops.temporal_attention import configs
from lift.kernels.ops.temporal_attention.reference import sum_by_offset
from lift.kernels.ops.temporal_attention.triton_small_window import (
    temporal_attention_small_window_bwd_dkv_kernel,
    temporal_attention_small_window_bwd_kernel,
    temporal_attention_small_window_fwd_kernel,
)
from lift.kernels.ops.temporal_attention.triton_window import (
    temporal_attention_window_bwd_dkv_kernel,
    temporal_attention_window_bwd_kernel,
    temporal_attention_window_fwd_kernel,
)

MAX_WINDOW = 8
MAX_FRAMES = 64  # of keys: the mask is the bits of one integer
CHANNELS = (16, 32, 64)  # per head


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `temporal_attention`, or None."""
    if not INTERPRETED and not torch.cuda.is_available():
        return "no CUDA device"
    if not arguments:
        return None
    q, k, _, window = arguments[:4]
    if not q.is_cuda and not (INTERPRETED and q.device.type == "cpu"):
        return f"the tensors are on {q.device.type}, not on a CUDA device"
    if q.dtype not in TRITON_DTYPES:
        dtype = str(q.dtype).removeprefix("torch.")
        return f"queries of {dtype}: float32, float16 or bfloat16 only"
    has_products = not q.is_cuda or q.dtype != torch.bfloat16 or _is_small(window)
    if not has_products and capability(q.device) < (8, 0):
        return (
            "a GPU before compute capability 8.0, which has no products of bfloat16: "
            "float16 or float32 only"
        )
    if q.shape[-1] not in CHANNELS:
        return f"{q.shape[-1]} channels a head: {', '.join(map(str, CHANNELS))} only"
    if window > MAX_WINDOW:
        return f"a window of {window}: at most {MAX_WINDOW}"
    if k.shape[1] > MAX_FRAMES:
        return f"{k.shape[1]} frames of keys: at most {MAX_FRAMES}"
    return None


# -- arguments of the kernels ----------------------------------------------------------------------


class Inputs(NamedTuple):
    """The arguments of the op, laid out as the kernels read them."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    time_bias: torch.Tensor | None
    window_bias: torch.Tensor | None
    mask: torch.Tensor | None
    window: int
    shift: int
    scale: float

    @classmethod
    def of(cls, q, k, v, time_bias, window_bias, mask, window, shift, scale) -> "Inputs":
        return cls(
            *(_last_contiguous(x) for x in (q, k, v)),
            None if time_bias is None else time_bias.contiguous(),
            None if window_bias is None else window_bias.contiguous(),
            None if mask is None else mask.contiguous().view(torch.uint8),
            window,
            shift,
            scale,
        )

    @property
    def window_columns(self) -> int:
        """Windows side by side."""
        return triton.cdiv(self.q.shape[3] + self.shift, self.window)

    @property
    def windows(self) -> int:
        """Windows of an image."""
        return triton.cdiv(self.q.shape[2] + self.shift, self.window) * self.window_columns

    @property
    def area(self) -> int:
        """Positions of a window."""
        return self.window * self.window

    @property
    def one_time_bias(self) -> bool:
        """Whether several clips share one time_bias."""
        return self.time_bias is not None and self.time_bias.shape[0] == 1 and len(self.q) > 1

    def arguments(self) -> dict:
        """What every kernel takes."""
        _, Tq, H, W, heads, d = self.q.shape
        per_clip = self.time_bias is not None and not self.one_time_bias
        return {
            "q": self.q,
            **strides("sq", "btyxh", self.q),
            "k": self.k,
            **strides("sk", "btyxh", self.k),
            "v": self.v,
            **strides("sv", "btyxh", self.v),
            "time_bias": self.time_bias,
            "sb_b": self.time_bias[0].numel() if per_clip else 0,
            "window_bias": self.window_bias,
            "mask": self.mask,
            "scale": self.scale,
            "Tq": Tq,
            "Tk": self.k.shape[1],
            "H": H,
            "W": W,
            "heads": heads,
            "window_columns": self.window_columns,
            "windows": self.windows,
            "shift": self.shift,
            "WINDOW": self.window,
            "D": d,
        }


def _is_small(window: int) -> bool:
    """Whether the small-window kernels compute a window."""
    return window <= 2


def _last_contiguous(x: torch.Tensor) -> torch.Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


@functools.cache
def _gpu_name(device: torch.device) -> str | None:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def _frame_span(x: torch.Tensor, q: torch.Tensor) -> int:
    """The largest offset inside one frame of one head of x, or of a contiguous tensor like q.

    Kernels count clips, frames and heads in 64 bits.
    """
    _, _, H, W, heads, d = q.shape
    return (H + MAX_WINDOW) * (x.stride(2) + W * heads * d) + (W + MAX_WINDOW) * x.stride(3)


def shape_class(kernel, q: torch.Tensor, window: int) -> configs.ShapeClass:
    """The class of shapes of a launch."""
    positions = window * window if _is_small(window) else 16 if window <= 4 else 64
    return configs.ShapeClass(
        kernel.__name__.removeprefix("temporal_attention_").removesuffix("_kernel"),
        positions,
        "one" if q.shape[1] == 1 else "many",
        q.shape[5],
        8 * q.element_size(),
    )


def _config(shape: configs.ShapeClass, inputs: Inputs) -> tuple[dict, int]:
    """The config of a launch, and BT, the padded number of key frames."""
    BT = triton.next_power_of_2(inputs.k.shape[1])
    found = configs.config(shape, _gpu_name(inputs.q.device))
    return dict(configs.for_key_frames(shape, found, BT)), BT


def _small_window_blocks(kernel, inputs: Inputs) -> dict:
    """Block sizes of a small-window kernel: BL windows and BH heads."""
    shape = shape_class(kernel, inputs.q, inputs.window)
    config, BT = _config(shape, inputs)
    values, (heads, d) = config.pop("VALUES"), inputs.q.shape[4:]
    BH = min(triton.next_power_of_2(heads), max(1, 512 // d))
    BL = max(1, values // (BH * d))
    return {
        "BL": BL,
        "BH": BH,
        "BT": BT,
        "window_blocks": triton.cdiv(inputs.windows, BL),
        **config,
    }


def _window_blocks(kernel, inputs: Inputs, *tensors: torch.Tensor) -> dict:
    """Block sizes of a window kernel: WP, the padded side, BM queries, BN keys.

    Args:
        tensors: what the kernel reads besides q.
    """
    q = inputs.q
    shape = shape_class(kernel, q, inputs.window)
    config, BT = _config(shape, inputs)
    return {
        "WP": 4 if inputs.window <= 4 else 8,
        "BM": configs.query_rows(shape),
        "BT": BT,
        "INT64_OFFSETS": needs_int64_offsets(*(_frame_span(x, q) for x in (q, *tensors))),
        **config,
    }


# -- forward ---------------------------------------------------------------------------------------


def temporal_attention_forward(*arguments, launch: Callable = launches.launch):
    """The output, the frame weights (empty where not wanted) and each row's log-sum-exp, base 2.

    Args:
        arguments: as in `Inputs`, then whether the frame weights are wanted.
        launch: takes a kernel, its number of programs and its arguments.
    """
    *arguments, with_frame_weights = arguments
    inputs = Inputs.of(*arguments)
    B, Tq, H, W, heads, _ = inputs.q.shape
    out = inputs.q.new_empty(inputs.q.shape)
    lse = inputs.q.new_empty((B, Tq, H, W, heads), dtype=torch.float32)
    if out.numel() == 0:
        shape = (B, Tq, inputs.k.shape[1]) if with_frame_weights else (0,)
        return out, lse.new_zeros(shape), lse
    forward = _small_window_forward if _is_small(inputs.window) else _window_forward
    sums = forward(inputs, out, lse, with_frame_weights, launch)
    return out, lse.new_empty((0,)) if sums is None else sums / (heads * H * W), lse


def _small_window_forward(inputs: Inputs, out, lse, weights: bool, launch) -> torch.Tensor | None:
    """Write out and lse; return the frame weights (B, Tq, Tk), summed over positions and heads."""
    kernel = temporal_attention_small_window_fwd_kernel
    (B, Tq, *_, heads, _), Tk, area = inputs.q.shape, inputs.k.shape[1], inputs.area
    blocks = _small_window_blocks(kernel, inputs)
    programs = blocks["window_blocks"] * triton.cdiv(heads, blocks["BH"])  # per clip and query
    frame_weights = lse.new_empty((B, programs, Tq, area, Tk)) if weights else None
    outputs = {"out": out, "lse": lse, "frame_weights": frame_weights}
    launch(kernel, B * programs * Tq * area, inputs.arguments() | outputs | blocks)
    return frame_weights.sum((1, 3)) if weights else None


def _window_forward(inputs: Inputs, out, lse, weights: bool, launch) -> torch.Tensor | None:
    """As `_small_window_forward`."""
    kernel = temporal_attention_window_fwd_kernel
    (B, Tq, *_, heads, _), Tk, windows = inputs.q.shape, inputs.k.shape[1], inputs.windows
    blocks = _window_blocks(kernel, inputs, inputs.k, inputs.v)
    frames = blocks["BM"] // blocks["WP"] ** 2
    query_blocks = triton.cdiv(Tq, frames)
    rows = query_blocks * frames
    frame_weights = lse.new_empty((B, windows * heads, rows, Tk)) if weights else None
    outputs = {"out": out, "lse": lse, "frame_weights": frame_weights}
    arguments = inputs.arguments() | outputs | blocks | {"query_blocks": query_blocks}
    launch(kernel, B * windows * heads * query_blocks, arguments)
    return frame_weights.sum(1)[:, :Tq] if weights else None


# -- backward --------------------------------------------------------------------------------------


class Backward(NamedTuple):
    """What the kernels of a backward share.

    Attributes:
        inputs: with the output's gradient, the output and the rows' log-sum-exp.
        dq, dk, dv: written; dk and dv only if `needs_dkv`.
    """

    inputs: Inputs
    grad: torch.Tensor
    out: torch.Tensor
    lse: torch.Tensor
    dq: torch.Tensor
    dk: torch.Tensor
    dv: torch.Tensor
    needs_dkv: bool
    needs_dtime_bias: bool
    needs_dwindow_bias: bool

    def dkv_arguments(self, delta) -> dict:
        """Arguments of the kernel that computes dk and dv."""
        return self.inputs.arguments() | {
            "grad": self.grad,
            **strides("sg", "btyxh", self.grad),
            "delta": delta,
            "lse": self.lse,
            "dk": self.dk,
            "dv": self.dv,
        }

    def dq_arguments(self, delta, writes_dkv: bool, dtime_bias, dwindow_bias) -> dict:
        """Arguments of the kernel that computes dq."""
        return self.dkv_arguments(delta) | {
            "out": self.out,
            "dq": self.dq,
            "dtime_bias": dtime_bias,
            "dwindow_bias": dwindow_bias,
            "WRITE_DKV": writes_dkv,
            "HAS_DTIME_BIAS": self.needs_dtime_bias,
            "HAS_DWINDOW_BIAS": self.needs_dwindow_bias,
        }


def temporal_attention_backward(grad, *arguments, launch: Callable = launches.launch):
    """The gradients of q, k, v, time_bias and window_bias.

    Args:
        arguments: as in the forward, then the output, the rows' log-sum-exp and `needs`.
        launch: takes a kernel, its number of programs and its arguments.
    """
    *forward_arguments, out, lse, needs = arguments
    q = forward_arguments[0]
    dq, dk, dv, dtime_bias, dwindow_bias = empty_grads(tuple(forward_arguments[:5]), needs, 3)
    if q.numel() == 0:
        return dq, dk.zero_(), dv.zero_(), dtime_bias.zero_(), dwindow_bias.zero_()
    inputs = Inputs.of(*forward_arguments[:-1])
    needs_dkv = bool(needs & 6)
    written = [  # the kernels write dk and dv together, and dq always
        dq if needs & 1 else torch.empty_like(out),
        *(x if x.numel() or not needs_dkv else q.new_empty(inputs.k.shape) for x in (dk, dv)),
    ]
    call = Backward(
        inputs,
        _last_contiguous(grad),
        out,
        lse,
        *written,
        needs_dkv=needs_dkv,
        needs_dtime_bias=bool(needs & 8),
        needs_dwindow_bias=bool(needs & 16),
    )
    backward = _small_window_backward if _is_small(inputs.window) else _window_backward
    dtime_sums, dwindow_sums = backward(call, launch)
    if call.needs_dtime_bias:  # (B, heads, Tq, Tk)
        summed = dtime_sums.sum(0, keepdim=True) if inputs.one_time_bias else dtime_sums
        dtime_bias = summed.contiguous()
    if call.needs_dwindow_bias:  # (heads, side, side, side, side), query then key
        side = slice(inputs.window)
        dwindow_bias = sum_by_offset(dwindow_sums[:, side, side, side, side]).contiguous()
    grads = (
        x if needs >> i & 1 else empty
        for i, (x, empty) in enumerate(zip(written, (dq, dk, dv), strict=True))
    )
    return *grads, dtime_bias, dwindow_bias


def _small_window_backward(call: Backward, launch) -> tuple[torch.Tensor | None, ...]:
    """Write dq, dk and dv; return sums for the bias gradients.

    Returns:
        (B, heads, Tq, Tk) and (heads, side, side, side, side), None where not needed.
    """
    inputs, lse = call.inputs, call.lse
    (B, Tq, *_, heads, _), Tk, area = inputs.q.shape, inputs.k.shape[1], inputs.area
    kernel = temporal_attention_small_window_bwd_kernel
    writes_dkv = call.needs_dkv and configs.writes_dkv(shape_class(kernel, inputs.q, inputs.window))
    blocks = _small_window_blocks(kernel, inputs)
    window_blocks, head_blocks = blocks["window_blocks"], triton.cdiv(heads, blocks["BH"])
    # The kernel for dk and dv reads delta.
    delta = lse if writes_dkv else torch.empty_like(lse)
    shape = (B, window_blocks, Tq, area, heads)
    dtime_bias = lse.new_empty((*shape, Tk) if call.needs_dtime_bias else (0,))
    dwindow_bias = lse.new_empty((*shape, area) if call.needs_dwindow_bias else (0,))
    arguments = call.dq_arguments(delta, writes_dkv, dtime_bias, dwindow_bias)
    launch(kernel, B * window_blocks * head_blocks * Tq * area, arguments | blocks)
    if call.needs_dkv and not writes_dkv:
        kernel = temporal_attention_small_window_bwd_dkv_kernel
        blocks = _small_window_blocks(kernel, inputs)
        programs = B * blocks["window_blocks"] * head_blocks * Tk * area
        launch(kernel, programs, call.dkv_arguments(delta) | blocks)
    dtime_sums = dwindow_sums = None
    if call.needs_dtime_bias:
        dtime_sums = dtime_bias.sum((1, 3)).transpose(1, 2)
    if call.needs_dwindow_bias:
        side = [inputs.window] * 4
        dwindow_sums = dwindow_bias.sum((0, 1, 2)).transpose(0, 1).reshape(heads, *side)
    return dtime_sums, dwindow_sums


def _window_backward(call: Backward, launch) -> tuple[torch.Tensor | None, ...]:
    """As `_small_window_backward`; the sides are those of the padded window."""
    inputs, lse = call.inputs, call.lse
    (B, Tq, *_, heads, _), Tk, windows = inputs.q.shape, inputs.k.shape[1], inputs.windows
    kernel = temporal_attention_window_bwd_kernel
    writes_dkv = call.needs_dkv and configs.writes_dkv(shape_class(kernel, inputs.q, inputs.window))
    blocks = _window_blocks(kernel, inputs, inputs.k, inputs.v, call.grad)
    side = blocks["WP"]
    frames = blocks["BM"] // side**2
    query_blocks = triton.cdiv(Tq, frames)
    delta = lse if writes_dkv else torch.empty_like(lse)
    shape = (B, windows, heads, query_blocks)
    time_shape = (*shape[:3], query_blocks * frames, Tk)
    dtime_bias = lse.new_empty(time_shape if call.needs_dtime_bias else (0,))
    dwindow_bias = lse.new_empty((*shape, *[side] * 4) if call.needs_dwindow_bias else (0,))
    arguments = call.dq_arguments(delta, writes_dkv, dtime_bias, dwindow_bias)
    arguments |= blocks | {"query_blocks": query_blocks}
    launch(kernel, B * windows * heads * query_blocks, arguments)
    if call.needs_dkv and not writes_dkv:
        kernel = temporal_attention_window_bwd_dkv_kernel
        blocks = _window_blocks(kernel, inputs, inputs.k, inputs.v, call.grad)
        query_blocks = triton.cdiv(Tq, max(1, blocks["BM"] // side**2))
        launch(
            kernel,
            B * windows * heads * Tk * (side**2 // blocks["BN"]),
            call.dkv_arguments(delta) | blocks | {"query_blocks": query_blocks},
        )
    return (
        dtime_bias.sum(1)[:, :, :Tq] if call.needs_dtime_bias else None,
        dwindow_bias.sum((0, 1, 3)) if call.needs_dwindow_bias else None,
    )


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases() -> Iterator[tuple]:
    """(label, kernel, arguments): each kernel as the presets train with it, and at its largest."""
    window, small = ("window_fwd", "window_bwd"), ("small_window_fwd", "small_window_bwd")
    for label, dtype, Tq, side, d, biases, kernels in (
        ("window 8", torch.bfloat16, 1, 8, 32, True, window),
        ("window 8", torch.float32, 1, 8, 32, True, window),
        ("window 8 among frames", torch.float16, 15, 8, 32, True, ("window_bwd_dkv",)),
        ("window 4", torch.float16, 1, 4, 32, True, window),
        ("window 2", torch.float16, 1, 2, 32, True, (*small, "small_window_bwd_dkv")),
        ("window 1", torch.bfloat16, 1, 1, 32, False, small),
    ):
        for shape, *case in launches_of(label, dtype, Tq, side, d, biases):
            if shape.kernel in kernels:
                yield tuple(case)


def exhaustive_compile_cases() -> Iterator[tuple]:
    """Every class of shapes with a config of its own, and more frames than the presets'."""
    more_frames = ((1, 32), (1, MAX_FRAMES))
    for dtype, window, d in product((torch.float16, torch.float32), (8, 4, 2, 1), CHANNELS):
        for Tq, Tk in ((1, 15), (15, 15), *(more_frames if d == 32 else ())):
            label = f"window {window}, {d} channels, {Tq} to {Tk} frames"
            for _, *case in launches_of(label, dtype, Tq, window, d, True, Tk):
                yield tuple(case)


def launches_of(
    label: str, dtype: torch.dtype, Tq: int, window: int, d: int, biases: bool, Tk: int = 15
) -> list[tuple]:
    """(shape class, label, kernel, arguments) of one forward and backward, on meta tensors."""
    B, H, W, heads = 2, 68, 120, 8
    found = []
    q, k = (torch.empty(B, T, H, W, heads, d, dtype=dtype, device="meta") for T in (Tq, Tk))

    def note(kernel, programs, arguments):
        shape = shape_class(kernel, q, window)
        direction = shape.kernel.split("window_")[1]
        name = f"{direction} {label} {str(dtype).removeprefix('torch.')}"
        found.append((shape, name, kernel, arguments))

    inputs = (
        q,
        k,
        k,
        torch.empty(B, heads, Tq, Tk, device="meta") if biases else None,
        torch.empty(heads, 2 * window - 1, 2 * window - 1, device="meta") if biases else None,
        torch.empty(B, Tk, dtype=torch.bool, device="meta") if biases else None,
        window,
        0,
        d**-0.5,
        True,
    )
    out, _, lse = temporal_attention_forward(*inputs, launch=note)
    temporal_attention_backward(out, *inputs, out, lse, 31 if biases else 7, launch=note)
    return found
