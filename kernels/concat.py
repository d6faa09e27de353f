"""Concatenation of channels, as planes or as convolutions on a CPU read them without a copy."""

from collections.abc import Sequence
from itertools import groupby

import torch

from lift.kernels.autograd import is_channels_last


def cat_channels(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """torch.cat(parts, 1)."""
    return torch.cat(parts, 1)


def cat_channels_last(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """torch.cat(parts, 1) of tensors (B, c, H, W), channels_last where any of them is.

    Planes side by side are transposed together: a CPU is slow at many narrow pieces of a pixel.
    """
    if not any(map(is_channels_last, parts)):
        return cat_channels(parts)
    pieces = []
    for last, run in groupby(parts, key=is_channels_last):
        run = list(run)
        if not last:
            planes = torch.cat(run, 1) if len(run) > 1 else run[0]
            run = [planes.contiguous(memory_format=torch.channels_last)]
        pieces += run
    return torch.cat([x.permute(0, 2, 3, 1) for x in pieces], 3).permute(0, 3, 1, 2)
