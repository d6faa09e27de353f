"""How much two images differ around each pixel, relative to their contrast."""

from functools import partial

import pytest
import torch

from lift import kernels
from lift.kernels.ops.change_map.reference import NOISE_CONTRAST


@pytest.mark.parametrize("size", [(2, 2), (2, 8), (10, 6)])
def test_change_is_the_largest_difference_over_the_contrast_in_three_blocks_of_two_pixels(size):
    a, b = torch.rand(2, 2, 3, *size)
    highest = partial(torch.nn.functional.max_pool2d, kernel_size=6, stride=2, padding=2)
    contrast = sum((highest(x) + highest(-x)).amax(1, keepdim=True) for x in (a, b)) / 2
    difference = highest((a - b).abs().amax(1, keepdim=True)).clamp(min=1e-3)
    found = kernels.change_map(a, b)
    torch.testing.assert_close(found.exp(), difference / (contrast + NOISE_CONTRAST))
    assert torch.equal(found, kernels.change_map(b, a))


def test_equal_images_have_a_finite_change():
    flat = torch.full((1, 3, 4, 4), 0.3)
    found = kernels.change_map(flat, flat)
    torch.testing.assert_close(found.exp(), torch.full((1, 1, 2, 2), 1e-3 / NOISE_CONTRAST))


def test_half_images_are_compared_in_float32():
    a, b = torch.rand(2, 1, 3, 6, 8).bfloat16()
    found = kernels.change_map(a, b)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, kernels.change_map(a.float(), b.float()))


def test_the_reference_is_differentiable_and_auto_selects_it():
    a, b = torch.rand(2, 1, 3, 4, 4)
    kernels.change_map(a.requires_grad_(), b).sum().backward()
    assert a.grad.any()
    reasons = kernels.unsupported_reasons("change_map", a, b)
    assert reasons["triton"] and reasons["reference"] is None


@pytest.mark.parametrize(
    "image0, image1, error, message",
    [
        (torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), ValueError, r"must be \(B, C, H, W\)"),
        (torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), ValueError, "even H and W"),
        (torch.zeros(1, 3, 3, 4), torch.zeros(1, 3, 3, 4), ValueError, "even H and W"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4), ValueError, "to fit image0"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4).half(), TypeError, "to fit image0"),
    ],
)
def test_wrong_arguments_are_named(image0, image1, error, message):
    with pytest.raises(error, match=f"change_map: .*{message}"):
        kernels.change_map(image0, image1)
