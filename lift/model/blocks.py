"""Layers and small functions that several stages share."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from lift import kernels
from lift.kernels import dispatch
from lift.kernels.autograd import is_channels_last, needs_gradient
from lift.model.autocast_weights import recomputed_alike

SLOPE = 0.1  # negative slope of every leaky ReLU


def conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A same-padded convolution with Kaiming initialisation for a leaky ReLU after it."""
    return kaiming(nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2))


def kaiming(layer: nn.Conv2d) -> nn.Conv2d:
    """Initialise a convolution for a leaky ReLU after it."""
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    nn.init.zeros_(layer.bias)
    return layer


def zero_conv(c_in: int, c_out: int, kernel: int = 3) -> nn.Conv2d:
    """A zero-initialised convolution: the residual that it computes starts at 0."""
    layer = nn.Conv2d(c_in, c_out, kernel, 1, kernel // 2)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def leaky_relu_(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU in place; x must not be needed elsewhere.

    Backward saves the output, which the next convolution saves anyway.
    """
    return F.leaky_relu(x, SLOPE, inplace=True)


def conv_act(
    layer: nn.Conv2d,
    x: torch.Tensor,
    skip: torch.Tensor | None = None,
    slope: float = SLOPE,
    backend: str = "auto",
) -> torch.Tensor:
    """leaky_relu(layer(x) + upsample(skip)); where `kernels.bias_act` is fused, with it.

    On a CPU without gradients oneDNN activates, and adds a skip connection, as it convolves.

    Args:
        layer: a convolution that pads its input by half its size.
        x: (B, c, H, W), its input.
        skip: (B, C, h/k, w/k) for an output (B, C, h, w) and an integer k, or None.
        slope: of the leaky ReLU; 1 for none.
        backend: of `kernels.bias_act`.
    """
    if dispatch.select("bias_act", backend, x).fused:
        sizes = layer.stride, layer.padding, layer.dilation, layer.groups
        out = F.conv2d(x, layer.weight, None, *sizes)
        return kernels.bias_act(out, layer.bias, skip, slope, backend=backend)
    fused = _onednn_fuses(layer, x, skip)
    if skip is None:
        if slope == 1:
            return layer(x)
        if fused:
            return _onednn_conv(layer, x, "leaky_relu", [slope], "")
        return F.leaky_relu(layer(x), slope, inplace=True)
    size = [-(-n // stride) for n, stride in zip(x.shape[2:], layer.stride, strict=True)]
    if list(skip.shape[2:]) != size:
        skip = F.interpolate(skip, size, mode="bilinear", align_corners=False)
    if fused and is_channels_last(skip) and is_channels_last(x):
        out = _onednn_conv(layer, x, "add", 1.0, None, [], None, skip=skip)
    else:
        out = skip + layer(x)
    return F.leaky_relu(out, slope, inplace=True) if slope < 1 else out


def _onednn_fuses(layer: nn.Conv2d, x: torch.Tensor, skip: torch.Tensor | None) -> bool:
    """Whether PyTorch has the fused convolutions that Inductor calls, and they suit the call."""
    return (
        not torch.compiler.is_compiling()  # Inductor fuses more, and cannot trace what follows
        and type(x) is torch.Tensor  # a tensor without data has no such convolutions
        and x.device.type == "cpu"
        and all(y.dtype == x.dtype for y in (layer.weight, layer.bias, skip) if y is not None)
        and _onednn_convolves(x.dtype)
        and not needs_gradient((x, layer.weight, layer.bias, skip))
    )


def _onednn_convolves(dtype: torch.dtype) -> bool:
    """Whether this machine has oneDNN's convolutions of a dtype, and autocast asks for no other."""
    if not (
        torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    ):
        return False
    if torch.is_autocast_enabled("cpu"):
        computed_in = torch.get_autocast_dtype("cpu")
    else:
        computed_in = dtype
    if dtype == torch.bfloat16:
        return computed_in == dtype and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return computed_in == dtype == torch.float32


def _onednn_conv(layer: nn.Conv2d, x: torch.Tensor, *after, skip=None) -> torch.Tensor:
    """layer(x) and what `after` says, in the terms of Inductor: an activation, or + skip."""
    convolution = torch.ops.mkldnn._convolution_pointwise
    convolution, inputs = (convolution, (x,)) if skip is None else (convolution.binary, (x, skip))
    sizes = layer.padding, layer.stride, layer.dilation, layer.groups
    return convolution(*inputs, layer.weight, layer.bias, *sizes, *after)


def append_image(features: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Features (B, c, H, W) and a float32 image (B, 3, H, W) -> (B, c + 3, H, W).

    In the dtype and layout of the features, which the image alone would change.
    """
    if is_channels_last(features):
        image = image.to(features.dtype, memory_format=torch.channels_last)
    return torch.cat((features, image.to(features.dtype)), 1)


def upsample(x: torch.Tensor, scale: int) -> torch.Tensor:
    """Bilinear upsampling of (B, C, h, w) by an integer factor, align_corners=False."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


def avg_down(image: torch.Tensor, scale: int) -> torch.Tensor:
    """Average pooling, (B, C, H, W) -> (B, C, H/scale, W/scale)."""
    return F.avg_pool2d(image, scale)


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Disable autocast on a device, for coordinates and times.

    Half precision would round them by tenths of a pixel.
    """
    if device.type == "meta":  # has no autocast, and raises
        return nullcontext()
    if torch.compiler.is_exporting() and not torch.is_autocast_enabled(device.type):
        return nullcontext()  # a program with the context would be bound to the device
    return torch.autocast(device.type, enabled=False)


class PointwiseConv(nn.Conv2d):
    """A 1 x 1 convolution; where kernels are fused, a linear layer over channels-last pixels.

    A GPU adds the bias of a linear layer in the launch of the matrix product, that of a convolution
    in a launch of its own.
    """

    cast_by_autocast = ("weight", "bias")

    def __init__(self, c_in: int, c_out: int, backend: str = "auto"):
        super().__init__(c_in, c_out, 1)
        self.backend = backend

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not dispatch.select("bias_act", self.backend, x).fused:
            return super().forward(x)
        return F.linear(x.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(-1, 1)


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
    options = {"use_reentrant": False, "preserve_rng_state": False}
    return checkpoint(function, *inputs, **options, **recomputed_alike())


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a skip connection, (B, C, H, W) -> (B, C, H, W).

    Args:
        channels: C.
        norm: add GroupNorm after each convolution.
        backend: of the kernels.
    """

    def __init__(self, channels: int, norm: bool = False, backend: str = "auto"):
        super().__init__()
        self.norm, self.backend = norm, backend
        self.conv1 = conv(channels, channels)
        self.conv2 = conv(channels, channels)
        self.norm1 = nn.GroupNorm(group_count(channels), channels) if norm else nn.Identity()
        self.norm2 = nn.GroupNorm(group_count(channels), channels) if norm else nn.Identity()
        with torch.no_grad():  # small residuals keep the variance of deep stacks bounded
            self.conv2.weight.mul_(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.norm:
            return self._with_norm(x)
        y = conv_act(self.conv1, x, backend=self.backend)
        return conv_act(self.conv2, y, x, backend=self.backend)

    def _with_norm(self, x: torch.Tensor) -> torch.Tensor:
        backend = dispatch.select("group_norm", self.backend, x)
        if not backend.fused:
            y = leaky_relu_(self.norm1(self.conv1(x)))
            return leaky_relu_(x + self.norm2(self.conv2(y)))
        y = F.conv2d(x, self.conv1.weight, None, padding=1)
        # The norm saves its input for backward, which computes its output again; on a CPU, where
        # that takes time and memory is not short, both are saved, still less than layers save.
        inputs = self._norm_and_conv, y, self.conv2.weight
        recompute = torch.is_grad_enabled() and backend.name != "cpp"
        y = checkpointed(*inputs) if recompute else self._norm_and_conv(*inputs[1:])
        return self._norm_act(self.norm2, y, self.conv2.bias, x)

    def _norm_and_conv(self, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.conv2d(self._norm_act(self.norm1, y, self.conv1.bias), weight, None, padding=1)

    def _norm_act(self, norm: nn.GroupNorm, y, bias, skip=None) -> torch.Tensor:
        parameters = norm.weight, norm.bias, norm.num_groups, norm.eps
        return kernels.group_norm(y, *parameters, bias, skip, SLOPE, backend=self.backend)
