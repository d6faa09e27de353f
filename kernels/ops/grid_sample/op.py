"""`grid_sample`: the public function, its schema and backends."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from lift.kernels import autograd, dispatch, extension
from lift.kernels.checks import (
    ByDesign,
    accumulate_dtype,
    check_image,
    check_same,
    check_tensor,
    promote_under_autocast,
    upcast_under_autocast,
)
from lift.kernels.ops.grid_sample import cuda
from lift.kernels.ops.grid_sample.reference import (
    MODES,
    PADDING_MODES,
    grid_sample_gather,
    grid_sample_reference,
    grid_sample_value,
)

# -- the op; csrc has the same schema, with modes as numbers ---------------------------------------


def _call(namespace: str, input, grid, mode: str, padding_mode: str, align_corners: bool):
    modes = MODES.index(mode), PADDING_MODES.index(padding_mode)
    return autograd.run_op(namespace, "grid_sample", input, grid, *modes, align_corners)


def _reference(input, grid, mode: int, padding: int, align_corners: bool) -> torch.Tensor:
    return grid_sample_gather(input, grid, MODES[mode], PADDING_MODES[padding], align_corners)


def _pytorch_forward(input, grid, mode: int, padding: int, align_corners: bool) -> torch.Tensor:
    modes = MODES[mode], PADDING_MODES[padding]
    return grid_sample_value(input, grid, *modes, align_corners).contiguous()


def _flops(input, grid, mode: int, *others, **_) -> int:
    B, C = input.shape[:2]
    values = B * C * grid.shape[1] * grid.shape[2]
    return 8 * values if MODES[mode] == "bilinear" else 0


_ARGUMENTS = "Tensor input, Tensor grid, int mode, int padding, bool align_corners"
# Under autocast the op computes with what it gets; the public function casts the grid.
GRID_SAMPLE = autograd.Op(
    name="grid_sample",
    schema=f"({_ARGUMENTS}) -> Tensor",
    backward_schema=f"(Tensor grad, {_ARGUMENTS}, int needs, bool deterministic)"
    " -> (Tensor, Tensor)",
    inputs=2,
    tensors=2,
    features=1,
    fake=lambda input, grid, *modes: input.new_empty((*input.shape[:2], *grid.shape[1:3])),
    reference=_reference,
    folded=autograd.all_tensors,
    flops=_flops,
    backward_flags=lambda: (torch.are_deterministic_algorithms_enabled(),),
    call=_call,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    B, C, H, W = 2, 5, 13, 18
    input = torch.randn(B, C, H, W, generator=generator).to(dtype)
    # A quarter pixel or more from whole pixels, where a gradient jumps; some far outside.
    whole = (torch.randn(B, H, W, 2, generator=generator) * 6).round()
    size = torch.tensor([W - 1, H - 1])
    pixels = whole + 0.25 + 0.5 * torch.rand(B, H, W, 2, generator=generator) + size // 2
    return input, 2 * pixels / size - 1, "bilinear", "border", True


# -- calls for PyTorch's own -----------------------------------------------------------------------


def _torch_only(input=None, grid=None, mode: str = "bilinear", *others) -> str | None:
    """The reason why only PyTorch computes these arguments of `grid_sample`, or None."""
    if mode == "bicubic":
        return ByDesign("mode 'bicubic': bilinear or nearest only")
    if isinstance(input, torch.Tensor) and input.ndim == 5:
        return ByDesign("an input of 5 dimensions: 4 only")
    return None


def _or_torch_only(unsupported_reason: Callable[..., str | None]) -> Callable[..., str | None]:
    """`unsupported_reason` of a backend of the project's own kernels, which compute 2-D alone."""
    return lambda *arguments: _torch_only(*arguments) or unsupported_reason(*arguments)


# -- backends, the preferred first -----------------------------------------------------------------

if cuda.library is not None:  # it has the backward only: the forward is PyTorch's
    autograd.define("lift_cuda", "grid_sample" + GRID_SAMPLE.schema, _pytorch_forward, ("CUDA",))
    autograd.register_autograd("lift_cuda", GRID_SAMPLE)
dispatch.register(
    "grid_sample",
    dispatch.Backend(
        "cuda",
        GRID_SAMPLE.bind("lift_cuda"),
        _or_torch_only(cuda.unsupported_reason),
        device="cuda",
    ),
    dispatch.cpp_backend(
        GRID_SAMPLE, _or_torch_only(partial(extension.unsupported_reason, min_side=1))
    ),
    dispatch.Backend("reference", grid_sample_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def grid_sample(
    input: torch.Tensor,
    grid: torch.Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """`torch.nn.functional.grid_sample`, with its signature.

    The kernels compute images with "bilinear" and "nearest", as described here. An input of five
    dimensions, (B, C, D, H, W), and the mode "bicubic" go on to PyTorch's function, whose dtypes,
    values and errors they have, unless the flag asks for fused kernels.

    Args:
        input: (B, C, H, W), float32, float16, bfloat16 or float64; H and W at least 1.
        grid: (B, h, w, 2), x then y, -1 and 1 at the borders; float32 (float64 for a float64
            input), or input's own half dtype, cast to float32. Under autocast input and grid are
            cast as F.grid_sample's are: to the wider dtype of the two, on a CPU at least float32.
        mode: "bilinear", "nearest" or "bicubic".
        padding_mode: "zeros", "border" or "reflection".
        align_corners: whether -1 and 1 are the centres of the corner pixels (true) or their outer
            edges (false, as None).
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, C, h, w), dtype of input.

    Raises:
        TypeError, ValueError: an argument of another dtype, device, shape or value.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    if _torch_only(input, grid, mode) is not None:
        how = mode, padding_mode, bool(align_corners)
        dispatch.select("grid_sample", backend, input, grid, *how)  # raises for fused kernels
        return F.grid_sample(input, grid, *how)
    input, grid = promote_under_autocast(input, grid)
    if isinstance(input, torch.Tensor) and input.is_cpu:  # autocast runs it in float32 there
        input = upcast_under_autocast(input)
    grid = upcast_under_autocast(grid)
    check_image("grid_sample", "input", input)
    if 0 in input.shape[2:]:
        raise ValueError(f"grid_sample: input must have a pixel, got {tuple(input.shape)}")
    check_tensor("grid_sample", "grid", grid)
    if grid.dtype == input.dtype:
        grid = grid.to(accumulate_dtype(input))
    if grid.ndim != 4:
        raise ValueError(f"grid_sample: grid must be (B, h, w, 2), got {tuple(grid.shape)}")
    shape = (input.shape[0], *grid.shape[1:3], 2)
    check_same("grid_sample", "grid", grid, "input", input, shape, accumulate_dtype(input))
    if mode not in MODES:
        known = ", ".join((*MODES, "bicubic"))
        raise ValueError(f"grid_sample: mode must be one of {known}, got {mode!r}")
    if padding_mode not in PADDING_MODES:
        raise ValueError(
            f"grid_sample: padding_mode must be one of {', '.join(PADDING_MODES)}, "
            f"got {padding_mode!r}"
        )
    align_corners = bool(align_corners)
    return dispatch.call("grid_sample", backend, input, grid, mode, padding_mode, align_corners)
