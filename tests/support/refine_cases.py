"""Inputs of `refine_inputs` and `refine_output`."""

import torch


def references(generator: torch.Generator, batch: int, size: tuple[int, int]):
    """Two images (B, 3, H, W)."""
    return [torch.rand(batch, 3, *size, generator=generator) for _ in range(2)]


def maps(generator: torch.Generator, batch: int, size: tuple[int, int], *channels: int):
    """Random maps (B, channels, H/2, W/2); as flows they reach beyond the image."""
    half = size[0] // 2, size[1] // 2
    return [2 * torch.randn(batch, n, *half, generator=generator) for n in channels]


def residuals(generator: torch.Generator, batch: int, size: tuple[int, int], stride: int, R: int):
    """R residuals of each pixel (B, R stride^2, H/stride, W/stride), and their bias."""
    h, w = (side // stride for side in size)
    residual = torch.randn(batch, R * stride**2, h, w, generator=generator)
    return residual, torch.randn(R * stride**2, generator=generator)
