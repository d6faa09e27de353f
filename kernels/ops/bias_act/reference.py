"""Bias, skip connection and leaky ReLU after a convolution: the definition.

    out = leaky_relu(x + bias + upsample(skip))

A skip connection of a lower resolution is first upsampled bilinearly, as
`F.interpolate(align_corners=False)` does. A skip connection in float32 at full resolution is a
state that the convolution updates, so the output is float32 too.
"""

import torch
import torch.nn.functional as F

from lift.kernels.autograd import empty_like_layout
from lift.kernels.checks import accumulate_dtype


def bias_act_reference(
    x: torch.Tensor,
    bias: torch.Tensor | None = None,
    skip: torch.Tensor | None = None,
    slope: float = 0.1,
) -> torch.Tensor:
    """Bias, skip connection and leaky ReLU.

    Args:
        x: (B, C, H, W), any floating dtype.
        bias: (C,), or None.
        skip: (B, C, H/k, W/k) with an integer k, or None.
        slope: of the leaky ReLU; 1 for none.

    Returns:
        (B, C, H, W), dtype of x, or of a float32 skip at full resolution.
    """
    dtype = accumulate_dtype(x)
    out = x.to(dtype)
    if bias is not None:
        out = out + bias.to(dtype).view(-1, 1, 1)
    if skip is not None:
        skip_up = skip.to(dtype)
        if skip.shape != x.shape:
            size = x.shape[2:]
            skip_up = F.interpolate(skip_up, size, mode="bilinear", align_corners=False)
        # A sum has the layout of its first term.
        out = skip_up + out if like(x, skip) is skip else out + skip_up
    if slope < 1:
        out = F.leaky_relu(out, slope)
    return out.to(like(x, skip).dtype)


def upsampling(x: torch.Tensor, skip: torch.Tensor | None) -> int:
    """The factor from the resolution of skip to that of x; 0 without skip."""
    return 0 if skip is None else x.shape[2] // max(skip.shape[2], 1)


def like(x: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
    """The argument whose dtype and layout the output has."""
    state = skip is not None and skip.shape == x.shape and skip.dtype == accumulate_dtype(x)
    return skip if state else x


def empty_output(x: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
    """The uninitialised output, (B, C, H, W)."""
    return empty_like_layout(like(x, skip))


def empty_grads(
    grad: torch.Tensor,
    dtype: torch.dtype,
    last: bool,
    factor: int,
    skip_dtype: torch.dtype,
    skip_last: bool,
    needs: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Uninitialised gradients of x, bias (float32) and skip; (0,) for those not needed.

    Args:
        grad: (B, C, H, W), of the output.
        dtype, last: of the gradient of x: whether it is channels-last.
        factor: from the resolution of skip to that of x.
        skip_dtype, skip_last: as dtype and last, of skip.
        needs: bit i is set where gradient i is needed.
    """
    B, C, H, W = grad.shape
    small = (B, C, H // max(factor, 1), W // max(factor, 1))
    float32 = accumulate_dtype(grad)

    def empty(i: int, size: tuple[int, ...], dtype: torch.dtype, last: bool) -> torch.Tensor:
        layout = torch.channels_last if last else torch.contiguous_format
        if not needs >> i & 1:
            return grad.new_empty((0,), dtype=dtype)
        return torch.empty(size, dtype=dtype, device=grad.device, memory_format=layout)

    return (
        empty(0, (B, C, H, W), dtype, last),
        empty(1, (C,), float32, False),
        empty(2, small, skip_dtype, skip_last),
    )
