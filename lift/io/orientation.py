"""The eight orientations of a stored image: EXIF orientation 1 to 8, or a display matrix.

A stored image becomes upright by an optional transposition, then a flip of either axis.
"""

import struct
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Orientation:
    """How a stored image becomes upright: transpose, then flip left-right, then flip up-down."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The upright view of an array (H, W) or (H, W, C)."""
        if self.transpose:
            image = image.swapaxes(0, 1)
        return image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the upright image."""
        return (width, height) if self.transpose else (height, width)


UPRIGHT = Orientation()
OF_EXIF = {
    1: UPRIGHT,
    2: Orientation(flip_x=True),
    3: Orientation(flip_x=True, flip_y=True),
    4: Orientation(flip_y=True),
    5: Orientation(transpose=True),
    6: Orientation(transpose=True, flip_x=True),
    7: Orientation(transpose=True, flip_x=True, flip_y=True),
    8: Orientation(transpose=True, flip_y=True),
}


def of_display_matrix(matrix: bytes) -> Orientation:
    """The orientation in FFmpeg's display matrix: nine native 32-bit integers, a b u c d v x y w.

    A point (p, q) of the stored image is displayed at (a p + c q + x, b p + d q + y).
    Other angles than multiples of 90 degrees count as the nearest of these.
    """
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def of_exif(tiff: bytes) -> Orientation:
    """The orientation in EXIF data (from its TIFF header on); upright where none is stated."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return UPRIGHT
    start = struct.unpack(order + "I", tiff[4:8])[0]
    if start + 2 > len(tiff):
        return UPRIGHT
    count = struct.unpack(order + "H", tiff[start : start + 2])[0]
    for entry in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = struct.unpack(order + "HH", tiff[entry : entry + 4])
        if tag == 0x0112 and kind == 3:
            value = struct.unpack(order + "H", tiff[entry + 8 : entry + 10])[0]
            return OF_EXIF.get(value, UPRIGHT)
    return UPRIGHT
