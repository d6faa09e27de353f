"""Stage 5: full-resolution residuals that start at zero, and a gate for static regions."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from lift.model.alignment import luma
from lift.model.blocks import avg_down
from lift.model.refine import NOISE_CONTRAST, Refinement, change_map, reference_images
from lift.model.types import FlowEstimate
from tests.support.models import TINY, wake


def refined(image0, image1, flow, config=TINY, visible=(9.0, 9.0), stage=None):
    """What a stage, by default an untrained one, returns for a flow to both sides."""
    occ = [torch.full((1, 1, 8, 8), x) for x in visible]
    stage = stage or Refinement(config)
    coarse = avg_down((image0 + image1) / 2, 4)
    return stage(
        reference_images(image0, image1, *(luma(avg_down(x, 2)) for x in (image0, image1))),
        FlowEstimate.from_parts(flow, flow, *occ, 4),
        torch.rand(1, config.hidden4, 8, 8),
        coarse,
        torch.full((1,), 0.5),
    )


@pytest.mark.parametrize("stride", [1, 2, 4])
@torch.no_grad()
def test_before_training_it_is_the_plain_blend(stride):
    a, b = torch.rand(2, 1, 3, 32, 32)
    config, still = replace(TINY, refine_stride=stride, align2=0), torch.zeros(1, 2, 8, 8)
    torch.testing.assert_close(refined(a, b, still, config), (a + b) / 2)
    torch.testing.assert_close(refined(a, b, still, config, visible=(81.0, -81.0)), a)


@pytest.mark.parametrize("stride", [1, 2, 4])
@torch.no_grad()
def test_it_moves_by_full_resolution_pixels(stride):
    """A flow of 2 quarter-resolution pixels is 8 pixels of the image."""
    a, b = torch.rand(2, 1, 3, 32, 32)
    flow = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    made = refined(a, b, flow, replace(TINY, refine_stride=stride, align2=0))
    torch.testing.assert_close(made[..., :-8], ((a + b) / 2)[..., 8:], atol=0.05, rtol=0)


@torch.no_grad()
def test_it_takes_motion_back_where_the_references_agree():
    image = torch.rand(1, 3, 32, 32)
    other = image.clone()
    other[..., :8] = 1 - other[..., :8]
    made = refined(image, other, torch.randn(1, 2, 8, 8))
    torch.testing.assert_close(made[..., 10:], image[..., 10:], atol=1e-3, rtol=0)
    assert (made[..., :8] - (image + other)[..., :8] / 2).abs().max() > 0.1


@pytest.mark.parametrize("size", [(2, 2), (2, 8), (10, 6)])
def test_change_is_the_largest_difference_over_the_contrast_in_three_blocks_of_two_pixels(size):
    a, b = torch.rand(2, 2, 3, *size)
    highest = partial(torch.nn.functional.max_pool2d, kernel_size=6, stride=2, padding=2)
    contrast = sum((highest(x) + highest(-x)).amax(1, keepdim=True) for x in (a, b)) / 2
    difference = highest((a - b).abs().amax(1, keepdim=True)).clamp(min=1e-3)
    torch.testing.assert_close(change_map(a, b).exp(), difference / (contrast + NOISE_CONTRAST))


def test_recomputing_changes_no_gradient():
    stage, (a, b) = wake(Refinement(TINY)), torch.rand(2, 1, 3, 32, 32)
    flow, gradients = torch.randn(1, 2, 8, 8), []
    for stage.recompute in (False, True):
        torch.manual_seed(3)
        loss = refined(a, b, flow, stage=stage).square().sum()
        gradients.append(torch.autograd.grad(loss, list(stage.parameters())))
    for found, wanted in zip(*gradients, strict=True):
        assert wanted.any()
        torch.testing.assert_close(found, wanted)
