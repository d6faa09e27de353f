"""Learned upsampling: bilinear at the start, and able to keep an edge."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from lift.model.blocks import upsample
from lift.model.types import FlowEstimate
from lift.model.upsampling import ConvexUpsampling, FlowUpsampling
from tests.support.models import TINY

DOUBLED = torch.tensor([2.0, 2, 2, 2, 1, 1]).view(1, 6, 1, 1)  # flows, not visibilities


@torch.no_grad()
def test_before_training_it_is_bilinear():
    stage, x = ConvexUpsampling(8), torch.randn(2, 6, 5, 7)
    fine = stage(x, torch.randn(2, 8, 5, 7)) / DOUBLED
    torch.testing.assert_close(fine, upsample(x, 2), atol=0.06, rtol=0)


@torch.no_grad()
def test_weights_can_keep_an_edge_that_bilinear_blurs():
    stage, x = ConvexUpsampling(1), torch.zeros(1, 6, 4, 4)
    x[..., 2:] = 8
    stage.prior.fill_(-20)
    stage.prior.view(4, 9)[:, 4] = 20  # each fine pixel takes the coarse one that holds it
    fine = stage(x, torch.zeros(1, 1, 4, 4)) / DOUBLED
    torch.testing.assert_close(fine, x.repeat_interleave(2, -1).repeat_interleave(2, -2))
    assert ((upsample(x, 2) > 0) & (upsample(x, 2) < 8)).any()


@torch.no_grad()
def test_a_fine_pixel_mixes_the_nine_coarse_ones_around_it():
    stage, x, hidden = ConvexUpsampling(2), torch.randn(1, 6, 4, 5), torch.randn(1, 2, 4, 5)
    stage.head.weight.normal_()
    logits = stage.head(hidden).view(4, 9, 4, 5) + stage.prior.view(4, 9, 1, 1)
    weights = logits.softmax(1)
    fine, around = stage(x, hidden) / DOUBLED, F.pad(x, (1, 1, 1, 1), mode="replicate")
    for row, column in ((0, 0), (3, 9), (5, 4), (7, 2)):
        i, j, s = row // 2, column // 2, 2 * (row % 2) + column % 2
        mixed = around[0, :, i : i + 3, j : j + 3].flatten(1) @ weights[s, :, i, j]
        torch.testing.assert_close(fine[0, :, row, column], mixed)


@torch.no_grad()
def test_a_mixture_never_leaves_the_range_of_the_pixels_around():
    stage, x = ConvexUpsampling(3), torch.rand(1, 6, 6, 6)
    stage.head.weight.normal_()
    fine = stage(x, torch.randn(1, 3, 6, 6)) / DOUBLED
    assert fine.min() >= x.min() - 1e-6 and fine.max() <= x.max() + 1e-6


@torch.no_grad()
def test_flows_double_with_the_resolution_and_visibilities_do_not():
    estimate = FlowEstimate.from_parts(
        torch.full((1, 2, 4, 4), 3.0),
        torch.full((1, 2, 4, 4), -1.0),
        torch.full((1, 1, 4, 4), 5.0),
        torch.full((1, 1, 4, 4), 6.0),
        8,
    )
    for convex in (False, True):
        stage = FlowUpsampling(4, replace(TINY, convex_upsampling=convex))
        fine = FlowEstimate(stage(estimate, torch.randn(1, 4, 4, 4)), 4)
        parts = (fine.flow_t0, fine.flow_t1, fine.occ_t0, fine.occ_t1)
        means = [x.mean().item() for x in parts]
        torch.testing.assert_close(means, [6.0, -2.0, 5.0, 6.0])
