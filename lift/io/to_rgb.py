"""Decoded frames to RGB, rounded to nearest: 8 bits as 0..255, more as 0..65535.

Chroma is repeated to the size of luma. swscale converts to 8 bits; it rounds exactly with
ACCURATE_RND and FULL_CHR_H_INT alone, its default truncates, which darkens by about one level. It
has neither 16 exact bits nor YCgCo: these are one affine transform of three planes in float32.
"""

from functools import lru_cache

import numpy as np

from lift.io.color import FULL, LIMITED, LUMA_WEIGHTS, YCGCO, YuvCoding, coding_of
from lift.io.optional import require
from lift.io.planes import EXACT, PlaneReader, repeated, storage_of

WHITE = 65535
YCGCO_TO_RGB = np.array([[1, -1, 1], [1, 1, 0], [1, -1, -1]], float)


@lru_cache
def rgb_transform(coding: YuvCoding, bits: int) -> np.ndarray:
    """(3, 4) float64: rows R, G, B in 0..65535 of columns Y, U, V as stored with `bits`, and 1."""
    if coding.matrix == YCGCO:
        matrix = YCGCO_TO_RGB
    else:
        kr, kb = LUMA_WEIGHTS[coding.matrix]
        kg = 1 - kr - kb
        red, blue = 2 * (1 - kr), 2 * (1 - kb)
        matrix = np.array([[1, 0, red], [1, -kb * blue / kg, -kr * red / kg], [1, blue, 0]])
    largest, unit = (1 << bits) - 1, 1 << (bits - 8)
    black, luma, chroma = (
        (0, largest, largest) if coding.full_range else (16 * unit, 219 * unit, 224 * unit)
    )
    scaled = WHITE * matrix / (luma, chroma, chroma)
    offset = -scaled @ (black, 1 << (bits - 1), 1 << (bits - 1))
    return np.concatenate([scaled, offset[:, None]], 1)


class RgbConverter:
    """Converts decoded frames to RGB; holds swscale's tables from one frame to the next."""

    def __init__(self):
        self._reformatter = None
        self._read = PlaneReader()

    def __call__(self, frame) -> np.ndarray:
        """A decoded frame (av.VideoFrame) as (H, W, 3) uint8 RGB, not yet turned upright."""
        if frame.format.name == "rgb24":
            return frame.to_ndarray()
        coding = coding_of(frame)
        storage = storage_of(frame.format)
        if coding.matrix == YCGCO and storage.chroma in ("420", "422", "440", "444"):
            return _to_8_bits(yuv_to_rgb(self._read(frame)[0], coding, storage.bits), WHITE)
        if self._reformatter is None:
            self._reformatter = require("av.video.reformatter", "decoding").VideoReformatter()
        deep = storage.bits > 8 and coding.full_range and storage.chroma != "rgb"
        full = coding.full_range or storage.chroma == "rgb"
        rgb = self._reformatter.reformat(
            _with_aligned_chroma(frame, coding.matrix),
            format="rgb48le" if deep else "rgb24",
            src_colorspace=coding.swscale_matrix if coding.matrix != YCGCO else None,
            src_color_range=FULL if full else LIMITED,
            dst_color_range=FULL,
            interpolation=EXACT,
        ).to_ndarray()[: frame.height, : frame.width]
        if deep:  # swscale shifts: the largest value is this
            rgb = _to_8_bits(rgb, ((1 << storage.bits) - 1) << (16 - storage.bits))
        return rgb

    def native(self, frame):
        """RGB of the frame's own depth, with its planes and its alpha, not yet turned upright.

        Args:
            frame: av.VideoFrame.

        Returns:
            (H, W, 3) uint8 RGB for 8 bits, else uint16; Y, U, V or Y as (h, w) views of the
            frame's memory, or None for RGB; alpha (H, W) of the dtype of RGB, or None.
        """
        storage = storage_of(frame.format)
        if storage.bits == 8 and storage.chroma == "rgb" and not storage.has_alpha:
            return self(frame), None, None
        planes, alpha = self._read(frame)
        if storage.bits == 8:
            rgb = self(frame)
        elif storage.chroma == "rgb":
            rgb = _stretched(require("cv2", "decoding").merge(planes), storage.bits)
        else:
            rgb = yuv_to_rgb(planes, coding_of(frame), storage.bits)
        if alpha is not None:
            alpha = _stretched(alpha, storage.bits)
        return rgb, None if storage.chroma == "rgb" else planes, alpha


def yuv_to_rgb(planes, coding: YuvCoding, bits: int) -> np.ndarray:
    """Y, U, V, each (h, w) uint8 or uint16, or Y alone -> (H, W, 3) uint16 RGB in 0..65535."""
    cv2 = require("cv2", "decoding")
    transform = rgb_transform(coding, bits)
    planes = [plane.astype(np.uint16, copy=False) for plane in planes]  # 8 bits are less exact
    if len(planes) == 1:
        neutral = transform[0, 1:3].sum() * (1 << (bits - 1))
        grey = np.array([[transform[0, 0], neutral + transform[0, 3]]])
        return cv2.merge([cv2.transform(np.ascontiguousarray(planes[0]), grey)] * 3)
    size = planes[0].shape
    whole = cv2.merge([planes[0], *(repeated(plane, size) for plane in planes[1:])])
    return cv2.transform(whole, transform)


def _stretched(samples: np.ndarray, bits: int) -> np.ndarray:
    """RGB or alpha, (H, W) or (H, W, 3), of 9 to 16 bits over 0..65535; 8 bits as they are."""
    if bits in (8, 16):
        return np.ascontiguousarray(samples)
    scale = WHITE / ((1 << bits) - 1)
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    cv2 = require("cv2", "decoding")
    return cv2.transform(np.ascontiguousarray(samples), scale * np.eye(channels))


def _to_8_bits(rgb: np.ndarray, white: int) -> np.ndarray:
    return require("cv2", "decoding").convertScaleAbs(rgb, alpha=255 / white)


def _with_aligned_chroma(frame, matrix: int):
    """The frame; where its chroma is subsampled a copy, with sides that are multiples of four.

    swscale would shift repeated chroma by the location that the frame states, which PyAV cannot
    unset, and by the fraction of a chroma sample at odd sides.
    """
    layout = frame.format
    sizes = {(component.height, component.width) for component in layout.components}
    if layout.is_rgb or len(sizes) == 1:
        return frame
    height, width = (-(-side // 4) * 4 for side in (frame.height, frame.width))
    copy = require("av", "decoding").VideoFrame(width, height, layout.name)
    for target, plane in zip(copy.planes, frame.planes, strict=True):
        to, rows = (np.frombuffer(p, np.uint8).reshape(-1, p.line_size) for p in (target, plane))
        height, width = np.minimum(to.shape, rows.shape)
        to[:height, :width] = rows[:height, :width]
    copy.colorspace = matrix
    return copy
