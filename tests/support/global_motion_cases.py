"""Arguments of `global_motion`."""

import torch


def make(
    dtype: torch.dtype,
    generator: torch.Generator,
    size: tuple[int, int, int, int] = (2, 3, 4, 6),
    radius: int = 1,
) -> tuple:
    """A correlation and features (B, C, H, W) of a dtype."""
    B, _, H, W = size
    displacements = (2 * radius + 1) ** 2
    volume = torch.randn(B, displacements, H, W, generator=generator)
    left, right = (torch.randn(size, generator=generator).to(dtype) for _ in range(2))
    prior = torch.randn(displacements, generator=generator)
    t = 0.1 + 0.8 * torch.rand(B, generator=generator)
    return volume, left, right, torch.tensor(2.0), prior, t, radius, dtype
