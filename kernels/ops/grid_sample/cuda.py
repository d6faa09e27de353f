"""The CUDA C++ gradients of `grid_sample`, for NVIDIA GPUs of compute capability 7.5 and newer.

`torch.use_deterministic_algorithms(True)` makes them bitwise reproducible.
"""

import torch

from lift.kernels.checks import capability, unsupported_images
from lift.kernels.extension import build_cuda

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MAX_PIXELS = 1 << 34  # of a grid: the limit of one launch

library, _failure = build_cuda.load(torch.version.cuda)


def describe() -> str:
    """One line on the library: what it was built with and for, or why there is none."""
    return f"none: {_failure}" if library is None else build_cuda.describe(library)


def unsupported_reason(*arguments) -> str | None:
    """The reason why CUDA C++ does not support arguments of `grid_sample`, or None."""
    if library is None:
        return _failure
    if not arguments:
        return None if torch.cuda.is_available() else "there is no GPU that torch can use"
    input, grid = arguments[:2]
    reason = unsupported_images(input, "cuda", DTYPES, min_side=1)
    if reason is not None:
        return reason
    if grid.shape[0] * (grid.shape[1] + 8) * (grid.shape[2] + 32) >= MAX_PIXELS:
        return f"a grid of {tuple(grid.shape[:3])} pixels: less than {MAX_PIXELS} only"
    major, minor = capability(input.device)
    if not build_cuda.supports(library, (major, minor)):
        return (
            f"the CUDA kernels were not built for compute capability {major}.{minor}; "
            f"{build_cuda.REMEDY} again"
        )
    return None
