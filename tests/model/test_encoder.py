"""Stage 1: features at three scales, each from its own frame alone."""

import pytest
import torch

from lift.model.encoder import Encoder
from tests.support.models import TINY


@torch.no_grad()
def test_features_have_three_scales():
    s4, s8, s16 = Encoder(TINY)(torch.rand(2, 3, 32, 48))
    assert s4.shape == (2, TINY.c4, 8, 12)
    assert s8.shape == (2, TINY.c8, 4, 6)
    assert s16.shape == (2, TINY.c16, 2, 3)


@torch.no_grad()
def test_features_depend_on_their_own_frame_alone():
    encoder, frames = Encoder(TINY), torch.rand(3, 3, 32, 48)
    whole, one = encoder(frames), encoder(frames[1:2])
    for x, y in zip(whole, one, strict=True):
        torch.testing.assert_close(x[1:2], y, atol=1e-5, rtol=1e-5)
    frames[0] = 1 - frames[0]
    for x, y in zip(whole, encoder(frames), strict=True):
        assert not torch.allclose(x[0], y[0])
        torch.testing.assert_close(x[1:], y[1:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_features_hardly_depend_on_the_crop():
    """No statistics over space: far from the cut a crop has the features of the whole frame."""
    encoder, frame = Encoder(TINY), torch.rand(1, 3, 32, 192)
    whole, crop = encoder(frame)[0], encoder(frame[..., :128])[0]
    torch.testing.assert_close(whole[..., :20], crop[..., :20], atol=1e-5, rtol=1e-5)


def test_every_layer_learns():
    encoder = Encoder(TINY)
    sum(x.square().mean() for x in encoder(torch.rand(1, 3, 32, 32))).backward()
    assert all(p.grad is not None and p.grad.any() for p in encoder.parameters())


@pytest.mark.parametrize("count", [2, 17])
def test_recomputing_changes_no_gradient(count):
    """17 frames are two checkpoints."""
    encoder, frames = Encoder(TINY), torch.rand(count, 3, 16, 16)
    gradients = []
    for encoder.recompute in (False, True):
        loss = sum(x.square().mean() for x in encoder(frames))
        gradients.append(torch.autograd.grad(loss, list(encoder.parameters())))
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-4)
