"""Correlation of two feature maps over a square of displacements."""
import torch
import torch.nn.functional as F


def unit(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) with every location's channels scaled to length 1, float32."""
    return F.normalize(x.float(), dim=1, eps=1e-3)


def displacements(radius: int, device: torch.device | None = None) -> torch.Tensor:
    """((2r + 1)^2, 2) of dx, dy, in the order `correlate` uses: rows of dy, dx fastest."""
    r = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    dy, dx = torch.meshgrid(r, r, indexing="ij")
    return torch.stack((dx, dy), -1).flatten(0, 1)


def correlate(a: torch.Tensor, b: torch.Tensor, radius: int) -> torch.Tensor:
    """Inner products of a(x) with b(x + d) for every displacement d up to `radius`.

    Args:
        a, b: (B, C, H, W), usually of unit length, so that results lie in [-1, 1].
        radius: pixels of this scale.

    Returns:
        (B, (2 * radius + 1)^2, H, W); 0 where x + d lies outside. No tensor of C channels per displacement is kept for backward.
    """
    h, w = a.shape[-2:]
    b = F.pad(b, [radius] * 4)
    side = 2 * radius + 1
    return torch.stack([(a * b[..., y:y + h, x:x + w]).sum(1) for y in range(side) for x in range(side)], 1)
