"""Correlation of two feature maps over a square of displacements: the definition.

For every displacement d = (dx, dy) of whole pixels up to a radius in each direction,

    out[d](x) = fmap0(x) . fmap1(x + d),   0 where x + d lies outside

the inner product over the channels. With `normalize`, the channels of every location are first
scaled to norm 1, so that outputs lie in [-1, 1]; a norm below EPS counts as EPS.

Source: the correlation layer of Dosovitskiy et al., "FlowNet", ICCV 2015, which takes the mean over
channels instead.
"""

import torch
import torch.nn.functional as F

from lift.kernels.checks import accumulate_dtype

EPS = 1e-3
HUGE = 1e15  # up to here no sum of squares overflows float32


def correlation_reference(
    fmap0: torch.Tensor, fmap1: torch.Tensor, radius: int, normalize: bool = False
) -> torch.Tensor:
    """Correlation over a square of displacements.

    Args:
        fmap0, fmap1: (B, C, H, W), any floating dtype.
        radius: pixels of the maps.
        normalize: first scale the channels of every location to norm 1.

    Returns:
        (B, (2 radius + 1)^2, H, W), float32 (float64 for float64), in the order of `displacements`.
    """
    fmap0, fmap1 = to_accumulate_dtype(fmap0), to_accumulate_dtype(fmap1)
    if normalize:
        fmap0, fmap1 = l2_normalize(fmap0), l2_normalize(fmap1)
    shifted = shifted_views(F.pad(fmap1, [radius] * 4), radius)
    return torch.stack([(fmap0 * view).sum(1) for view in shifted], 1)


def empty_output(fmap0: torch.Tensor, radius: int) -> torch.Tensor:
    """The uninitialised output, (B, (2 radius + 1)^2, H, W), contiguous."""
    B, _, H, W = fmap0.shape
    return fmap0.new_empty((B, (2 * radius + 1) ** 2, H, W), dtype=accumulate_dtype(fmap0))


def displacements(radius: int, device: torch.device | None = None) -> torch.Tensor:
    """Displacements ((2 radius + 1)^2, 2), dx then dy in pixels, in the order of the output.

    The output's channels are rows of dy, dx fastest.
    """
    r = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    dy, dx = torch.meshgrid(r, r, indexing="ij")
    return torch.stack((dx, dy), -1).flatten(0, 1)


def to_accumulate_dtype(x: torch.Tensor) -> torch.Tensor:
    """x in float32, or float64 if it is float64."""
    return x.to(accumulate_dtype(x))


def l2_normalize(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) with the channels of every location scaled to norm 1."""
    if x.shape[1] == 0:
        return x
    # Of a huge vector the square would overflow: its direction is that of a smaller one.
    largest = x.detach().abs().amax(1, keepdim=True)
    huge = (largest > HUGE) & (largest < torch.inf)
    x = x / torch.where(huge, largest, 1)
    # Written out: F.normalize is slow on contiguous maps on a CPU.
    return x * (x * x).sum(1, keepdim=True).clamp(min=EPS**2).rsqrt()


def shifted_views(padded: torch.Tensor, radius: int) -> list[torch.Tensor]:
    """Views of a map padded by `radius`, one per displacement, in the order of `displacements`."""
    h, w = (n - 2 * radius for n in padded.shape[-2:])
    side = range(2 * radius + 1)
    return [padded[..., y : y + h, x : x + w] for y in side for x in side]
