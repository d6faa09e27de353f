"""How frames are coded as YUV, and 8-bit RGB to YUV, rounded to nearest.

The matrix is the tagged one. An untagged frame has BT.709 from 720 lines on, else BT.601, which is
what players assume. Halved chroma is repeated on the way to RGB (`lift.io.to_rgb`) and averaged on
the way back, so the two are inverse to each other but for rounding and for colours outside of RGB.
Video frames that are written again unchanged need not pass through RGB: see `lift.io.planes`.

swscale rounds exactly with ACCURATE_RND and FULL_CHR_H_INT alone; its default truncates, which
darkens by about one level. Its range conversion from RGB to chroma of full range is not exact; that
goes through 16 bits here.
"""

from dataclasses import dataclass

import numpy as np

from lift.io.optional import require

# flags of swscale by value, since PyAV 17 has no names for all of them
AREA = 0x20
FULL_CHROMA, ACCURATE = 0x2000 | 0x4000, 0x40000
TO_YUV = AREA | ACCURATE | FULL_CHROMA

BT709, BT601, YCGCO, BT2020 = 1, 6, 8, 9  # numbers of ISO/IEC 23091-2
UNSPECIFIED = 2
SWSCALE_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # to swscale's own numbers
HD_LINES = 720  # untagged frames are BT.709 from here on
LIMITED, FULL = 1, 2
GRAY = ("gray", "ya8", "ya16")  # full range where nothing is stated, as everywhere in FFmpeg


@dataclass(frozen=True)
class YuvCoding:
    """How RGB is coded as YUV.

    Attributes:
        matrix: matrix coefficients by their number in ISO/IEC 23091-2.
        full_range: 0 to 255 instead of 16 to 235.
    """

    matrix: int = BT709
    full_range: bool = False

    @property
    def swscale_matrix(self) -> int:
        return SWSCALE_MATRICES[self.matrix]


@dataclass(frozen=True)
class FrameLayout:
    """What the frames of a source look like, upright.

    Attributes:
        pix_fmt: FFmpeg's name of the planar YUV, grey or RGB format that holds the planes without
            alpha and without loss: yuv422p10le, gray, gbrp12le. Full range is not part of it
            (yuv420p, never yuvj420p): see `coding`.
        bits: of one sample, 8 to 16 (32 for floating point).
        chroma: "420", "422", "440", "444", "411", "410", "gray" or "rgb".
        has_alpha: frames have an alpha channel.
        coding: matrix and range of the planes; the default for RGB.
    """

    pix_fmt: str = "yuv420p"
    bits: int = 8
    chroma: str = "420"
    has_alpha: bool = False
    coding: YuvCoding = YuvCoding()

    @property
    def is_rgb(self) -> bool:
        """Samples are red, green and blue; there are no planes of YUV."""
        return self.chroma == "rgb"


def coding_of(frame) -> YuvCoding:
    """How a decoded frame (av.VideoFrame) is coded; the one rule for untagged frames."""
    tagged = int(frame.colorspace)
    untagged = BT709 if frame.height >= HD_LINES else BT601
    known = tagged in SWSCALE_MATRICES or tagged == YCGCO
    name, stated = frame.format.name, int(frame.color_range)
    full = stated == FULL or name.startswith("yuvj")
    if stated not in (LIMITED, FULL) and name.startswith(GRAY):
        full = True
    return YuvCoding(tagged if known else untagged, full)


def rgb_to_frame(rgb: np.ndarray, pix_fmt: str, coding: YuvCoding):
    """(H, W, 3) uint8 RGB as an av.VideoFrame, `yuv420p` or `yuv444p`, 8 bits."""
    av = require("av", "encoding a video")
    source = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    source.colorspace = coding.matrix
    deep = pix_fmt + "16le" if coding.full_range else pix_fmt
    frame = source.reformat(
        format=deep,
        src_colorspace=coding.swscale_matrix,
        dst_colorspace=coding.swscale_matrix,
        src_color_range=FULL,
        dst_color_range=LIMITED,
        interpolation=TO_YUV,
    )
    if not coding.full_range:
        return frame
    planes = []
    for index, plane in enumerate(frame.planes):
        stored = _plane(plane, plane.height, plane.width, 16)
        scale = 255 / (224 if index else 219)
        offset = 128 * (1 - scale) if index else -16 * scale
        planes.append(_scaled(stored, scale / 256, offset))
    return planes_to_frame(planes, pix_fmt, coding)


def planes_to_frame(planes, pix_fmt: str, coding: YuvCoding):
    """Y, U, V, each (h, w) uint8, as an av.VideoFrame."""
    av = require("av", "encoding a video")
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pix_fmt)
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(target, np.uint8).reshape(-1, target.line_size)
        rows[: plane.shape[0], : plane.shape[1]] = plane
    frame.colorspace = coding.matrix
    frame.color_range = FULL if coding.full_range else LIMITED
    return frame


def _plane(plane, height: int, width: int, bits: int) -> np.ndarray:
    """A plane of a frame without its padding, (h, w) uint8 or uint16."""
    kind = np.dtype(np.uint8 if bits <= 8 else np.uint16)
    rows = np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)
    return rows[:height, :width]


def _scaled(plane: np.ndarray, scale: float, offset: float) -> np.ndarray:
    """plane * scale + offset, rounded to nearest and clamped to 0..255."""
    return np.clip(np.rint(plane * np.float32(scale) + np.float32(offset)), 0, 255).astype(np.uint8)
