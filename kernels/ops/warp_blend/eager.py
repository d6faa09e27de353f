"""Backward warp and visibility blend through `F.grid_sample`, as most models compute them.

Pixel coordinates are normalised and scaled back, which moves a sample by up to about W * 2^-24
pixels (0.0002 at W = 4000).
"""

import torch
import torch.nn.functional as F

from lift.kernels.ops.warp_blend.reference import blend, coordinates
from lift.kernels.ops.warp_blend.reference import sample as sample_in_gathers
from lift.kernels.transforms import in_transform


def unsupported_reason(*arguments) -> str | None:
    """The reason why `F.grid_sample` does not support arguments of `warp` or `warp_blend`."""
    if arguments and arguments[0].numel() == 0:
        return "F.grid_sample takes no empty image"
    if arguments and arguments[0].is_cuda and torch.are_deterministic_algorithms_enabled():
        return "F.grid_sample has no deterministic gradient on a GPU"
    return None


def warp_eager(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """As `warp_reference`."""
    return _sample(image.to(flow.dtype), flow).to(image.dtype)


def warp_blend_eager(
    image0: torch.Tensor,
    image1: torch.Tensor,
    flow0: torch.Tensor,
    flow1: torch.Tensor,
    occ0: torch.Tensor,
    occ1: torch.Tensor,
) -> torch.Tensor:
    """As `warp_blend_reference`."""
    dtype = flow0.dtype
    warped0, warped1 = _sample(image0.to(dtype), flow0), _sample(image1.to(dtype), flow1)
    return blend(warped0, warped1, occ0.to(dtype), occ1.to(dtype)).to(image0.dtype)


def _sample(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    if in_transform():  # which F.grid_sample does not support
        return sample_in_gathers(image, flow)
    H, W = image.shape[2:]
    x, y = coordinates(flow)  # clamped here too: grid_sample's gradient on the CPU crashes on NaN
    # A side of 1 has one coordinate, whatever the flow.
    grid = torch.stack((2 * x / max(W - 1, 1) - 1, 2 * y / max(H - 1, 1) - 1), -1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
