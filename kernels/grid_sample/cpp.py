"""The gradients of grid sampling in C++ (csrc/grid_sample*), for the CPU: threaded, vectorised, deterministic.

A gradient's bits depend on neither chance nor the number of threads.
"""
import torch

from .. import extension
from ..warp_blend.cpp import DTYPES, LONGEST_SIDE
from .registration import attach, call

if extension.module is not None:
    _library = attach("lift_cpp", "CPU")


def reason(*arguments) -> str | None:
    """Why C++ cannot serve; arguments as `grid_sample_reference` has them, none to ask about the machine."""
    if extension.module is None:
        return extension.failure
    if not arguments:
        return None
    input = arguments[0]
    if input.device.type != "cpu":
        return f"the tensors are on {input.device.type}, not on the CPU"
    if input.dtype not in DTYPES:
        return f"an input of {str(input.dtype).removeprefix('torch.')}: float32, float64, float16 or bfloat16 only"
    if not 0 < min(input.shape[2:]) <= max(input.shape[2:]) <= LONGEST_SIDE:
        return f"an input of {input.shape[2]} x {input.shape[3]} pixels: sides from 1 to {LONGEST_SIDE} only"
    return None


def grid_sample(input: torch.Tensor, grid: torch.Tensor, mode: str, padding_mode: str, align_corners: bool) -> torch.Tensor:
    """As `grid_sample_reference`."""
    return call("lift_cpp", input, grid, mode, padding_mode, align_corners)
