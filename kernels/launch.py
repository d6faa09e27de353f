"""Launching Triton kernels: the interpreter, dispatch keys, devices, 64-bit offsets.

Needs Triton; `lift.kernels.dispatch` imports the modules that use it where Triton exists.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
import triton
import triton.language as tl

# Triton reads TRITON_INTERPRET when it is imported. Interpreted kernels run on the CPU, slowly.
INTERPRETED: bool = triton.knobs.runtime.interpret
DISPATCH_KEYS = ("CUDA", "CPU") if INTERPRETED else ("CUDA",)
MASKED = 4096  # elements past the end of an image that a masked offset may reach

if INTERPRETED:
    from triton.runtime.interpreter import interpreter_builder

    # It would compute every integer operation again in 64 bits for assertions that it leaves out
    # without `debug`.
    interpreter_builder.options = replace(interpreter_builder.options, sanitize_overflow=False)

_forced_int64: bool | None = None
_observer: Callable[[dict], None] | None = None


def launch(kernel, programs: int, arguments: dict):
    """Launch a kernel on the device of its tensors.

    Args:
        programs: size of the one-dimensional grid.
        arguments: every parameter of the kernel by name, with num_warps and other options. A
            function stands for the tensor that it makes for this launch, on the device of a tensor.

    Returns:
        What Triton returns, the compiled kernel on a GPU.
    """
    arguments = with_scratch(arguments)
    if _observer is not None:
        _observer(arguments)
        return None
    if INTERPRETED:
        return _interpret(kernel, programs, arguments)
    with torch.cuda.device_of(_first_tensor(arguments)):  # Triton launches on the current device
        return kernel[(programs,)](**arguments)


def with_scratch(arguments: dict) -> dict:
    """Arguments of `launch` with tensors in place of the functions that make them."""
    first = _first_tensor(arguments)
    return {name: x(first) if callable(x) else x for name, x in arguments.items()}


def _first_tensor(arguments: dict) -> torch.Tensor:
    return next(x for x in arguments.values() if isinstance(x, torch.Tensor))


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Callable:
    """An argument of `launch`: memory for this launch only."""
    return lambda like: like.new_empty(shape, dtype=dtype)


def _interpret(kernel, programs: int, arguments: dict) -> None:
    """Run a kernel in the interpreter, bfloat16 tensors as float32.

    The interpreter truncates to bfloat16, where a GPU rounds to the nearest.
    """
    arguments = {name: _for_interpreter(kernel, name, x) for name, x in arguments.items()}
    wide = {}
    for name, x in arguments.items():
        if isinstance(x, torch.Tensor) and x.dtype == torch.bfloat16 and x.numel() > 0:
            size = 1 + sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True))
            memory = x.detach().as_strided((size,), (1,))  # the same strides, also those of 0
            wide[name] = x, *(memory.float().as_strided(x.shape, x.stride()) for _ in range(2))
    kernel[(programs,)](**arguments | {name: after for name, (_, _, after) in wide.items()})
    for x, before, after in wide.values():
        if not torch.equal(before, after):
            x.detach().copy_(after)


@contextmanager
def observed_launches(observer: Callable[[dict], None]) -> Iterator[None]:
    """Call `observer(arguments)` in place of every launch inside the block, to count them."""
    global _observer
    before, _observer = _observer, observer
    try:
        yield
    finally:
        _observer = before


def is_observed() -> bool:
    """Whether the next launch is only observed."""
    return _observer is not None


def _for_interpreter(kernel, name: str, value):
    """Integers as constants: range() in NumPy 2.4 refuses the arrays that Triton 3.6 makes."""
    is_constexpr = name in kernel.fn.__annotations__
    return tl.constexpr(value) if isinstance(value, int) and not is_constexpr else value


def strides(prefix: str, axes: str, x: torch.Tensor | None) -> dict[str, int]:
    """Strides as arguments of a kernel: `strides("s0", "bcyx", x)` is s0_b, s0_c, s0_y and s0_x.

    Axes of x beyond those named are left out. All are 0 for None.
    """
    values = [0] * len(axes) if x is None else x.stride()
    return {f"{prefix}_{axis}": stride for axis, stride in zip(axes, values, strict=False)}


def pixels_in_rows(x: torch.Tensor | None) -> torch.Tensor | None:
    """x (B, C, H, W) with its pixels, row by row, at one stride; a copy where they are not."""
    if x is None or x.shape[2] == 1 or x.shape[3] == 1 or x.stride(2) == x.shape[3] * x.stride(3):
        return x
    return x.contiguous()


def pixel_strides(prefix: str, axes: str, x: torch.Tensor | None) -> dict[str, int]:
    """Strides of x (B, C, H, W) as (B, C, HW), for `axes` of "bcp"."""
    if x is None:
        return {f"{prefix}_{axis}": 0 for axis in axes}
    pixel = x.stride(2) if x.shape[3] == 1 else x.stride(3)
    values = {"b": x.stride(0), "c": x.stride(1), "p": pixel}
    return {f"{prefix}_{axis}": values[axis] for axis in axes}


def needs_int64_offsets(*spans: int) -> bool:
    """Whether offsets up to these, in elements, need 64 bits."""
    return max(spans) >= 2**31 if _forced_int64 is None else _forced_int64


def forced_int64_offsets() -> bool | None:
    """What `force_int64_offsets` has set; None outside of it."""
    return _forced_int64


def image_span(x: torch.Tensor | None) -> int:
    """The largest offset within one image of x (B, C, H, W), in elements; 0 for None.

    Kernels count the images of a batch in 64 bits, so only one image matters.
    """
    if x is None:
        return 0
    return sum((n - 1) * s for n, s in zip(x.shape[1:], x.stride()[1:], strict=True)) + MASKED


@contextmanager
def force_int64_offsets(forced: bool) -> Iterator[None]:
    """Use 64-bit offsets inside the block, or 32-bit ones, whatever the sizes; for tests."""
    global _forced_int64
    before, _forced_int64 = _forced_int64, forced
    try:
        yield
    finally:
        _forced_int64 = before
