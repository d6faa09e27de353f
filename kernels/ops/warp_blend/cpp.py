"""Backward warp and visibility blend in C++ (csrc/warp_blend*), for the CPU: threaded, vectorised,
deterministic.

A gradient's bits depend on neither chance nor the number of threads.
"""

import torch

from lift.kernels import extension
from lift.kernels.ops.warp_blend.registration import attach

if extension.module is not None:
    attach("lift_cpp")

reason = extension.reason  # why C++ cannot serve


def warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """As `warp_reference`."""
    return torch.ops.lift_cpp.warp(image, flow)


def warp_blend(
    image0: torch.Tensor,
    image1: torch.Tensor,
    flow0: torch.Tensor,
    flow1: torch.Tensor,
    occ0: torch.Tensor,
    occ1: torch.Tensor,
) -> torch.Tensor:
    """As `warp_blend_reference`."""
    return torch.ops.lift_cpp.warp_blend(image0, image1, flow0, flow1, occ0, occ1)
