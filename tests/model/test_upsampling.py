"""Learned upsampling: bilinear at the start, and able to keep an edge."""

from dataclasses import replace

import torch

from lift.model.blocks import upsample
from lift.model.types import FlowEstimate
from lift.model.upsampling import ConvexUpsampling, FlowUpsampling
from tests.support.models import TINY


@torch.no_grad()
def test_before_training_it_is_bilinear():
    stage, x = ConvexUpsampling(8), torch.randn(2, 6, 5, 7)
    torch.testing.assert_close(stage(x, torch.randn(2, 8, 5, 7)), upsample(x, 2), atol=0.06, rtol=0)


@torch.no_grad()
def test_weights_can_keep_an_edge_that_bilinear_blurs():
    stage, x = ConvexUpsampling(1), torch.zeros(1, 1, 4, 4)
    x[..., 2:] = 8
    stage.prior.fill_(-20)
    stage.prior.view(4, 9)[:, 4] = 20  # each fine pixel takes the coarse one that holds it
    fine = stage(x, torch.zeros(1, 1, 4, 4))
    torch.testing.assert_close(fine, x.repeat_interleave(2, -1).repeat_interleave(2, -2))
    assert ((upsample(x, 2) > 0) & (upsample(x, 2) < 8)).any()


@torch.no_grad()
def test_a_mixture_never_leaves_the_range_of_the_pixels_around():
    stage, x = ConvexUpsampling(3), torch.rand(1, 2, 6, 6)
    stage.head.weight.normal_()
    fine = stage(x, torch.randn(1, 3, 6, 6))
    assert fine.min() >= x.min() - 1e-6 and fine.max() <= x.max() + 1e-6


@torch.no_grad()
def test_flows_double_with_the_resolution_and_visibilities_do_not():
    estimate = FlowEstimate(
        torch.full((1, 2, 4, 4), 3.0),
        torch.full((1, 2, 4, 4), -1.0),
        torch.full((1, 1, 4, 4), 5.0),
        torch.full((1, 1, 4, 4), 6.0),
        8,
    )
    for convex in (False, True):
        stage = FlowUpsampling(4, replace(TINY, convex_upsampling=convex))
        means = [x.mean().item() for x in stage(estimate, torch.randn(1, 4, 4, 4))]
        torch.testing.assert_close(means, [6.0, -2.0, 5.0, 6.0])
