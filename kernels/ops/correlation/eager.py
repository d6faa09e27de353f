"""Correlation in plain PyTorch that keeps little: the two maps, scaled with `unit`, for backward,
where gradients are added in place.
"""

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from lift.kernels.ops.correlation.reference import scaled, shifts, widened


def correlation_eager(
    left: torch.Tensor, right: torch.Tensor, radius: int, unit: bool = False
) -> torch.Tensor:
    """As `correlation_reference`; differentiable once."""
    left, right = widened(left), widened(right)
    return _Correlate.apply(*((scaled(left), scaled(right)) if unit else (left, right)), radius)


class _Correlate(torch.autograd.Function):
    """Autograd's own slices would pad and copy once per displacement."""

    @staticmethod
    def forward(ctx, left, right, radius):
        ctx.save_for_backward(left, right)
        ctx.radius = radius
        moves = shifts(F.pad(right, [radius] * 4), radius)
        if torch.compiler.is_compiling():  # which fuses these, and cannot write into slices
            return torch.stack([(left * moved).sum(1) for moved in moves], 1)
        out, product = (
            left.new_empty(len(left), len(moves), *left.shape[2:]),
            torch.empty_like(left),
        )
        for i, moved in enumerate(moves):
            torch.sum(torch.mul(left, moved, out=product), 1, out=out[:, i])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        left, right = ctx.saved_tensors
        r = ctx.radius
        right = F.pad(right, [r] * 4)
        dleft, dright = torch.zeros_like(left), torch.zeros_like(right)
        for g, moved, d in zip(grad.split(1, 1), shifts(right, r), shifts(dright, r), strict=True):
            dleft.addcmul_(g, moved)
            d.addcmul_(g, left)
        return dleft, dright[..., r : r + left.shape[-2], r : r + left.shape[-1]], None
