"""The refinement's input: what it holds, in which order, and which arguments it refuses."""

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels.ops.refine_inputs.reference import FLOW_SCALE

IMAGE, STATE, MISSING = torch.rand(1, 3, 8, 12), torch.zeros(1, 6, 4, 6), torch.zeros(1, 2, 4, 6)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_channels_are_the_unshuffled_images_then_the_state(stride):
    image0, image1 = torch.rand(2, 2, 3, 8, 12)
    state, missing = torch.randn(2, 6, 4, 6), torch.randn(2, 2, 4, 6)
    flows = 2 * F.interpolate(state[:, :4], scale_factor=2, mode="bilinear")
    images = [kernels.warp(image0, flows[:, :2]), kernels.warp(image1, flows[:, 2:])]
    images = F.pixel_unshuffle(torch.cat((*images, image0 - image1), 1), stride)
    for maps in ((missing,), ()):
        found = kernels.refine_inputs(image0, image1, state, *(maps or (None,)), stride, torch.half)
        assert found.dtype == torch.half
        assert found.is_contiguous(memory_format=torch.channels_last)
        rest = torch.cat((state[:, :4] * FLOW_SCALE, state[:, 4:], *maps), 1)
        rest = F.interpolate(rest, (8 // stride, 12 // stride), mode="bilinear")  # 4: the average
        expected = torch.cat((images, rest), 1).half()
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)


def test_flows_are_pixels_of_half_resolution():
    state = STATE.clone()
    state[:, 0], state[:, 3] = 1, -1  # two pixels to the east, two to the north
    found = kernels.refine_inputs(IMAGE, IMAGE, state, None, 1, torch.float32)
    torch.testing.assert_close(found[:, :3, :, :-2], IMAGE[..., 2:])
    torch.testing.assert_close(found[:, 3:6, 2:], IMAGE[..., :-2, :])


def test_images_have_a_gradient_in_the_reference_alone():
    image = IMAGE.clone().requires_grad_()
    arguments = (image, IMAGE, STATE, MISSING, 2, torch.float32)
    assert kernels.selected_backend("refine_inputs", *arguments) == "reference"
    reasons = kernels.unsupported_reasons("refine_inputs", *arguments)
    assert reasons["triton"] is not None and reasons["cpp"] is not None
    kernels.refine_inputs(*arguments).sum().backward()
    assert image.grad.any()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((IMAGE[:, :2], IMAGE), ValueError, r"image0 must be \(B, 3, H, W\) with sides divisible"),
        ((IMAGE[..., :-2], IMAGE[..., :-2]), ValueError, "with sides divisible by 4"),
        ((IMAGE.half(), IMAGE), TypeError, "image0 must be float32 or float64"),
        ((IMAGE, IMAGE[..., 1:]), ValueError, r"image1 must be \(1, 3, 8, 12\) to fit image0"),
        ((IMAGE, IMAGE, STATE[:, 1:]), ValueError, r"state must be \(1, 6, 4, 6\) to fit image0"),
        ((IMAGE, IMAGE, STATE.half()), TypeError, "state must be torch.float32 to fit image0"),
        ((IMAGE, IMAGE, STATE, STATE), ValueError, r"missing must be \(1, 2, 4, 6\)"),
        ((IMAGE, IMAGE, STATE, MISSING, 3), ValueError, "stride must be one of"),
        ((IMAGE, IMAGE, STATE, MISSING, 4, torch.int8), TypeError, "dtype must be a floating dtyp"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, words):
    rest = (IMAGE, IMAGE, STATE, MISSING, 4, torch.float32)[len(arguments) :]
    with pytest.raises(error, match=words):
        kernels.refine_inputs(*arguments, *rest)
