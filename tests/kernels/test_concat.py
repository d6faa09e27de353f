"""Concatenation of channels: the same values, in the layout that convolutions read."""

import pytest
import torch

from lift.kernels.concat import cat_channels_last


@pytest.mark.parametrize("last", [(), (0,), (1, 3), (0, 1, 2, 3, 4)])
def test_channels_are_joined_in_order(last):
    parts = [torch.rand(2, c, 5, 7, requires_grad=True) for c in (4, 3, 1, 2, 6)]
    laid = [
        x.contiguous(memory_format=torch.channels_last) if i in last else x
        for i, x in enumerate(parts)
    ]
    found, expected = cat_channels_last(laid), torch.cat(parts, 1)
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last) == bool(last)
    weights = torch.rand_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, parts, weights),
        torch.autograd.grad(expected, parts, weights),
        strict=True,
    ):
        assert torch.equal(one, other)
