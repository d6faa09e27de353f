"""Sizes of frames as published protocols prepare them.

Each function returns the `prepare` of a `TestSet`. It raises LiftError, a sentence that continues
the path of a frame, where the frame does not fit.
"""

from collections.abc import Callable

import numpy as np

from lift.errors import LiftError
from lift.io.optional import require

Prepare = Callable[[np.ndarray], np.ndarray]


def exactly(height: int, width: int, protocol: str) -> Prepare:
    """Frames of one size, unchanged."""

    def prepare(frame: np.ndarray) -> np.ndarray:
        if frame.shape[:2] != (height, width):
            raise LiftError(
                f"is {frame.shape[1]}x{frame.shape[0]} and protocol {protocol} needs "
                f"{width}x{height}; copy the test set again, without resizing"
            )
        return frame

    return prepare


def area_resized(height: int, width: int, protocol: str) -> Prepare:
    """Frames resized by area averaging, never enlarged."""

    def prepare(frame: np.ndarray) -> np.ndarray:
        _check_covers(frame, height, width, protocol)
        cv2 = require("cv2", f"protocol {protocol}")
        return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)

    return prepare


def centre_cropped(height: int, width: int, protocol: str) -> Prepare:
    """The centre of frames."""

    def prepare(frame: np.ndarray) -> np.ndarray:
        _check_covers(frame, height, width, protocol)
        top, left = ((a - b) // 2 for a, b in zip(frame.shape, (height, width), strict=False))
        return frame[top : top + height, left : left + width]

    return prepare


def _check_covers(frame: np.ndarray, height: int, width: int, protocol: str) -> None:
    if frame.shape[0] < height or frame.shape[1] < width:
        raise LiftError(
            f"is {frame.shape[1]}x{frame.shape[0]} and protocol {protocol} needs at least "
            f"{width}x{height}; copy the test set again, without resizing"
        )
