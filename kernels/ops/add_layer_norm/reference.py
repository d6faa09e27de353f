"""A sum of two tensors, and its layer normalization: the definition.

    s = x + y,    normed = (s - mean) / sqrt(variance + eps) * weight + bias

Mean and variance are those of the last dimension, the variance without Bessel's correction (Ba et
al., "Layer Normalization", 2016). In a transformer s is the residual stream after a layer and
`normed` is what the next layer reads. The sum is rounded to the dtype of x before it is normalized;
statistics and products are float32 (float64 for float64).
"""

import torch
import torch.nn.functional as F

from lift.kernels.checks import accumulate_dtype


def add_layer_norm_reference(
    x: torch.Tensor,
    y: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A sum of two tensors, and its layer normalization.

    Args:
        x: (..., C), any floating dtype.
        y: dtype of x, of a shape that broadcasts to that of x; None for zeros.
        weight, bias: (C,), any floating dtype.
        eps: added to the variance.
        dtype: of the normalized sum.

    Returns:
        The normalized sum in `dtype`, and the sum in the dtype of x, each of the shape of x.
    """
    s = x if y is None else x + y
    precise = accumulate_dtype(x)
    normed = F.layer_norm(s.to(precise), s.shape[-1:], weight.to(precise), bias.to(precise), eps)
    return normed.to(dtype), s
