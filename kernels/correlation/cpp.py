"""Correlation in C++ (csrc/correlation*), for the CPU: threaded, vectorised over pixels, deterministic."""
import torch

from .. import extension
from ..arguments import unsuited
from .registration import attach

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

if extension.module is not None:
    attach("lift_cpp")


def reason(*arguments) -> str | None:
    """Why C++ cannot serve; arguments as `correlation` has them, none to ask about the machine."""
    if extension.module is None:
        return extension.failure
    return unsuited(arguments[0], "cpu", DTYPES) if arguments else None


def correlation(left: torch.Tensor, right: torch.Tensor, radius: int, unit: bool = False) -> torch.Tensor:
    """As `correlation_reference`."""
    return torch.ops.lift_cpp.correlation(left, right, radius, unit)
