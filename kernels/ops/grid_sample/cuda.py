"""The gradients of grid sampling in CUDA C++ (csrc/cuda/grid_sample*), for NVIDIA GPUs of compute
capability 7.5 and newer.

`torch.use_deterministic_algorithms(True)` makes them the same to the bit from run to run.
"""

import torch

from lift.kernels.checks import capability, unsuited
from lift.kernels.extension import build_cuda as extension
from lift.kernels.ops.grid_sample.registration import attach, call

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MOST_PIXELS = 1 << 34  # of a grid: what one launch takes

_build, _failure = extension.load(torch.version.cuda)
if _build is not None:
    _library = attach("lift_cuda", "CUDA")


def describe() -> str:
    """One line on the library: what it was built with and for, or why there is none."""
    return f"none: {_failure}" if _build is None else extension.describe(_build)


def reason(*arguments) -> str | None:
    """Why CUDA C++ cannot serve; arguments as `grid_sample_reference` has them, none to ask about
    the machine.
    """
    if _build is None:
        return _failure
    if not arguments:
        return None if torch.cuda.is_available() else "there is no GPU that torch can use"
    input, grid = arguments[:2]
    unfit = unsuited(input, "cuda", DTYPES, shortest_side=1)
    if unfit is not None:
        return unfit
    if grid.shape[0] * (grid.shape[1] + 8) * (grid.shape[2] + 32) >= MOST_PIXELS:
        return f"a grid of {tuple(grid.shape[:3])} pixels: less than {MOST_PIXELS} only"
    major, minor = capability(input.device)
    if not extension.serves(_build, (major, minor)):
        return f"the CUDA kernels were not built for compute capability {major}.{minor}; {extension.REMEDY} again"
    return None


def grid_sample(
    input: torch.Tensor, grid: torch.Tensor, mode: str, padding_mode: str, align_corners: bool
) -> torch.Tensor:
    """As `grid_sample_reference`."""
    return call("lift_cuda", input, grid, mode, padding_mode, align_corners)
