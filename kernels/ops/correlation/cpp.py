"""Correlation in C++ (csrc/correlation*), for the CPU: threaded, vectorised over pixels,
deterministic.
"""

import torch

from lift.kernels import extension
from lift.kernels.ops.correlation.registration import attach

if extension.module is not None:
    attach("lift_cpp")

reason = extension.reason  # why C++ cannot serve


def correlation(
    left: torch.Tensor, right: torch.Tensor, radius: int, unit: bool = False
) -> torch.Tensor:
    """As `correlation_reference`."""
    return torch.ops.lift_cpp.correlation(left, right, radius, unit)
