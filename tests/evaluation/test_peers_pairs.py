"""Frames reach another model's network as its own scripts prepare them."""

import numpy as np
import pytest
import torch

from lift.errors import LiftError
from lift.evaluation.peers.pairs import Preparation, halvings, multiple_at, padded, pair_method

CPU = torch.device("cpu")


def _frames(height=5, width=7, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def _mean(image0, image1, t):
    return (1 - t) * image0 + t * image1


def _interpolate(infer, preparation, t=0.5, frames=None, left=0):
    frames = _frames() if frames is None else frames
    times = [float(i - left) for i in range(len(frames))]
    return pair_method("net", infer, preparation, CPU, "").interpolate(frames, times, left, t)


@pytest.mark.parametrize("centred", (True, False))
@pytest.mark.parametrize("size", ((5, 7), (8, 8), (1, 17)))
def test_the_frame_has_the_size_of_the_references_and_is_not_rounded(centred, size):
    shapes = []

    def infer(image0, image1, t):
        shapes.append(image0.shape)
        return _mean(image0, image1, t)

    frames = _frames(*size)
    found = _interpolate(infer, Preparation(8, centred), 0.25, frames)
    assert shapes[0][2] % 8 == 0 and shapes[0][3] % 8 == 0
    assert found.dtype == np.float32 and found.shape == frames.shape[1:]
    np.testing.assert_allclose(found, 0.75 * frames[0] + 0.25 * frames[1], atol=1e-3)


def test_padding_repeats_the_border_on_all_sides_or_adds_zeros_below_and_at_the_right():
    image = torch.ones(1, 1, 2, 2)
    repeated, origin = padded(image, 4)
    assert repeated.shape == (1, 1, 4, 4) and repeated.min() == 1 and origin == (1, 1)
    zeros, origin = padded(image, 4, centred=False)
    assert zeros[..., 2:, :].max() == 0 and zeros[..., :, 2:].max() == 0 and origin == (0, 0)
    assert padded(image, 4, least=9)[0].shape == (1, 1, 12, 12)


@pytest.mark.parametrize("bgr", (True, False))
def test_channels_are_in_the_models_order_and_come_back_in_rgb(bgr):
    def infer(image0, image1, t):
        return image0 * torch.tensor([1.0, 0, 0])[:, None, None]

    frames = _frames(8, 8)
    found, kept = _interpolate(infer, Preparation(8, bgr=bgr), frames=frames), 2 if bgr else 0
    np.testing.assert_allclose(found[..., kept], frames[0][..., kept], atol=1e-3)
    assert np.delete(found, kept, axis=-1).max() == 0


def test_the_references_are_those_at_left():
    frames = _frames(count=6)
    found = _interpolate(lambda image0, image1, t: image1, Preparation(8), frames=frames, left=2)
    np.testing.assert_allclose(found, frames[3], atol=1e-3)


def test_values_outside_the_range_are_clipped():
    found = _interpolate(lambda image0, image1, t: 3 * image0 - 1, Preparation(8))
    assert found.min() == 0 and found.max() == 255


@pytest.mark.parametrize("t", (1 / 2, 1 / 4, 3 / 4, 5 / 8, 1 / 8 + 1e-9, 63 / 64))
def test_a_network_of_the_middle_reaches_other_times_by_halving(t):
    asked = []

    def infer(image0, image1, time):
        asked.append(time)
        return _mean(image0, image1, 0.5)

    frames = _frames()
    found = _interpolate(infer, Preparation(8, any_time=False), t, frames)
    np.testing.assert_allclose(found, (1 - t) * frames[0] + t * frames[1], atol=1e-3)
    assert set(asked) == {0.5}


@pytest.mark.parametrize("t", (1 / 3, 0.3, 1 / 128, 0.0, 1.0))
def test_a_time_that_halving_does_not_reach_is_refused(t):
    with pytest.raises(LiftError, match="halving does not reach t = "):
        halvings(t, "net")


def test_a_network_of_any_time_is_given_the_time():
    frames = _frames()
    found = _interpolate(_mean, Preparation(8), 0.3, frames)
    np.testing.assert_allclose(found, 0.7 * frames[0] + 0.3 * frames[1], atol=1e-3)


def test_a_failure_inside_the_network_is_one_sentence():
    def infer(image0, image1, t):
        raise ValueError("no such layer\nand more")

    with pytest.raises(
        LiftError, match=r"net failed on a pair of 7x5 \(ValueError: no such layer\)"
    ):
        _interpolate(infer, Preparation(8))


def test_a_lack_of_memory_is_one_sentence_with_another_remedy():
    def infer(image0, image1, t):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    with pytest.raises(LiftError, match="net failed on .*; use smaller frames, or --device cpu"):
        _interpolate(infer, Preparation(8))


def test_no_gradients_are_recorded():
    weight = torch.ones(1, requires_grad=True)
    seen = []

    def infer(image0, image1, t):
        seen.append((image0 * weight).requires_grad)
        return image0

    _interpolate(infer, Preparation(8))
    assert seen == [False]


def test_the_multiple_holds_after_scaling():
    assert [multiple_at(16, scale) for scale in (1, 0.5, 0.25, 0.8, 2)] == [16, 32, 64, 20, 8]
    with pytest.raises(LiftError, match="--peer_scale 0.3 gives no whole multiple"):
        multiple_at(16, 0.3)
