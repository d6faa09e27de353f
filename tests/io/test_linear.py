"""Linear light as values for the model, and back; pixels from one depth to another."""

import numpy as np
import pytest
import torch

from lift.io.bit_depth import DEPTHS, as_8_bits, deepest, opaque, with_depth
from lift.io.decoded_frame import DecodedFrame
from lift.io.linear import BRIGHTEST, WHITE, srgb_decode, srgb_encode, to_display, to_linear

LIGHT = torch.cat([torch.zeros(1), torch.logspace(-8, 4.816, 20001)])
LIGHT = torch.cat([LIGHT, -LIGHT])


def test_the_curve_is_invertible_and_stays_in_range():
    shown = to_display(LIGHT)
    assert shown.dtype == torch.float32 and shown.abs().max() < 1
    # a step of the display-like value is at most that much light
    assert torch.allclose(to_linear(shown), LIGHT, rtol=5e-5, atol=1e-7)
    assert (shown[1:20002].diff() > 0).all()
    assert to_display(torch.ones(1)).item() == pytest.approx(WHITE, abs=1e-6)


def test_up_to_white_the_curve_is_that_of_srgb_and_goes_on_without_an_edge():
    x = torch.linspace(0, 1, 256)
    assert torch.equal(to_display(x), WHITE * srgb_encode(x))
    assert torch.allclose(srgb_decode(srgb_encode(x)), x, atol=1e-6)
    assert srgb_encode(torch.tensor(0.2140411)).item() == pytest.approx(0.5, abs=1e-6)
    below, above = (to_display(torch.tensor(v)) - WHITE for v in (0.99, 1.01))
    assert -below.item() == pytest.approx(above.item(), rel=0.05)


def test_generated_light_is_finite():
    light = to_linear(torch.tensor([1.0, 1.5, -1.0]))
    assert torch.allclose(light, torch.tensor([BRIGHTEST, BRIGHTEST, -BRIGHTEST]))


def test_arrays_are_as_tensors():
    light = np.array([[0.1, 2.0], [-0.1, 0.0]], np.float32)
    assert np.array_equal(to_display(light), to_display(torch.from_numpy(light)).numpy())
    assert isinstance(to_linear(light), np.ndarray)


def test_16_bits_and_8_bits_are_exact_in_the_way_that_has_room():
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    deep = with_depth(DecodedFrame(eight, None, eight[..., 0]), np.uint16)
    assert deep.rgb.dtype == deep.alpha.dtype == np.uint16 and deep.rgb.max() == 65535
    for kind in DEPTHS[1:]:
        assert np.array_equal(as_8_bits(with_depth(DecodedFrame(eight), kind).rgb), eight)
    sixteen = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(3, 2)
    assert np.array_equal(as_8_bits(sixteen), np.rint(sixteen / 257).astype(np.uint8))


def test_colours_are_multiplied_by_alpha_in_linear_light_only():
    rgb, alpha = np.full((2, 2, 3), 255, np.uint8), np.full((2, 2), 51, np.uint8)
    linear = with_depth(DecodedFrame(rgb, None, alpha), np.float32)
    assert linear.rgb == pytest.approx(0.2) and linear.alpha == pytest.approx(0.2)
    back = with_depth(linear, np.uint8)
    assert np.array_equal(back.rgb, rgb) and np.array_equal(back.alpha, alpha)


def test_what_is_no_number_becomes_black_or_white():
    odd = np.array([[[np.nan, np.inf, -np.inf]]], np.float32)
    assert as_8_bits(odd).tolist() == [[[0, 255, 0]]]


def test_the_deepest_of_several():
    assert deepest([np.uint8, np.float32, np.uint16]) == np.float32
    assert [opaque((1, 1), kind).item() for kind in DEPTHS] == [255, 65535, 1]
