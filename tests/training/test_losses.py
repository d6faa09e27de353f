"""Losses: values known by hand, gradients, and what each of them is blind to."""

import pytest
import torch

from lift.config import TrainConfig
from lift.data.clip import Batch, pair
from lift.model.types import FlowEstimate, Prediction
from lift.training.losses import (
    _binomial,
    _expand,
    _reduce,
    area_down,
    batch_psnr,
    cascade_loss,
    census_loss,
    coarse_truths,
    flow_loss,
    laplacian_loss,
    laplacian_losses,
    psnr_loss,
    total_loss,
)

TAPS = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0])
KERNEL = (TAPS[:, None] * TAPS / 256).view(1, 1, 5, 5)
SIZES = [(32, 32), (48, 32), (37, 53)]  # the last one is no multiple of anything


def estimate(B, h, w, scale, flow=(0.0, 0.0), occ=0.0):
    constant = torch.tensor(flow).view(1, 2, 1, 1).expand(B, 2, h, w)
    visible, hidden = torch.full((B, 1, h, w), occ), torch.zeros(B, 1, h, w)
    joined = FlowEstimate.from_parts(constant, -constant, visible, hidden, scale)
    return FlowEstimate(joined.state.requires_grad_(), scale)


def prediction(B, H, W, **motion):
    """What the model answers for (H, W): its coarser scales live on the size padded to a multiple
    of 16.
    """
    padded = -(-H // 16) * 16, -(-W // 16) * 16
    cascade = tuple(estimate(B, padded[0] // s, padded[1] // s, s, **motion) for s in (16, 8))
    h, w = -(-H // 4), -(-W // 4)
    e = estimate(B, h, w, 4, **motion)
    frame, coarse = torch.rand(B, 3, H, W).requires_grad_(), torch.rand(B, 3, h, w).requires_grad_()
    return Prediction(frame, coarse, e.state, torch.full((B, 2), 0.5), cascade)


def batch(B, H, W, flow=0.0, visible=1.0, known=True):
    return Batch(
        pair(torch.rand(B, 3, H, W), torch.rand(B, 3, H, W)),
        torch.full((B,), 0.5),
        torch.rand(B, 3, H, W),
        torch.full((B, 4, H, W), flow),
        torch.full((B, 2, H, W), visible),
        torch.full((B,), known),
    )


# -- Laplacian pyramid -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [laplacian_loss, psnr_loss, census_loss])
def test_equal_images_cost_nothing(loss):
    image = torch.rand(2, 3, 40, 40)
    assert loss(image, image.clone()) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kernel_is_binomial_to_the_last_bit(dtype):
    kernel = _binomial(torch.empty(0, dtype=dtype))
    assert kernel.dtype == dtype and torch.equal(kernel, KERNEL.to(dtype)) and kernel.sum() == 1


def test_a_constant_difference_lies_in_the_low_pass_alone():
    image = torch.rand(1, 3, 37, 29)
    torch.testing.assert_close(laplacian_loss(image + 0.25, image), torch.tensor(0.25))


def test_the_loss_is_the_pyramid_of_each_image_compared_band_by_band():
    def bands(image, levels):
        rest, out = image.flatten(0, 1).unsqueeze(1), []
        for _ in range(levels):
            down = _reduce(rest, KERNEL)
            out.append(rest - _expand(down, 4 * KERNEL, rest.shape[-2:]))
            rest = down
        return [*out, rest]

    a, b = torch.rand(2, 3, 37, 53), torch.rand(2, 3, 37, 53)
    expected = sum((x - y).abs().mean() for x, y in zip(bands(a, 3), bands(b, 3), strict=True))
    torch.testing.assert_close(laplacian_loss(a, b, 3), expected)


def test_a_band_of_a_linear_ramp_is_empty_inside():
    ramp = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)
    band = ramp - _expand(_reduce(ramp, KERNEL), 4 * KERNEL, (32, 32))
    assert band[..., 4:-4].abs().max() < 1e-6


# -- PSNR ------------------------------------------------------------------------------------------


def test_the_psnr_loss_falls_by_the_logarithm_of_the_error_of_each_frame():
    """Half the error in either frame lowers it alike, unlike a mean of differences."""
    target = torch.zeros(2, 3, 8, 8)
    errors = [torch.tensor(e).view(2, 1, 1, 1) for e in ((0.2, 0.02), (0.1, 0.02), (0.2, 0.01))]
    both, first, second = (psnr_loss(target + e, target) for e in errors)
    torch.testing.assert_close(both - first, torch.tensor(4.0).log() / 2, rtol=1e-3, atol=0)
    torch.testing.assert_close(both - second, torch.tensor(4.0).log() / 2, rtol=0.06, atol=0)
    expected = (1 + torch.tensor([0.04, 0.0004]) / 1e-5).log().mean()
    torch.testing.assert_close(both, expected)


# -- census ----------------------------------------------------------------------------------------


def test_census_is_the_definition_pixel_by_pixel():
    frame, target = torch.rand(2, 3, 9, 8).double(), torch.rand(2, 3, 9, 8).double()
    weights = torch.tensor([0.299, 0.587, 0.114]).double().view(1, 3, 1, 1)
    distances = []
    for y in range(9):
        for x in range(8):
            for v in range(max(0, y - 3), min(9, y + 4)):
                for u in range(max(0, x - 3), min(8, x + 4)):
                    if (v, u) == (y, x):
                        continue
                    digits = []
                    for image in (frame, target):
                        gray = (image * weights).sum(1)
                        d = gray[:, v, u] - gray[:, y, x]
                        digits.append(d / (d * d + (0.9 / 255) ** 2).sqrt())
                    s = (digits[0] - digits[1]) ** 2
                    distances.append(s / (s + 0.1))
    torch.testing.assert_close(
        census_loss(frame, target).double(), torch.stack(distances).mean(), rtol=1e-5, atol=1e-6
    )


def test_census_does_not_see_brightness():
    image = torch.rand(1, 3, 20, 20) * 0.5
    assert census_loss(image + 0.3, image) < 1e-5


# -- coarser scales --------------------------------------------------------------------------------


def test_area_down_averages_squares_and_repeats_the_edge():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    expected = torch.tensor([[2.5, 4.5], [8.5, 10.5]]).view(1, 1, 2, 2)
    assert torch.equal(area_down(image, 2), expected)
    assert area_down(image, 2, (2, 3)).shape == (1, 1, 2, 3)


@pytest.mark.parametrize("size", SIZES)
def test_the_truth_of_every_scale_is_averaged_down(size):
    b = batch(2, *size)
    b.flow.copy_(torch.rand(b.flow.shape))
    b.flow_known[1] = False
    for scale, truth in coarse_truths(b).items():
        h, w = (-(-n // 16) * 16 // scale for n in size)
        images = torch.cat((*b.clip.references, b.target), 1)
        torch.testing.assert_close(truth.images, area_down(images, scale, (h, w)))
        expected = area_down(b.flow, scale, (h, w), "constant") / scale
        torch.testing.assert_close(truth.flow, expected)
        seen = area_down(b.visible, scale, (h, w), "constant")
        torch.testing.assert_close(truth.visible, torch.stack((seen[0], torch.zeros_like(seen[1]))))
        assert truth.cropped(1, 2).images.shape == (2, 9, 1, 2)


def test_the_true_flow_costs_nothing_and_a_pixel_off_costs_a_pixel_at_each_scale():
    p, b = prediction(2, 32, 32, flow=(1.0, 0.0)), batch(2, 32, 32)
    flow, _ = flow_loss(p, coarse_truths(b))
    torch.testing.assert_close(flow.item(), 3.0, atol=1e-4, rtol=0)  # three scales, a pixel of each
    still, _ = flow_loss(prediction(2, 32, 32), coarse_truths(b))
    assert still < 0.01


@pytest.mark.parametrize("hidden", [{"known": False}, {"visible": 0.0}])
def test_flow_that_is_unknown_or_unseen_costs_nothing(hidden):
    truths = coarse_truths(batch(2, 32, 32, **hidden))
    flow, visibility = flow_loss(prediction(2, 32, 32, flow=(5.0, 1.0)), truths)
    assert flow == 0 and visibility == 0


def test_visibility_prefers_the_reference_that_sees_the_point():
    b = batch(1, 32, 32)
    b.visible[:, 1] = 0
    truths = coarse_truths(b)
    right, wrong = (flow_loss(prediction(1, 32, 32, occ=occ), truths)[1] for occ in (5.0, -5.0))
    assert right < 3 * 0.7 < wrong  # log 2 is what indifference costs at each of three scales


def test_flow_is_not_judged_in_the_padding():
    p, b = prediction(1, 37, 53), batch(1, 37, 53)
    for e in p.cascade:  # a wild flow where no pixel of the target lies
        with torch.no_grad():
            e.flow_t0[..., -(-37 // e.scale) :, :] = 1e4
    assert flow_loss(p, coarse_truths(b))[0] < 0.01


def test_still_cascade_costs_what_the_average_of_the_references_misses():
    p, b = prediction(1, 32, 32), batch(1, 32, 32)
    average = sum(b.clip.references) / 2
    expected = sum(
        (area_down(average, s) - area_down(b.target, s)).abs().mean() for s in (16, 8, 4)
    )
    torch.testing.assert_close(cascade_loss(p, coarse_truths(b)), expected)


# -- all together ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_every_part_of_the_prediction_gets_a_finite_gradient(size):
    p, b = prediction(2, *size, flow=(0.3, -0.2), occ=0.5), batch(2, *size, flow=1.0)
    b.visible[:, 1] = 0
    loss, scalars = total_loss(p, b, TrainConfig())
    loss.backward()
    states = [p.state, *(e.state for e in p.cascade)]
    parts = [part for state in states for part in state.grad.split((2, 2, 1, 1), 1)]
    for gradient in (p.frame.grad, p.coarse.grad, *parts):
        assert gradient.isfinite().all() and gradient.any()
    assert not any(value.requires_grad for value in scalars.values())


def test_the_total_is_the_weighted_sum():
    config = TrainConfig(
        psnr_weight=0.4, census_weight=0.3, coarse_weight=0.7, cascade_weight=0.2, flow_weight=0.05
    )
    loss, s = total_loss(prediction(2, 32, 32, flow=(1.0, 1.0)), batch(2, 32, 32), config)
    expected = (
        s["laplacian"]
        + 0.4 * s["psnr_loss"]
        + 0.3 * s["census"]
        + 0.7 * s["coarse"]
        + 0.2 * s["cascade"]
        + 0.05 * (s["flow"] + s["visibility"])
    )
    torch.testing.assert_close(loss, expected)


def test_a_weight_of_zero_leaves_a_loss_out():
    p, b = prediction(1, 32, 32), batch(1, 32, 32)
    loss, scalars = total_loss(
        p, b, TrainConfig(census_weight=0, coarse_weight=0, cascade_weight=0, flow_weight=0)
    )
    assert set(scalars) == {"loss", "laplacian", "psnr"}
    torch.testing.assert_close(loss, laplacian_loss(p.frame, b.target))


@pytest.mark.parametrize("size", SIZES)
def test_frame_and_coarse_frame_share_a_pyramid(size):
    p, target = prediction(2, *size), torch.rand(2, 3, *size)
    coarse_target = area_down(target, 4)
    full, coarse = laplacian_losses(p, target, coarse_target)
    torch.testing.assert_close(full, laplacian_loss(p.frame, target))
    torch.testing.assert_close(coarse, laplacian_loss(p.coarse, coarse_target, 3))


def test_psnr_of_a_tenth_is_twenty():
    image = torch.full((2, 3, 8, 8), 0.5)
    torch.testing.assert_close(batch_psnr(image + 0.1, image), torch.tensor([20.0, 20.0]))
    assert torch.equal(batch_psnr(image, image), torch.tensor([100.0, 100.0]))


@pytest.mark.parametrize("loss", [laplacian_loss, psnr_loss, census_loss])
def test_images_of_two_sizes_are_refused(loss):
    with pytest.raises(ValueError, match="one shape"):
        loss(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 8))
