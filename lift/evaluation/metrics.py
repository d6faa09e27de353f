"""PSNR, SSIM and interpolation errors of frames, as papers define them.

SSIM source: Wang et al., "Image quality assessment: from error visibility to structural
similarity", IEEE TIP 2004. Papers differ in both metrics (rounding before PSNR; the window, its
border and the colour treatment of SSIM), so a number means something only beside its protocol's
name.

Source of the interpolation errors: Baker et al., "A Database and Evaluation Methodology for Optical
Flow", IJCV 2011.
"""

from collections.abc import Callable

import numpy as np
import torch

from lift.io.optional import require

MSE_FLOOR = 0.01  # of 255²: a perfect frame scores 68.13 dB, not infinity
SSIM_SIGMA = 1.5
SSIM_BORDER = 5  # radius of the Gaussian window, cut at 3.5 sigma


def to_uint8(frame: torch.Tensor) -> np.ndarray:
    """A frame as 8-bit RGB: clamped, rounded half up.

    Args:
        frame: (3, H, W), RGB, nominally in [0, 1].

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: the shape is not (3, H, W), or a value is not finite.
    """
    if frame.ndim != 3 or frame.shape[0] != 3:
        raise ValueError(f"to_uint8: frame must be (3, H, W), got {tuple(frame.shape)}")
    if not torch.isfinite(frame).all():
        raise ValueError("to_uint8: frame holds NaN or infinity")
    scaled = frame.detach().float().clamp(0, 1) * 255 + 0.5
    return scaled.to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def psnr(frame: np.ndarray, truth: np.ndarray) -> float:
    """10 log10(255² / MSE) over all pixels and channels, in dB, with the MSE floored at 0.01.

    Args:
        frame, truth: (H, W, 3) uint8.

    Raises:
        ValueError: a shape or dtype is another.
    """
    _check(frame, truth)
    return _psnr(frame, truth)


def psnr_unrounded(frame: np.ndarray, truth: np.ndarray) -> float:
    """As `psnr`, of a frame that is not rounded to 8 bits.

    Args:
        frame: (H, W, 3) float, in [0, 255].
        truth: (H, W, 3) uint8.

    Raises:
        ValueError: the shapes differ, or a value is not finite.
    """
    if frame.shape != truth.shape:
        raise ValueError(
            f"psnr_unrounded: frame and truth must have one shape, got {frame.shape} and "
            f"{truth.shape}"
        )
    if not np.isfinite(frame).all():
        raise ValueError("psnr_unrounded: frame holds NaN or infinity")
    return _psnr(frame, truth)


def _psnr(frame: np.ndarray, truth: np.ndarray) -> float:
    difference = frame.astype(np.float64) - truth
    return float(10 * np.log10(255**2 / max(np.mean(difference * difference), MSE_FLOOR)))


def ssim(frame: np.ndarray, truth: np.ndarray) -> float:
    """Mean structural similarity: Gaussian window (sigma 1.5, 11 × 11), mean of the channels.

    Equals scikit-image's `structural_similarity` with gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, channel_axis=2 and data_range=255. The border where the window
    does not fit is left out.

    Args:
        frame, truth: (H, W, 3) uint8, both sides longer than 10 pixels.

    Raises:
        ValueError: a shape or dtype is another, or a side is too short.
        LiftError: OpenCV is not installed.
    """
    _check_window("ssim", frame, truth)
    inside = slice(SSIM_BORDER, -SSIM_BORDER)
    return _ssim(frame, truth, lambda image: _gaussian(image)[inside, inside])


def ssim_rife(frame: np.ndarray, truth: np.ndarray) -> float:
    """Mean structural similarity as RIFE and its successors report it (`ssim_matlab`).

    The Gaussian window (sigma 1.5) is 11 × 11 × 11: RGB is taken as a volume of three slices, and
    the volume is padded by replication on every side.

    Args:
        frame, truth: (H, W, 3) uint8, both sides longer than 10 pixels.

    Raises:
        ValueError: a shape or dtype is another, or a side is too short.
        LiftError: OpenCV is not installed.
    """
    _check_window("ssim_rife", frame, truth)
    # Along the three channels, the window with replicated ends is a 3 × 3 matrix.
    channels = np.zeros((3, 3))
    for offset, weight in zip(range(-SSIM_BORDER, SSIM_BORDER + 1), _window(), strict=True):
        for channel in range(3):
            channels[min(max(channel + offset, 0), 2), channel] += weight
    return _ssim(frame, truth, lambda image: _gaussian(image) @ channels)


def _ssim(
    frame: np.ndarray, truth: np.ndarray, local_mean: Callable[[np.ndarray], np.ndarray]
) -> float:
    x, y = frame.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = local_mean(x), local_mean(y)
    variance_x, variance_y = local_mean(x * x) - mean_x**2, local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # the constants of the definition
    similarity = (
        (2 * mean_x * mean_y + c1)
        * (2 * covariance + c2)
        / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
    )
    return float(similarity.mean())


def _window() -> np.ndarray:
    offsets = np.arange(-SSIM_BORDER, SSIM_BORDER + 1)
    window = np.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    return window / window.sum()


def _gaussian(image: np.ndarray) -> np.ndarray:
    """Gaussian-weighted local mean of (H, W, 3) float64, the border replicated."""
    cv2 = require("cv2", "SSIM")
    window = _window()
    return cv2.sepFilter2D(image, cv2.CV_64F, window, window, borderType=cv2.BORDER_REPLICATE)


def interpolation_error(frame: np.ndarray, truth: np.ndarray) -> float:
    """IE: root mean square difference over all pixels and channels, in levels of 255.

    Args:
        frame, truth: (H, W, 3) uint8.

    Raises:
        ValueError: a shape or dtype is another.
    """
    _check(frame, truth)
    return float(np.sqrt(np.mean((frame.astype(np.float64) - truth) ** 2)))


def normalized_interpolation_error(frame: np.ndarray, truth: np.ndarray) -> float:
    """NIE: as `interpolation_error`, each squared difference divided by squared gradient + 1.

    The gradient is the true frame's in the same channel, by central differences.

    Args:
        frame, truth: (H, W, 3) uint8, both sides of at least 2 pixels.

    Raises:
        ValueError: a shape or dtype is another.
    """
    _check(frame, truth)
    y = truth.astype(np.float64)
    dy, dx = np.gradient(y, axis=(0, 1))
    return float(np.sqrt(np.mean((frame - y) ** 2 / (dx**2 + dy**2 + 1))))


def mean_absolute_error(frame: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference, in levels of 255: what RIFE's script for Middlebury prints as IE.

    Args:
        frame, truth: (H, W, 3) uint8.

    Raises:
        ValueError: a shape or dtype is another.
    """
    _check(frame, truth)
    return float(np.mean(np.abs(frame.astype(np.float64) - truth)))


def _check_window(name: str, frame: np.ndarray, truth: np.ndarray) -> None:
    _check(frame, truth)
    if min(frame.shape[:2]) <= 2 * SSIM_BORDER:
        raise ValueError(
            f"{name}: both sides must be longer than {2 * SSIM_BORDER} pixels, "
            f"got {frame.shape[:2]}"
        )


def _check(frame: np.ndarray, truth: np.ndarray) -> None:
    if frame.shape != truth.shape or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(
            f"frame and truth must both be (H, W, 3), got {frame.shape} and {truth.shape}"
        )
    if frame.dtype != np.uint8 or truth.dtype != np.uint8:
        raise ValueError(f"frame and truth must be uint8, got {frame.dtype} and {truth.dtype}")
