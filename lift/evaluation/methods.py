"""What a method under test is: LIFT, a baseline, or another model."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# (frames (T, H, W, 3) uint8 RGB in the order of time, their times with the references at 0 and 1,
# position of the left reference, t in (0, 1)) -> the frame at t, (H, W, 3) float32 in [0, 255],
# not rounded
Interpolate = Callable[[np.ndarray, list[float], int, float], np.ndarray]


@dataclass(frozen=True)
class Method:
    """A method under test.

    Attributes:
        name: of its column.
        context_frames: the largest number of input frames that it reads, references included.
        interpolate: see `Interpolate`.
        about: where it comes from (weights, code, version), stored beside its scores.
    """

    name: str
    context_frames: int
    interpolate: Interpolate
    about: str = ""
