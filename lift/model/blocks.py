"""The convolutions all stages are made of."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

SLOPE = 0.1  # of every leaky ReLU


def conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A same-size (or halved) convolution, initialised for a leaky ReLU behind it."""
    layer = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2)
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    nn.init.zeros_(layer.bias)
    return layer


def zero_conv(c_in: int, c_out: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution that answers 0 until it is trained, so that what it corrects starts unchanged."""
    layer = nn.Conv2d(c_in, c_out, kernel, 1, kernel // 2)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def activate(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU in the place of x, which nothing else may need: backward keeps the result, as the
    convolution behind it does anyway.
    """
    return F.leaky_relu(x, SLOPE, inplace=True)


def resize(x: torch.Tensor, scale: int) -> torch.Tensor:
    """Bilinear enlargement of (B, C, h, w) by a whole factor, pixel areas aligned."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Operations inside compute in the dtype that they are given: for coordinates and times, whose
    values half precision rounds by tenths of a pixel."""
    if device.type == "meta":  # has no autocast, and raises
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


class PreciseLinear(nn.Linear):
    """A linear layer that computes in the dtype of its weights under autocast too: for times."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with without_autocast(x.device):
            return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


def area(image: torch.Tensor, scale: int) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, H/scale, W/scale), the mean over each cell."""
    return F.avg_pool2d(image, scale)


def groups(channels: int) -> int:
    """Group count of a GroupNorm: the largest of 8, 4, 2, 1 that divides the channels."""
    return next(g for g in (8, 4, 2, 1) if channels % g == 0)


def recomputed(function: Callable, *inputs: torch.Tensor):
    """function(*inputs), keeping only the inputs for backward, which computes the rest once more.
    (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.) For functions without
    randomness."""
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a skip, (B, C, H, W) -> (B, C, H, W); with GroupNorm where `norm` is
    set.
    """

    def __init__(self, channels: int, norm: bool = False):
        super().__init__()
        self.conv1 = conv(channels, channels)
        self.conv2 = conv(channels, channels)
        self.norm1 = nn.GroupNorm(groups(channels), channels) if norm else nn.Identity()
        self.norm2 = nn.GroupNorm(groups(channels), channels) if norm else nn.Identity()
        with torch.no_grad():
            self.conv2.weight.mul_(
                0.5
            )  # residuals start small: the variance of deep stacks stays bounded

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = activate(self.norm1(self.conv1(x)))
        return activate(x + self.norm2(self.conv2(y)))
