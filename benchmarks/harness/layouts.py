"""Layouts: the values of x (those of its first rows for `expanded`) laid out in another way."""

import math

import torch


def contiguous(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous()


def channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def sliced(x: torch.Tensor) -> torch.Tensor:
    """A part of a larger image in every dimension, surrounded by NaN."""
    buffer = torch.full([n + 3 for n in x.shape], math.nan, dtype=x.dtype, device=x.device)
    place = buffer[tuple(slice(1, n + 1) for n in x.shape)]
    return place.copy_(x)


def expanded(x: torch.Tensor) -> torch.Tensor:
    """Strides of 0: the first row of the first image, everywhere."""
    return x[:1, :, :1].expand(x.shape)


def transposed(x: torch.Tensor) -> torch.Tensor:
    return x.mT.contiguous().mT


def misaligned(x: torch.Tensor) -> torch.Tensor:
    """Contiguous, from an address that no vector load takes."""
    return torch.cat((x.new_zeros(1), x.flatten()))[1:].view(x.shape)


LAYOUTS = {
    f.__name__: f for f in (contiguous, channels_last, sliced, expanded, transposed, misaligned)
}
