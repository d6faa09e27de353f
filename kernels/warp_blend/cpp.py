"""Backward warp and visibility blend in C++ (csrc/warp_blend*), for the CPU: threaded, vectorised, deterministic.

A gradient's bits depend on neither chance nor the number of threads.
"""
import torch

from .. import extension
from ..arguments import unsuited
from .registration import attach

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

if extension.module is not None:
    attach("lift_cpp")


def reason(*arguments) -> str | None:
    """Why C++ cannot serve; arguments as `warp` or `warp_blend` have them, none to ask about the machine."""
    if extension.module is None:
        return extension.failure
    return unsuited(arguments[0], "cpu", DTYPES) if arguments else None


def warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """As `warp_reference`."""
    return torch.ops.lift_cpp.warp(image, flow)


def warp_blend(image0: torch.Tensor, image1: torch.Tensor, flow0: torch.Tensor, flow1: torch.Tensor,
               occ0: torch.Tensor, occ1: torch.Tensor) -> torch.Tensor:
    """As `warp_blend_reference`."""
    return torch.ops.lift_cpp.warp_blend(image0, image1, flow0, flow1, occ0, occ1)
