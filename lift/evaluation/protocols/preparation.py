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
    """Frames resized by area averaging."""

    def prepare(frame: np.ndarray) -> np.ndarray:
        cv2 = require("cv2", f"protocol {protocol}")
        return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)

    return prepare


def centre_cropped(height: int, width: int, protocol: str) -> Prepare:
    """The centre of frames that are at least so large."""

    def prepare(frame: np.ndarray) -> np.ndarray:
        if frame.shape[0] < height or frame.shape[1] < width:
            raise LiftError(
                f"is {frame.shape[1]}x{frame.shape[0]} and protocol {protocol} needs at least "
                f"{width}x{height}; copy the test set again, without resizing"
            )
        top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
        return frame[top : top + height, left : left + width]

    return prepare


def both(check: Prepare, prepare: Prepare) -> Prepare:
    """`prepare` of frames that `check` accepts."""
    return lambda frame: prepare(check(frame))
