"""Correlation in plain PyTorch with little activation memory.

It saves the two maps for backward, normalized with `normalize`, and accumulates gradients in place;
autograd's own slices would pad and copy once per displacement.
"""

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from lift.kernels.ops.correlation.reference import (
    l2_normalize,
    shifted_views,
    to_accumulate_dtype,
)


def correlation_eager(
    fmap0: torch.Tensor, fmap1: torch.Tensor, radius: int, normalize: bool = False
) -> torch.Tensor:
    """As `correlation_reference`; differentiable once."""
    fmap0, fmap1 = to_accumulate_dtype(fmap0), to_accumulate_dtype(fmap1)
    if normalize:
        fmap0, fmap1 = l2_normalize(fmap0), l2_normalize(fmap1)
    return _Correlate.apply(fmap0, fmap1, radius)


class _Correlate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, fmap0, fmap1, radius):
        ctx.save_for_backward(fmap0, fmap1)
        ctx.radius = radius
        shifted = shifted_views(F.pad(fmap1, [radius] * 4), radius)
        if torch.compiler.is_compiling():  # fuses these, and cannot write into slices
            return torch.stack([(fmap0 * view).sum(1) for view in shifted], 1)
        out = fmap0.new_empty(len(fmap0), len(shifted), *fmap0.shape[2:])
        product = torch.empty_like(fmap0)
        for i, view in enumerate(shifted):
            torch.sum(torch.mul(fmap0, view, out=product), 1, out=out[:, i])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        fmap0, fmap1 = ctx.saved_tensors
        r = ctx.radius
        fmap1 = F.pad(fmap1, [r] * 4)
        dfmap0, dfmap1 = torch.zeros_like(fmap0), torch.zeros_like(fmap1)
        shifted, dshifted = shifted_views(fmap1, r), shifted_views(dfmap1, r)
        for g, view, dview in zip(grad.split(1, 1), shifted, dshifted, strict=True):
            dfmap0.addcmul_(g, view)
            dview.addcmul_(g, fmap0)
        H, W = fmap0.shape[2:]
        return dfmap0, dfmap1[..., r : r + H, r : r + W], None
