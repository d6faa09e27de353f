"""How much of a frame cannot be explained by motion or by a change of brightness of another one.

Both frames are reduced to about 128x72 pixels. Each block of 16x16 pixels of one is searched for in
the other, in the place where it is and, after a fast pan, also at the global shift that phase
correlation proposes. The measure of a match is the normalised correlation of luma, which a change
of exposure leaves alone; mean luma (less one gain and offset for the whole picture) and chroma must
agree as well. Blocks without texture say something only where they change colour, so that black
bars and clear skies do not make two shots alike.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

AREA = 128 * 72  # pixels of a reduced frame, whatever its proportions
BLOCK = 16  # pixels of a reduced frame
SEARCH = 12  # pixels in each direction, a tenth of the width
NOISE = 4.0  # variance of luma, of 255; a block of the double of it counts half
TOLERANCE = 0.5  # difference of mean colours that halves a match, to the contrast of the picture
TOLERANCES = (5.0, 24.0)  # its least and greatest, of 255
ALIKE = 0.7  # correlation from which a match may differ in brightness
RECOLORED = 80.0  # difference of chroma, of 255, that halves a match in place
FLAT_WEIGHT = 0.5  # of a block without texture that changes colour; one with texture has 1
BAR = 10.0  # range of luma, of 255, within which a row or column at the border is a bar
EMPTY = 0.02  # share of the picture below which what happens is no evidence
EXPLAINED = 0.08  # a change below it in one direction needs no second look


def reduced_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) of about AREA pixels, multiples of 8, two blocks at least."""
    scale = math.sqrt(AREA / (height * width))
    return tuple(min(1024, max(2 * BLOCK, round(n * scale / 8) * 8)) for n in (height, width))


def display_levels(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 over 0..255 from uint8, uint16 over 0..65535, or scene-linear floats."""
    if frame.dtype == np.uint8:
        return frame.astype(np.float32)
    if frame.dtype == np.uint16:
        return frame.astype(np.float32) / 257
    return 255 * np.nan_to_num(frame.astype(np.float32)).clip(0, 1) ** (1 / 2.2)


class ReducedFrame:
    """A frame (H, W, 3) RGB of any dtype, reduced, with the statistics of its blocks.

    Attributes:
        luma: (h, w) float32, 0..255.
        color: (h, w, 3) float32: luma and the two chroma differences.
    """

    def __init__(self, frame: np.ndarray):
        h, w = reduced_size(*frame.shape[:2])
        if frame.dtype not in (np.uint8, np.uint16):
            frame = frame.astype(np.float32, copy=False)
        shrink = frame.shape[0] > h and frame.shape[1] > w
        small = cv2.resize(
            frame, (w, h), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        )
        small = cv2.cvtColor(display_levels(small) / 255, cv2.COLOR_RGB2YCrCb) * np.float32(255)
        small[..., 1:] -= 127.5
        self.color = small
        self.contrast = float(small[..., 0].std())  # standard deviation of luma
        self.luma = np.ascontiguousarray(small[..., 0])
        # least and greatest luma of each row and of each column
        self.extremes = [(self.luma.min(axis), self.luma.max(axis)) for axis in (1, 0)]
        self.padded = cv2.copyMakeBorder(self.luma, *[SEARCH] * 4, cv2.BORDER_REPLICATE)
        window = {"ksize": (BLOCK, BLOCK), "anchor": (0, 0), "borderType": cv2.BORDER_REPLICATE}
        means = cv2.blur(cv2.copyMakeBorder(small, *[SEARCH] * 4, cv2.BORDER_REPLICATE), **window)
        squares = cv2.sqrBoxFilter(self.padded, cv2.CV_32F, **window)
        self.means = means  # of the block that begins at each pixel, (h + 2 S, w + 2 S, 3)
        self.variances = np.maximum(squares - means[..., 0] ** 2, 0)


class Change(NamedTuple):
    """Of one frame to another, in shares of the picture, 0..1.

    Attributes:
        unexplained: what neither motion nor brightness explains.
        displaced: what is not found in its place.
    """

    unexplained: float
    displaced: float


def compare(a: ReducedFrame, b: ReducedFrame) -> Change:
    """The change of two frames of one size, in either order."""
    content = _content(a, b)
    there = _change_of_blocks(a, b, content, (0, 0))
    if there.unexplained < EXPLAINED:
        return there
    back = _change_of_blocks(b, a, content, (0, 0))
    displaced = (there.displaced + back.displaced) / 2
    shift = _global_shift(a, b)
    if max(map(abs, shift)) > SEARCH // 2:
        there = min(there, _change_of_blocks(a, b, content, shift))
        back = min(back, _change_of_blocks(b, a, content, (-shift[0], -shift[1])))
    return Change((there.unexplained + back.unexplained) / 2, displaced)


def _content(a: ReducedFrame, b: ReducedFrame) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) without the bars that both frames have at their borders.

    Blocks on the edge of a bar would be found again in any other shot.
    """
    spans = []
    for (a_low, a_high), (b_low, b_high) in zip(a.extremes, b.extremes, strict=True):
        bars = np.maximum(a_high, b_high) - np.minimum(a_low, b_low) <= BAR
        inside = np.flatnonzero(~bars)
        wide = len(inside) and inside[-1] + 1 - inside[0] >= BLOCK
        spans += [int(inside[0]), int(inside[-1]) + 1] if wide else [0, len(bars)]
    return tuple(spans)


def _change_of_blocks(
    a: ReducedFrame,
    b: ReducedFrame,
    content: tuple[int, int, int, int],
    shift: tuple[int, int],
) -> Change:
    """What of the blocks of b is not found in a, around `shift` (dx, dy)."""
    h, w = b.luma.shape
    ys, xs = _grid(*content)
    # the corner of the searched window in the padded a, where a shifted one still fits
    y0 = np.clip(ys + shift[1], 0, h - BLOCK)
    x0 = np.clip(xs + shift[0], 0, w - BLOCK)
    reach = 2 * SEARCH + 1
    covariances = np.empty((len(ys), reach, reach), np.float32)
    for k in range(len(ys)):
        window = a.padded[y0[k] : y0[k] + BLOCK + 2 * SEARCH, x0[k] : x0[k] + BLOCK + 2 * SEARCH]
        block = b.luma[ys[k] : ys[k] + BLOCK, xs[k] : xs[k] + BLOCK]
        cv2.matchTemplate(window, block, cv2.TM_CCOEFF, covariances[k])
    covariances /= BLOCK * BLOCK
    rows = (y0[:, None] + np.arange(reach))[:, :, None]
    columns = (x0[:, None] + np.arange(reach))[:, None, :]
    variance = b.variances[ys + SEARCH, xs + SEARCH]
    mean = b.means[ys + SEARCH, xs + SEARCH]
    match = covariances / np.sqrt(
        (a.variances[rows, columns] + NOISE) * (variance + NOISE)[:, None, None]
    )
    normed = (variance + NOISE) / np.maximum(variance, 1e-3)  # 1 for a block found as it is
    in_place = (match[:, SEARCH, SEARCH] * normed).clip(0, 1)
    there = a.means[y0 + SEARCH, x0 + SEARCH]
    recolored = np.abs(there[:, 1:] - mean[:, 1:]).sum(-1)
    in_place /= 1 + (recolored / RECOLORED) ** 2
    match = match.reshape(len(ys), -1)
    best = match.argmax(1)
    z = (match.max(1) * normed).clip(0, 1)
    found = a.means[y0 + best // reach, x0 + best % reach]
    texture = variance**2 / (variance**2 + (2 * NOISE) ** 2)
    tolerance = float(np.clip(TOLERANCE * max(a.contrast, b.contrast), *TOLERANCES))
    gain, offset = _exposure(found, mean, texture * z, tolerance)
    luma, chroma = _distances(found, mean, gain, offset)
    alike = ((z - ALIKE) / (1 - ALIKE)).clip(0, 1)  # the same thing in another light
    miss = luma * (1 - alike) + chroma * (1 - alike / 2)
    textured = 1 - z / (1 + (miss / tolerance) ** 2)
    # without texture: the nearest colour within reach
    near = a.means[rows[:, ::4], columns[:, :, ::4]]
    flat = sum(_distances(near, mean[:, None, None], gain, offset)).reshape(len(ys), -1).min(1)
    flat = np.minimum(1, flat / tolerance)
    flat_weight = FLAT_WEIGHT * (1 - texture) * flat
    total = (texture + flat_weight).sum() + EMPTY * len(ys)
    return Change(
        *(float((texture @ u + flat_weight @ flat) / total) for u in (textured, 1 - in_place))
    )


def _exposure(
    found: np.ndarray, mean: np.ndarray, weight: np.ndarray, tolerance: float
) -> tuple[float, float]:
    """Gain and offset from the mean luma of blocks to that of their matches, or none (1, 0).

    The one that leaves less is taken: lightning changes only a part of the picture.
    """
    total = weight.sum()
    if total < 1:
        return 1.0, 0.0
    x, y = found[:, 0], mean[:, 0]
    mx, my = (weight * x).sum() / total, (weight * y).sum() / total
    variance = (weight * (x - mx) ** 2).sum() / total
    gain = (weight * (x - mx) * (y - my)).sum() / total / (variance + NOISE)
    gain = float(np.clip(gain, 0.25, 4))
    offset = float(my - gain * mx)

    def left(gain, offset):
        return (weight * np.minimum(sum(_distances(found, mean, gain, offset)), tolerance)).sum()

    return min((1.0, 0.0), (gain, offset), key=lambda fit: left(*fit))


def _distances(
    found: np.ndarray, mean: np.ndarray, gain: float, offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of luma and of chroma between mean colours (..., 3), the first ones after gain and offset."""
    luma = np.abs(gain * found[..., 0] + offset - mean[..., 0])
    scale = min(gain, 1.0)  # chroma fades with luma
    return luma, np.abs(scale * found[..., 1:] - mean[..., 1:]).sum(-1)


def _global_shift(a: ReducedFrame, b: ReducedFrame) -> tuple[int, int]:
    """(dx, dy), pixels from b to the same content in a."""
    h, w = a.luma.shape
    # copies: phaseCorrelate applies the window to its arguments
    (dx, dy), _ = cv2.phaseCorrelate(b.luma.copy(), a.luma.copy(), _hanning(h, w))
    return round(dx), round(dy)


@lru_cache(maxsize=4)
def _hanning(h: int, w: int) -> np.ndarray:
    return cv2.createHanningWindow((w, h), cv2.CV_32F)


@lru_cache(maxsize=16)
def _grid(top: int, bottom: int, left: int, right: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners (y, x) of blocks that cover the content, overlapping a little where they must."""

    def corners(start, end):
        count = math.ceil((end - start) / BLOCK)
        return np.linspace(start, end - BLOCK, count).round().astype(int)

    ys, xs = np.meshgrid(corners(top, bottom), corners(left, right), indexing="ij")
    return ys.ravel(), xs.ravel()
