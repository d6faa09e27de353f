"""GroupNorm of a convolution's output, a skip connection and a leaky ReLU: the definition.

With y = x + x_bias, the mean m and the variance v of y over each group of an image (C / groups
channels, all positions; v is the mean of squared deviations), the output is

    leaky_relu((y - m) / sqrt(v + eps) * weight + bias + skip, slope)

Source: Wu and He, "Group Normalization", ECCV 2018.
"""

import torch
import torch.nn.functional as F

from lift.kernels.checks import accumulate_dtype


def group_norm_reference(
    x: torch.Tensor,
    skip: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    x_bias: torch.Tensor | None,
    groups: int,
    eps: float,
    slope: float,
) -> torch.Tensor:
    """GroupNorm of x + x_bias, plus skip, and a leaky ReLU.

    Args:
        x: (B, C, H, W), any floating dtype.
        skip: (B, C, H, W), or None for 0.
        weight, bias: (C,).
        x_bias: (C,), or None for 0.
        groups: divides C.
        eps: added to the variance.
        slope: for negative values; 1 for no activation.

    Returns:
        (B, C, H, W), dtype of x; computed in float32, or float64 for float64.
    """
    dtype = accumulate_dtype(x)
    y = x.to(dtype)
    if x_bias is not None:
        y = y + x_bias.to(dtype).view(-1, 1, 1)
    if torch.is_grad_enabled() and not y.requires_grad:
        y = y.contiguous()  # PyTorch's backward crashes on channels-last y without a gradient
    weight, bias = weight.to(dtype), bias.to(dtype)
    if y.numel() == 0:  # PyTorch's gradient of the weight would be NaN
        y = y * weight.view(-1, 1, 1) + bias.view(-1, 1, 1)
    else:
        # not F.group_norm, which refuses one image with one value in each group
        y = torch.group_norm(y, groups, weight, bias, eps, torch.backends.cudnn.enabled)
    if skip is not None:
        y = y + skip
    if slope != 1:
        y = F.leaky_relu(y, slope)
    return y.to(x.dtype)


def empty_statistics(x: torch.Tensor, groups: int) -> torch.Tensor:
    """An uninitialised mean or 1 / sqrt(v + eps) of each group, (B, groups)."""
    return x.new_empty((len(x), groups), dtype=accumulate_dtype(x))
