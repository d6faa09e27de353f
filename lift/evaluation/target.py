"""A target frame of an evaluation: its recorded scores, and the frames to generate it from."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ScoredFrame:
    """PSNR of a generated frame and of a baseline's, dB.

    Attributes:
        clip: name of the clip or triplet.
        frame: index of the target in the clip; None in a triplet, which has one target.
        psnr: of the method under test.
        baseline: of the baseline.
    """

    clip: str
    frame: int | None
    psnr: float
    baseline: float

    @property
    def gain(self) -> float:
        """PSNR gain over the baseline, dB."""
        return self.psnr - self.baseline

    @property
    def title(self) -> str:
        """The clip and the number of the frame in words."""
        return f"triplet {self.clip}" if self.frame is None else f"{self.clip}, frame {self.frame}"


@dataclass(frozen=True)
class Target:
    """A true frame and the input frames for it, prepared as its protocol does.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB, in the order of time.
        times: (T,) in units of the reference interval, the references at 0 and 1.
        left: position of the left reference.
        truth: (H, W, 3) uint8 RGB.
        t: its time, in (0, 1).
    """

    frames: np.ndarray
    times: list[float]
    left: int
    truth: np.ndarray
    t: float = 0.5
