"""Pixel shuffle and its inverse, also of empty batches."""

import torch
import torch.nn.functional as F


def pixel_shuffle(x: torch.Tensor, factor: int) -> torch.Tensor:
    """`F.pixel_shuffle`, (B, C factor^2, h, w) -> (B, C, factor h, factor w)."""
    if x.numel():
        return F.pixel_shuffle(x, factor)
    B, C, h, w = x.shape  # PyTorch's has no gradient of an empty batch
    return x.reshape(B, C // factor**2, h * factor, w * factor)


def pixel_unshuffle(x: torch.Tensor, factor: int) -> torch.Tensor:
    """`F.pixel_unshuffle`, (B, C, factor h, factor w) -> (B, C factor^2, h, w)."""
    if x.numel():
        return F.pixel_unshuffle(x, factor)
    B, C, H, W = x.shape  # PyTorch's returns another shape
    return x.reshape(B, C * factor**2, H // factor, W // factor)
