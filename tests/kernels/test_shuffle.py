"""Pixel shuffles, and the references of ops that use them, take empty batches."""

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels.shuffle import pixel_shuffle, pixel_unshuffle


@pytest.mark.parametrize("batch", [0, 2])
def test_shuffles_have_the_shapes_and_values_of_pytorch(batch):
    x = torch.randn(batch, 8, 3, 5)
    up = pixel_shuffle(x, 2)
    assert up.shape == (batch, 2, 6, 10)
    assert torch.equal(up, F.pixel_shuffle(x, 2))
    assert torch.equal(pixel_unshuffle(up, 2), x) and pixel_unshuffle(up, 2).shape == x.shape


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 3, 0)], ids=["no image", "no column"])
def test_the_reference_of_convex_upsample_takes_empty_maps_with_gradients(shape):
    B, h, w = shape
    inputs = torch.zeros(B, 6, h, w), torch.zeros(B, 36, h, w), torch.zeros(36)
    leaves = [x.requires_grad_() for x in inputs]
    out = kernels.convex_upsample(*leaves, backend="reference")
    assert out.shape == (B, 6, 2 * h, 2 * w)
    grads = torch.autograd.grad(out.sum(), leaves)
    assert [g.shape for g in grads] == [x.shape for x in leaves]


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_references_of_the_refinement_take_an_empty_batch_with_gradients(stride):
    images, state = torch.zeros(2, 0, 3, 4, 8), torch.zeros(0, 6, 2, 4, requires_grad=True)
    size = (4 // stride, 8 // stride)
    found = kernels.refine_inputs(*images, state, None, stride, torch.float32, backend="reference")
    assert found.shape == (0, 9 * stride**2 + 6, *size)
    residual = torch.zeros(0, 10 * stride**2, *size, requires_grad=True)
    bias, change = torch.zeros(10 * stride**2), torch.zeros(0, 1, 2, 4)
    arguments = residual, bias, *images, state, change, torch.tensor(0.0), stride
    frame = kernels.refine_output(*arguments, backend="reference")
    assert frame.shape == images[0].shape
    grads = torch.autograd.grad(frame.sum() + found.sum(), (residual, state))
    assert [g.shape for g in grads] == [residual.shape, state.shape]
