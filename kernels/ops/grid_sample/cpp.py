"""Grid sampling and its gradients in C++ (csrc/grid_sample*), for the CPU: threaded, vectorised,
deterministic.

A gradient's bits depend on neither chance nor the number of threads.
"""

import torch

from lift.kernels import extension
from lift.kernels.ops.grid_sample.registration import attach, call

if extension.module is not None:
    _library = attach("lift_cpp")


def reason(*arguments) -> str | None:
    """Why C++ cannot serve; arguments as `grid_sample_reference` has them, none to ask about the
    machine.
    """
    return extension.reason(*arguments, shortest_side=1)


def grid_sample(
    input: torch.Tensor, grid: torch.Tensor, mode: str, padding_mode: str, align_corners: bool
) -> torch.Tensor:
    """As `grid_sample_reference`."""
    return call("lift_cpp", input, grid, mode, padding_mode, align_corners)
