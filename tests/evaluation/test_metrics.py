"""PSNR, SSIM and interpolation errors are the ones their names promise."""

import math

import numpy as np
import pytest
import torch

from lift.evaluation.metrics import (
    interpolation_error,
    mean_absolute_error,
    normalized_interpolation_error,
    psnr,
    ssim,
    ssim_rife,
    to_uint8,
)


def _pair(height=40, width=56, noise=20, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    truth = np.stack([127 + 90 * np.sin(x / 7 + c) * np.cos(y / 5) for c in range(3)], -1)
    frame = truth + rng.normal(0, noise, truth.shape)
    return tuple(np.clip(np.round(a), 0, 255).astype(np.uint8) for a in (frame, truth))


@pytest.mark.parametrize("noise", [0, 3, 20, 90])
@pytest.mark.parametrize("size", [(40, 56), (11, 33)])
def test_ssim_equals_scikit_image(noise, size):
    metrics = pytest.importorskip(
        "skimage.metrics", reason="scikit-image, a test dependency, is not installed"
    )
    frame, truth = _pair(*size, noise)
    expected = metrics.structural_similarity(
        frame,
        truth,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=2,
    )
    assert ssim(frame, truth) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_a_frame_with_itself_is_one():
    frame, _ = _pair()
    assert ssim(frame, frame) == pytest.approx(1)


@pytest.mark.parametrize("noise", [3, 60])
def test_ssim_rife_is_that_of_a_padded_volume_of_three_slices(noise):
    """Against a dense sum over the 11 x 11 x 11 window of every point."""
    frame, truth = _pair(13, 16, noise)
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.einsum("i,j,k->ijk", line, line, line) / line.sum() ** 3
    x, y = (np.pad(f.astype(float) / 255, 5, mode="edge") for f in (frame, truth))

    def mean(volume):
        views = np.lib.stride_tricks.sliding_window_view(volume, (11, 11, 11))
        return np.einsum("hwcijk,ijk->hwc", views, window)

    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    expected = (2 * mean_x * mean_y + 0.01**2) * (2 * covariance + 0.03**2)
    expected /= (mean_x**2 + mean_y**2 + 0.01**2) * (variances + 0.03**2)
    assert ssim_rife(frame, truth) == pytest.approx(expected.mean(), abs=1e-9)
    assert abs(ssim_rife(frame, truth) - ssim(frame, truth)) > 1e-4  # two definitions


def test_interpolation_errors_are_their_definitions():
    truth = np.zeros((6, 8, 3), np.uint8)
    truth[:, 4:] = 10  # gradients of 5 along the edge, columns 3 and 4
    frame = truth.copy()
    frame[0, 0, 0], frame[2, 3, 1] = 2, 3
    assert interpolation_error(frame, truth) == pytest.approx(math.sqrt((4 + 9) / 144))
    assert normalized_interpolation_error(frame, truth) == pytest.approx(
        math.sqrt((4 / 1 + 9 / (25 + 1)) / 144)
    )
    assert mean_absolute_error(frame, truth) == pytest.approx(5 / 144)


def test_psnr_is_the_definition():
    truth = np.full((4, 5, 3), 100, np.uint8)
    frame = truth.copy()
    frame[0, 0] = 106  # three of sixty values off by six: MSE 1.8
    assert psnr(frame, truth) == pytest.approx(10 * math.log10(255**2 / 1.8))


def test_psnr_does_not_wrap_around_eight_bits():
    low, high = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert psnr(low, high) == psnr(high, low) == pytest.approx(0)


def test_psnr_of_equal_frames_is_bounded_by_the_floor():
    frame, _ = _pair()
    assert psnr(frame, frame) == pytest.approx(10 * math.log10(255**2 / 0.01))


def test_rounding_to_eight_bits_is_to_the_nearest_and_clamped():
    values = torch.tensor([-0.2, 0.0, 0.49 / 255, 0.51 / 255, 254.4 / 255, 254.6 / 255, 1.3])
    assert to_uint8(values.expand(3, 1, 7))[0, :, 0].tolist() == [0, 0, 0, 1, 254, 255, 255]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_frame_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="NaN or infinity"):
        to_uint8(torch.full((3, 2, 2), value))


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_other_shapes_and_types_are_refused(metric):
    frame, truth = _pair()
    with pytest.raises(ValueError, match="H, W, 3"):
        metric(frame[1:], truth)
    with pytest.raises(ValueError, match="uint8"):
        metric(frame.astype(np.float32), truth)


def test_ssim_refuses_frames_smaller_than_its_window():
    frame, truth = _pair(10, 40)
    with pytest.raises(ValueError, match="longer than 10"):
        ssim(frame, truth)
