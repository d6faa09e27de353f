"""Launches of the Triton kernels of `temporal_attention`.

Windows of 1 and 2 pixels are summed in registers (triton_small_window.py), larger ones are products
of blocks (triton_window.py); triton_arguments.py has their arguments, configs.py the block sizes.
The kernels read (B, T, H, W, heads, d) in place by its strides; the last must be 1, or a contiguous
copy is made. They write partial sums of the frame weights and of the bias gradients, one per
program, which `torch.sum` adds: no atomics, the same bits every time.
"""

from collections.abc import Callable, Iterator
from itertools import product

import torch

from lift.kernels.autograd import empty_grads
from lift.kernels.checks import TRITON_DTYPES, capability
from lift.kernels.launch import (
    DISPATCH_KEYS,  # noqa: F401  for dispatch
    INTERPRETED,
)
from lift.kernels.launch_memory import launch_again
from lift.kernels.ops.temporal_attention import configs
from lift.kernels.ops.temporal_attention.reference import sum_by_offset
from lift.kernels.ops.temporal_attention.triton_arguments import (
    MAX_WINDOW,
    Backward,
    Inputs,
    blocks_of,
    ceil_div,
    is_small,
    last_contiguous,
    shape_class,
    small_window_dkv_arguments,
    small_window_dq_arguments,
    small_window_forward_arguments,
    small_window_programs,
    window_dkv_arguments,
    window_dq_arguments,
    window_forward_arguments,
)
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

MAX_FRAMES = 64  # of keys: the mask is the bits of one integer
MAX_CHANNELS = 128  # per head
# Per head in windows above 2 on a GPU, for want of registers: in float32, and before sm_80.
MAX_FLOAT32_CHANNELS = 64
OLD_GPU_CHANNELS = (16, 32, 64)


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `temporal_attention`, or None."""
    on_gpu = bool(arguments) and arguments[0].is_cuda  # then the query is needless
    if not on_gpu and not INTERPRETED and not torch.cuda.is_available():
        return "no CUDA device"
    if not arguments:
        return None
    q, k, _, window = arguments[:4]
    if not q.is_cuda and not (INTERPRETED and q.device.type == "cpu"):
        return f"the tensors are on {q.device.type}, not on a CUDA device"
    if q.dtype not in TRITON_DTYPES:
        dtype = str(q.dtype).removeprefix("torch.")
        return f"queries of {dtype}: float32, float16 or bfloat16 only"
    has_products = not q.is_cuda or q.dtype != torch.bfloat16 or is_small(window)
    if not has_products and capability(q.device) < (8, 0):
        return (
            "a GPU before compute capability 8.0, which has no products of bfloat16: "
            "float16 or float32 only"
        )
    if q.shape[-1] > MAX_CHANNELS:
        return f"{q.shape[-1]} channels a head: at most {MAX_CHANNELS}"
    if q.is_cuda and not is_small(window):
        if q.shape[-1] > MAX_FLOAT32_CHANNELS and q.dtype == torch.float32:
            return (
                f"{q.shape[-1]} channels a head in float32: at most {MAX_FLOAT32_CHANNELS} for "
                f"windows above 2; float16 and bfloat16 have {MAX_CHANNELS}"
            )
        if q.shape[-1] not in OLD_GPU_CHANNELS and capability(q.device) < (8, 0):
            return (
                f"{q.shape[-1]} channels a head on a GPU before compute capability 8.0: "
                f"{', '.join(map(str, OLD_GPU_CHANNELS))} only for windows above 2"
            )
    if window > MAX_WINDOW:
        return f"a window of {window}: at most {MAX_WINDOW}"
    if k.shape[1] > MAX_FRAMES:
        return f"{k.shape[1]} frames of keys: at most {MAX_FRAMES}"
    return None


# -- forward ---------------------------------------------------------------------------------------


def temporal_attention_forward(*arguments, launch: Callable = launch_again):
    """The output, the frame weights (empty where not wanted) and each row's log-sum-exp, base 2.

    Args:
        arguments: as in `Inputs`, then whether the frame weights are wanted.
        launch: called as `launch_again`.
    """
    *arguments, with_frame_weights = arguments
    inputs = Inputs.of(*arguments)
    B, Tq, H, W, heads, _ = inputs.q.shape
    out = inputs.q.new_empty(inputs.q.shape)
    lse = inputs.q.new_empty((B, Tq, H, W, heads), dtype=torch.float32)
    if out.numel() == 0:
        shape = (B, Tq, inputs.k.shape[1]) if with_frame_weights else (0,)
        return out, lse.new_zeros(shape), lse
    forward = _small_window_forward if is_small(inputs.window) else _window_forward
    sums = forward(inputs, out, lse, with_frame_weights, launch)
    return out, lse.new_empty((0,)) if sums is None else sums / (heads * H * W), lse


def _small_window_forward(inputs: Inputs, out, lse, weights: bool, launch) -> torch.Tensor | None:
    """Write out and lse; return the frame weights (B, Tq, Tk), summed over positions and heads."""
    kernel = temporal_attention_small_window_fwd_kernel
    (B, Tq, *_), Tk, area = inputs.q.shape, inputs.k.shape[1], inputs.area
    blocks, frame_weights = blocks_of(kernel, inputs), None
    if weights:
        programs = small_window_programs(inputs, blocks) // area
        frame_weights = lse.new_empty((B, programs, Tq, area, Tk))
    written = (out, lse, frame_weights)
    launch(kernel, small_window_forward_arguments, inputs, *written, blocks)
    return frame_weights.sum((1, 3)) if weights else None


def _window_forward(inputs: Inputs, out, lse, weights: bool, launch) -> torch.Tensor | None:
    """As `_small_window_forward`."""
    kernel = temporal_attention_window_fwd_kernel
    (B, Tq, *_, heads, _), Tk, windows = inputs.q.shape, inputs.k.shape[1], inputs.windows
    blocks = blocks_of(kernel, inputs)
    frames = blocks["BM"] // blocks["WP"] ** 2
    query_blocks = ceil_div(Tq, frames)
    rows = query_blocks * frames
    frame_weights = lse.new_empty((B, windows * heads, rows, Tk)) if weights else None
    written = (out, lse, frame_weights, query_blocks)
    launch(kernel, window_forward_arguments, inputs, *written, blocks)
    return frame_weights.sum(1)[:, :Tq] if weights else None


# -- backward --------------------------------------------------------------------------------------


def temporal_attention_backward(grad, *arguments, launch: Callable = launch_again):
    """The gradients of q, k, v, time_bias and window_bias.

    Args:
        arguments: as in the forward, then the output, the rows' log-sum-exp and `needs`.
        launch: called as `launch_again`.
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
        last_contiguous(grad),
        out,
        lse,
        *written,
        needs_dkv=needs_dkv,
        needs_dtime_bias=bool(needs & 8),
        needs_dwindow_bias=bool(needs & 16),
    )
    backward = _small_window_backward if is_small(inputs.window) else _window_backward
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
    blocks = blocks_of(kernel, inputs)
    # The kernel for dk and dv reads delta.
    delta = lse if writes_dkv else torch.empty_like(lse)
    shape = (B, blocks["window_blocks"], Tq, area, heads)
    dtime_bias = lse.new_empty((*shape, Tk) if call.needs_dtime_bias else (0,))
    dwindow_bias = lse.new_empty((*shape, area) if call.needs_dwindow_bias else (0,))
    written = (delta, writes_dkv, dtime_bias, dwindow_bias)
    launch(kernel, small_window_dq_arguments, call, *written, blocks)
    if call.needs_dkv and not writes_dkv:
        kernel = temporal_attention_small_window_bwd_dkv_kernel
        blocks = blocks_of(kernel, inputs)
        launch(kernel, small_window_dkv_arguments, call, delta, blocks)
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
    blocks = blocks_of(kernel, inputs)
    side = blocks["WP"]
    frames = blocks["BM"] // side**2
    query_blocks = ceil_div(Tq, frames)
    delta = lse if writes_dkv else torch.empty_like(lse)
    shape = (B, windows, heads, query_blocks)
    time_shape = (*shape[:3], query_blocks * frames, Tk)
    dtime_bias = lse.new_empty(time_shape if call.needs_dtime_bias else (0,))
    dwindow_bias = lse.new_empty((*shape, *[side] * 4) if call.needs_dwindow_bias else (0,))
    written = (delta, writes_dkv, dtime_bias, dwindow_bias, query_blocks)
    launch(kernel, window_dq_arguments, call, *written, blocks)
    if call.needs_dkv and not writes_dkv:
        kernel = temporal_attention_window_bwd_dkv_kernel
        blocks = blocks_of(kernel, inputs)
        launch(kernel, window_dkv_arguments, call, delta, blocks)
    return (
        dtime_bias.sum(1)[:, :, :Tq] if call.needs_dtime_bias else None,
        dwindow_bias.sum((0, 1, 3)) if call.needs_dwindow_bias else None,
    )


# -- ahead-of-time compilation ---------------------------------------------------------------------


def runs_on(architecture: int, arguments: dict) -> bool:
    """Whether a GPU of this compute capability, 75 for 7.5, can be asked for a launch."""
    is_old = architecture < 80 and not is_small(arguments["WINDOW"])
    return not is_old or arguments["D"] in OLD_GPU_CHANNELS


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
        ("window 8, 24 channels", torch.float16, 1, 8, 24, True, window[1:]),
        ("window 8, 128 channels", torch.bfloat16, 1, 8, 128, True, window),
    ):
        for shape, *case in launches_of(label, dtype, Tq, side, d, biases):
            if shape.kernel in kernels:
                yield tuple(case)


def exhaustive_compile_cases() -> Iterator[tuple]:
    """Every class of shapes with a config of its own, and more frames than the presets'."""
    more_frames = ((1, 32), (1, MAX_FRAMES))
    dtypes = torch.float16, torch.float32
    for dtype, window, d in product(dtypes, (8, 4, 2, 1), (*configs.D, 48)):
        if dtype == torch.float32 and d > MAX_FLOAT32_CHANNELS and not is_small(window):
            continue
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

    def note(kernel, arguments_of, *inputs):
        _, arguments = arguments_of(*inputs)
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
