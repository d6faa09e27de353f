"""Correlation in plain PyTorch with little activation memory.

It saves the two maps for backward, normalized with `normalize`, and accumulates gradients in place;
autograd's own slices would pad and copy once per displacement.
"""

import torch
import torch.nn.functional as F

from lift.kernels import autograd
from lift.kernels.ops.correlation.reference import (
    correlation_reference,
    empty_output,
    l2_normalize,
    shifted_views,
    to_accumulate_dtype,
)


def correlation_eager(
    fmap0: torch.Tensor, fmap1: torch.Tensor, radius: int, normalize: bool = False
) -> torch.Tensor:
    """As `correlation_reference`."""
    if torch.compiler.is_compiling():  # fuses the slices
        return correlation_reference(fmap0, fmap1, radius, normalize)
    fmap0, fmap1 = to_accumulate_dtype(fmap0), to_accumulate_dtype(fmap1)
    if normalize:
        fmap0, fmap1 = l2_normalize(fmap0), l2_normalize(fmap1)
    return torch.ops.lift_eager.correlation(fmap0, fmap1, radius)


def flops(fmap0: torch.Tensor, fmap1: torch.Tensor, radius: int, *others, **_) -> int:
    """The inner products' floating-point operations."""
    return 2 * fmap0.numel() * (2 * radius + 1) ** 2


def _forward(fmap0: torch.Tensor, fmap1: torch.Tensor, radius: int) -> torch.Tensor:
    out = empty_output(fmap0, radius)
    product = torch.empty_like(fmap0)
    for i, view in enumerate(shifted_views(F.pad(fmap1, [radius] * 4), radius)):
        torch.sum(torch.mul(fmap0, view, out=product), 1, out=out[:, i])
    return out


def _backward(
    grad: torch.Tensor, fmap0: torch.Tensor, fmap1: torch.Tensor, radius: int, needs: int
) -> tuple[torch.Tensor, torch.Tensor]:
    for_fmap0, for_fmap1 = needs & 1, needs & 2
    padded = F.pad(fmap1, [radius] * 4)
    dfmap0 = torch.zeros_like(fmap0) if for_fmap0 else fmap0.new_empty(0)
    dfmap1 = torch.zeros_like(padded)
    shifted, dshifted = shifted_views(padded, radius), shifted_views(dfmap1, radius)
    for g, view, dview in zip(grad.split(1, 1), shifted, dshifted, strict=True):
        if for_fmap0:
            dfmap0.addcmul_(g, view)
        if for_fmap1:
            dview.addcmul_(g, fmap0)
    H, W = fmap0.shape[2:]
    inner = dfmap1[..., radius : radius + H, radius : radius + W]
    return dfmap0, inner.clone() if for_fmap1 else fmap1.new_empty(0)


_PRODUCTS = autograd.Op(  # of maps that are normalized, if they are to be
    name="correlation",
    schema="(Tensor fmap0, Tensor fmap1, int radius) -> Tensor",
    backward_schema="(Tensor grad, Tensor fmap0, Tensor fmap1, int radius, int needs)"
    " -> (Tensor, Tensor)",
    inputs=2,
    tensors=2,
    features=2,
    fake=lambda fmap0, fmap1, radius: empty_output(fmap0, radius),
    reference=correlation_reference,
    folded=autograd.all_tensors,
    flops=flops,
)
autograd.define_op("lift_eager", _PRODUCTS, _forward, _backward, ("CPU", "CUDA"))
