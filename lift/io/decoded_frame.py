"""A frame as its source stores it, and what reading a source has shown: shared by all readers."""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np


@dataclass(frozen=True)
class DecodedFrame:
    """A frame as RGB and as the source stores it, so that it can be written again unchanged.

    Attributes:
        rgb: (H, W, 3), upright: uint8 where the source has 8 bits, uint16 over 0 to 65535 where it
            has more, float32 (scene-linear) for floating point.
        planes: Y, U, V (Y alone for grey), each (h, w) uint8 or uint16, upright, of the depth and
            the chroma subsampling that the source's `layout` states; None for RGB sources.
        alpha: (H, W) of rgb's dtype over its full range, upright; None where there is none.
    """

    rgb: np.ndarray
    planes: tuple[np.ndarray, ...] | None = None
    alpha: np.ndarray | None = None


@dataclass
class ReadReport:
    """What is known of a source once its frames have been read; it grows while they are.

    Attributes:
        end: seconds at which the last frame read so far stops being displayed.
        damaged: number of packets or frames that could not be decoded.
        notes: sentences for the user.
    """

    end: Fraction = Fraction(0)
    damaged: int = 0
    notes: list[str] = field(default_factory=list)


def rgb_of(frame):
    """The RGB pixels of a DecodedFrame; anything else as it is."""
    return frame.rgb if isinstance(frame, DecodedFrame) else frame
