"""The refinement's frame: what residuals and gate do, and which arguments are refused."""

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels.ops.refine_output.reference import GATE_SLOPE

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
