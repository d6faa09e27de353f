"""The refinement's frame: what residuals and gate do, and which arguments are refused."""

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels import dispatch
from lift.kernels.ops.refine_output.reference import (
    GATE_SLOPE,
    SHARP_RESIDUALS,
    refine_output_reference,
)
from tests.support.refine_cases import maps, references, residuals

INF, NAN = float("inf"), float("nan")
IMAGE, STATE, CHANGE = torch.rand(1, 3, 8, 12), torch.zeros(1, 6, 4, 6), torch.zeros(1, 1, 4, 6)
BIAS, THRESHOLD = torch.zeros(40), torch.tensor(-1.7)
RESIDUAL = torch.zeros(1, 40, 4, 6)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_it_blends_gated_flows_and_adds_a_colour(stride):
    image0, image1 = torch.rand(2, 2, 3, 8, 12)
    state, change = torch.randn(2, 6, 4, 6), torch.randn(2, 1, 4, 6)
    residual = torch.randn(2, 10 * stride**2, 8 // stride, 12 // stride)
    bias = torch.randn(10 * stride**2)
    d = F.pixel_shuffle(residual + bias.view(1, -1, 1, 1), stride)
    fine = [F.interpolate(x, scale_factor=2, mode="bilinear") for x in (state, change)]
    gate = torch.sigmoid(GATE_SLOPE * (fine[1] - THRESHOLD) + d[:, 9:])
    flows = gate * (2 * fine[0][:, :4] + d[:, :4])
    occ = fine[0][:, 4:] + d[:, 4:6]
    expected = kernels.warp_blend(image0, image1, *flows.split(2, 1), *occ.split(1, 1))
    arguments = (residual, bias, image0, image1, state, change, THRESHOLD, stride)
    found = kernels.refine_output(*arguments)
    torch.testing.assert_close(found, expected + d[:, 6:9], atol=1e-5, rtol=1e-5)


def test_a_closed_gate_takes_motion_back():
    state = torch.cat((torch.randn(1, 4, 4, 6), torch.zeros(1, 2, 4, 6)), 1)
    change = torch.full_like(CHANGE, -99.0)
    found = kernels.refine_output(RESIDUAL, BIAS, IMAGE, IMAGE, state, change, THRESHOLD, 2)
    torch.testing.assert_close(found, IMAGE)


def _sharp(stride: int, size: tuple[int, int], sharpness: float | None = None) -> list:
    """Arguments with a sharpness: random, or the same everywhere."""
    generator = torch.Generator().manual_seed(0)
    residual, bias = residuals(generator, 1, size, stride, SHARP_RESIDUALS)
    if sharpness is not None:
        residual[:, 10 * stride**2 :], bias[10 * stride**2 :] = sharpness, 0
    images, (state, change) = references(generator, 1, size), maps(generator, 1, size, 6, 1)
    return [residual, bias, *images, state, change, THRESHOLD, stride]


def _backends(operation: str) -> list[str]:
    """The backends that compute on the CPU here."""
    backends = dispatch.operations()[operation]
    return [b.name for b in backends if b.device != "cuda" and b.unsupported_reason() is None]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_sharpness_of_0_samples_bilinearly(stride):
    residual, bias, *others = _sharp(stride, (8, 12), sharpness=0.0)
    n = 10 * stride**2
    expected = kernels.refine_output(residual[:, :n], bias[:n], *others, backend="reference")
    for backend in _backends("refine_output"):
        found = kernels.refine_output(residual, bias, *others, backend=backend)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_sharpness_of_1_samples_as_bicubic_grid_sample():
    """Also at the borders: both clamp the 4 x 4 pixels of a sample to the image."""
    H, W = 8, 12
    flow = torch.rand(1, 2, H // 2, W // 2, generator=torch.Generator().manual_seed(0)) - 0.5
    hidden = torch.stack((torch.full_like(flow[:, 0], 99.0), torch.full_like(flow[:, 0], -99.0)), 1)
    state, open_gate = torch.cat((flow, flow, hidden), 1), torch.full_like(CHANGE, 99.0)
    residual, bias = torch.zeros(1, 44, H // 2, W // 2), torch.zeros(44)
    bias[40:] = 1.0
    fine = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear")
    at = [torch.arange(n) for n in (W, H)]
    x = (at[0] + fine[0, 0]).clamp(0, W - 1) * (2 / (W - 1)) - 1
    y = (at[1][:, None] + fine[0, 1]).clamp(0, H - 1) * (2 / (H - 1)) - 1
    grid = torch.stack((x, y), 2)[None]
    expected = F.grid_sample(IMAGE, grid, "bicubic", "border", align_corners=True)
    assert (expected - F.grid_sample(IMAGE, grid, align_corners=True)).abs().max() > 0.01
    for backend in _backends("refine_output"):
        found = kernels.refine_output(
            residual, bias, IMAGE, IMAGE.flip(3), state, open_gate, THRESHOLD, 2, backend=backend
        )
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_gradients_of_a_sharp_frame_are_its_slopes():
    arguments = [x.double() if isinstance(x, torch.Tensor) else x for x in _sharp(1, (4, 4))]
    places = (0, 1, 4, 6)
    leaves = [arguments[i].requires_grad_() for i in places]

    def frame(*leaves):
        inputs = dict(zip(places, leaves, strict=True))
        return refine_output_reference(*(inputs.get(i, x) for i, x in enumerate(arguments)))

    assert torch.autograd.gradcheck(frame, leaves, fast_mode=True)


def test_flows_far_outside_read_the_border():
    arguments = _sharp(2, (8, 12))
    far = (NAN, INF, -INF, 1e30, -1e30, 3.4e38, 2.0**31, 1e-40)
    arguments[0].flatten()[: len(far)] = torch.tensor(far)
    frames = [kernels.refine_output(*arguments, backend=b) for b in _backends("refine_output")]
    assert all(frame.isfinite().all() for frame in frames)
    for frame in frames[1:]:
        torch.testing.assert_close(frame, frames[0], atol=1e-4, rtol=1e-4)


def test_images_and_change_have_a_gradient_in_the_reference_alone():
    for place in (2, 3, 5):
        arguments = [RESIDUAL, BIAS, IMAGE, IMAGE.flip(3), STATE, CHANGE, THRESHOLD, 2]
        arguments[4] = STATE + 0.3
        arguments[place] = arguments[place].clone().requires_grad_()
        assert kernels.selected_backend("refine_output", *arguments) == "reference"
        reasons = kernels.unsupported_reasons("refine_output", *arguments)
        assert reasons["triton"] is not None and reasons["cpp"] is not None
        kernels.refine_output(*arguments).square().sum().backward()
        assert arguments[place].grad.any()


@pytest.mark.parametrize(
    ("place", "wrong", "error", "words"),
    [
        (0, RESIDUAL[:, 1:], ValueError, r"residual must be \(1, 40, 4, 6\) to fit image0"),
        (1, BIAS[1:], ValueError, r"bias must be \(40,\) to fit residual"),
        (2, IMAGE[..., 1:], ValueError, "with sides divisible by 2, got"),
        (3, IMAGE[..., 1:], ValueError, r"image1 must be \(1, 3, 8, 12\) to fit image0"),
        (4, STATE[:, 1:], ValueError, r"state must be \(1, 6, 4, 6\) to fit image0"),
        (5, CHANGE.half(), TypeError, "change must be torch.float32 to fit image0"),
        (6, BIAS, ValueError, r"threshold must be \(\) to fit image0"),
        (7, 3, ValueError, "stride must be one of"),
    ],
)
def test_wrong_arguments_are_named(place, wrong, error, words):
    arguments = [RESIDUAL, BIAS, IMAGE, IMAGE, STATE, CHANGE, THRESHOLD, 2]
    arguments[place] = wrong
    with pytest.raises(error, match=words):
        kernels.refine_output(*arguments)
