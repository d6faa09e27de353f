"""Stage 5: full-resolution residuals that start at zero, and a gate for static regions."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels.ops.frame_inputs.reference import luma
from lift.model.blocks import avg_down
from lift.model.images import reference_images
from lift.model.refine import SHARPNESS_INIT, CoarserScale, Refinement
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


@pytest.mark.parametrize("sharpness", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_samples_between_pixels_are_half_way_from_bilinear_to_bicubic(sharpness, grad):
    """On a CPU without gradients C++ samples, with gradients PyTorch does."""
    image = torch.rand(1, 3, 32, 32)
    flow = torch.tensor([0.125, -0.0625]).view(1, 2, 1, 1).expand(1, 2, 8, 8)  # (1/2, -1/4)
    config = replace(TINY, align2=0, sharpness=sharpness)
    with torch.set_grad_enabled(grad):
        made = refined(image, 1 - image, flow, config, visible=(81.0, -81.0))
    y, x = torch.meshgrid(torch.arange(32.0) - 0.25, torch.arange(32.0) + 0.5, indexing="ij")
    grid = torch.stack((x, y), -1)[None] * (2 / 31) - 1
    bilinear, bicubic = (
        F.grid_sample(image, grid, mode, "border", align_corners=True)
        for mode in ("bilinear", "bicubic")
    )
    expected = torch.lerp(bilinear, bicubic, SHARPNESS_INIT) if sharpness else bilinear
    inner = slice(2, -2)
    torch.testing.assert_close(
        made[..., inner, inner], expected[..., inner, inner], atol=1e-3, rtol=0
    )
    assert (bicubic - bilinear)[..., inner, inner].abs().max() > 0.1


@pytest.mark.parametrize("stride", [1, 2, 4])
@torch.no_grad()
def test_the_coarser_scale_is_a_residual_that_starts_at_zero(stride):
    stage, x, hidden = (
        CoarserScale(8, 5, stride),
        torch.rand(2, 8, 32, 48),
        torch.rand(2, 5, 16, 24),
    )
    hidden = F.interpolate(hidden, scale_factor=stride / 2)
    assert torch.equal(stage(x, hidden), x)
    made = wake(stage)(x, hidden)
    assert made.shape == x.shape and not torch.equal(made, x)
    assert not torch.equal(stage(x, hidden + 1), made)


@torch.no_grad()
def test_it_takes_motion_back_where_the_references_agree():
    image = torch.rand(1, 3, 32, 32)
    other = image.clone()
    other[..., :8] = 1 - other[..., :8]
    made = refined(image, other, torch.randn(1, 2, 8, 8))
    torch.testing.assert_close(made[..., 10:], image[..., 10:], atol=1e-3, rtol=0)
    assert (made[..., :8] - (image + other)[..., :8] / 2).abs().max() > 0.1


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


@pytest.mark.native
@pytest.mark.slow
@pytest.mark.parametrize(("stride", "align"), [(1, 1), (2, 0)])
def test_fused_it_is_the_same(stride, align):
    """The fused path and the one of separate passes: the frame and all gradients."""
    if kernels.unsupported_reasons("refine_inputs")["triton"]:
        pytest.skip("Triton has neither a GPU nor its interpreter here")
    config = replace(TINY, refine_stride=stride, align2=align)
    inputs, found = [*torch.rand(2, 1, 3, 32, 32), torch.randn(1, 2, 8, 8)], []
    for backend in ("fused", "reference"):
        torch.manual_seed(3)
        stage = wake(Refinement(config, backend))
        flow = inputs[2].clone().requires_grad_()
        frame = refined(*inputs[:2], flow, config, stage=stage)
        parameters = {"flow": flow, **dict(stage.named_parameters())}
        loss = (frame * torch.linspace(-1, 1, 32)).sum()
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        found.append({"frame": frame, **dict(zip(parameters, gradients, strict=True))})
    for name, expected in found[1].items():
        error = (found[0][name] - expected).norm() / expected.norm().clamp(min=1)
        assert expected.any() and error < 1e-4, (name, error)


@pytest.mark.parametrize(("stride", "align"), [(1, 1), (2, 0), (2, 1), (4, 1)])
def test_without_gradients_it_is_the_same(stride, align):
    """On a CPU, C++ kernels against separate passes."""
    config = replace(TINY, refine_stride=stride, align2=align)
    inputs, found = [*torch.rand(2, 1, 3, 32, 32), torch.randn(1, 2, 8, 8)], []
    stage = wake(Refinement(config))
    for grad_mode in (False, True):
        torch.manual_seed(3)
        with torch.set_grad_enabled(grad_mode):
            found.append(refined(*inputs, config, stage=stage))
    torch.testing.assert_close(*found, atol=2e-5, rtol=1e-5)


def test_fused_kernels_are_not_needed_for_gradients_of_the_references():
    """Separate passes compute what `refine_inputs` refuses."""
    a, b = torch.rand(2, 1, 3, 32, 32)
    stage = wake(Refinement(TINY))
    refined(a.requires_grad_(), b, torch.randn(1, 2, 8, 8), stage=stage).sum().backward()
    assert a.grad.any()
