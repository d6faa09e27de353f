"""Correlation of two feature maps over a square of displacements: the definition.

For every displacement d = (dx, dy) of whole pixels up to a radius in each direction,

    out[d](x) = left(x) . right(x + d),   0 where x + d lies outside

the inner product over the channels. With `unit`, every location's channels are scaled to length 1
first, so that results lie in [-1, 1]; channels shorter than SHORTEST are scaled as if they had that
length, so that nothing is divided by 0.

Source: the correlation layer of Dosovitskiy et al., "FlowNet", ICCV 2015, which takes the mean over
channels instead.
"""

import torch
import torch.nn.functional as F

SHORTEST = 1e-3


def correlation_reference(
    left: torch.Tensor, right: torch.Tensor, radius: int, unit: bool = False
) -> torch.Tensor:
    """Correlation over a square of displacements.

    Args:
        left, right: (B, C, H, W), any floating dtype.
        radius: pixels of the maps.
        unit: scale every location's channels to length 1 first.

    Returns:
        (B, (2 radius + 1)^2, H, W), float32 (float64 for float64), in the order of `displacements`.
    """
    left, right = widened(left), widened(right)
    if unit:
        left, right = scaled(left), scaled(right)
    return torch.stack(
        [(left * moved).sum(1) for moved in shifts(F.pad(right, [radius] * 4), radius)], 1
    )


def displacements(radius: int, device: torch.device | None = None) -> torch.Tensor:
    """((2 radius + 1)^2, 2) of dx, dy in pixels, in the order of the result's channels: rows of dy,
    dx fastest.
    """
    r = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    dy, dx = torch.meshgrid(r, r, indexing="ij")
    return torch.stack((dx, dy), -1).flatten(0, 1)


def widened(x: torch.Tensor) -> torch.Tensor:
    """x in the dtype of the arithmetic."""
    return x if x.dtype == torch.float64 else x.float()


def scaled(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) with every location's channels scaled to length 1."""
    return (
        x * (x * x).sum(1, keepdim=True).clamp(min=SHORTEST**2).rsqrt()
    )  # F.normalize is 20 times as slow on a CPU


def shifts(padded: torch.Tensor, radius: int) -> list[torch.Tensor]:
    """Views of a map padded by `radius`, one per displacement, in the order of `displacements`."""
    h, w = (n - 2 * radius for n in padded.shape[-2:])
    side = range(2 * radius + 1)
    return [padded[..., y : y + h, x : x + w] for y in side for x in side]
