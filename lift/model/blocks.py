"""Layers and small functions that several stages share."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

SLOPE = 0.1  # negative slope of every leaky ReLU


def conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A same-padded convolution with Kaiming initialisation for a leaky ReLU after it."""
    layer = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2)
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    nn.init.zeros_(layer.bias)
    return layer


def zero_conv(c_in: int, c_out: int, kernel: int = 3) -> nn.Conv2d:
    """A zero-initialised convolution: the residual that it computes starts at 0."""
    layer = nn.Conv2d(c_in, c_out, kernel, 1, kernel // 2)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def conv_unshuffled(layer: nn.Conv2d, images: list[torch.Tensor], rest: torch.Tensor, factor: int):
    """`layer` over images after `pixel_unshuffle`, and over `rest` of that resolution.

    On a CPU, without gradients, the images are not unshuffled and copied: strided convolutions with
    the same weights read them as they are.

    Args:
        layer: a 3 x 3 convolution.
        images: (B, C, H, W) each, the first channels of its input.
        rest: (B, c, H/factor, W/factor), the last ones.
        factor: of `pixel_unshuffle`.
    """
    if factor == 1 or rest.device.type != "cpu" or torch.is_grad_enabled():
        images = torch.cat(images, 1)
        images = F.pixel_unshuffle(images, factor) if factor > 1 else images
        return layer(torch.cat((images, rest), 1))
    *weights, weight = layer.weight.split(
        [factor**2 * x.shape[1] for x in images] + [rest.shape[1]], 1
    )
    out = F.conv2d(rest, weight, layer.bias, padding=1)
    for image, weight in zip(images, weights, strict=True):
        # pixel (dy, dx) of the block that a 3 x 3 kernel's row ky and column kx read lies at
        # factor * ky + dy and factor * kx + dx of the block's own kernel
        weight = weight.unflatten(1, (image.shape[1], factor, factor)).permute(0, 1, 4, 2, 5, 3)
        weight = weight.reshape(len(weight), image.shape[1], 3 * factor, 3 * factor)
        out += F.conv2d(image, weight, stride=factor, padding=factor)
    return out


def leaky_relu_(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU in place; x must not be needed elsewhere.

    Backward saves the output, which the next convolution saves anyway.
    """
    return F.leaky_relu(x, SLOPE, inplace=True)


def upsample(x: torch.Tensor, scale: int) -> torch.Tensor:
    """Bilinear upsampling of (B, C, h, w) by an integer factor, align_corners=False."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


def avg_down(image: torch.Tensor, scale: int) -> torch.Tensor:
    """Average pooling, (B, C, H, W) -> (B, C, H/scale, W/scale)."""
    return F.avg_pool2d(image, scale)


def broadcast_map(t: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """One value per sample, (B,), as a map (B, 1, h, w) of the size and dtype of `like`."""
    return t.view(-1, 1, 1, 1).to(like.dtype).expand(-1, 1, *like.shape[-2:])


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Disable autocast on a device, for coordinates and times.

    Half precision would round them by tenths of a pixel.
    """
    if device.type == "meta":  # has no autocast, and raises
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


class PreciseLinear(nn.Linear):
    """A linear layer that ignores autocast and computes in the dtype of its weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with without_autocast(x.device):
            return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


def group_count(channels: int) -> int:
    """Number of groups of a GroupNorm: the largest of 8, 4, 2, 1 that divides the channels."""
    return next(g for g in (8, 4, 2, 1) if channels % g == 0)


def checkpointed(function: Callable, *inputs: torch.Tensor):
    """Activation checkpointing: save only the inputs for backward, which recomputes the rest.

    For functions without randomness. (Chen et al., "Training Deep Nets with Sublinear Memory
    Cost", 2016.)
    """
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a skip connection, (B, C, H, W) -> (B, C, H, W).

    Args:
        channels: C.
        norm: add GroupNorm after each convolution.
    """

    def __init__(self, channels: int, norm: bool = False):
        super().__init__()
        self.conv1 = conv(channels, channels)
        self.conv2 = conv(channels, channels)
        self.norm1 = nn.GroupNorm(group_count(channels), channels) if norm else nn.Identity()
        self.norm2 = nn.GroupNorm(group_count(channels), channels) if norm else nn.Identity()
        with torch.no_grad():  # small residuals keep the variance of deep stacks bounded
            self.conv2.weight.mul_(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = leaky_relu_(self.norm1(self.conv1(x)))
        return leaky_relu_(x + self.norm2(self.conv2(y)))
