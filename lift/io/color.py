"""Between decoded YUV frames and 8-bit RGB, rounded to nearest in both directions.

The matrix is the tagged one. An untagged frame has BT.709 from 720 lines on, else BT.601, which is
what players assume. Halved chroma is repeated on the way to RGB and averaged on the way back, so
the two are inverse to each other but for rounding and for colours outside of RGB. Video frames that
are written again unchanged need not pass through RGB: see `yuv_planes`.

swscale rounds exactly with ACCURATE_RND and FULL_CHR_H_INT alone; its default truncates, which
darkens by about one level. Its range conversion is not exact for full range in two cases (more than
8 bits to RGB, RGB to chroma), which go through 16 bits here.
"""

from dataclasses import dataclass

import numpy as np

from lift.io.optional import require

# flags of swscale by value, since PyAV 17 has no names for all of them
POINT, AREA = 0x10, 0x20
FULL_CHROMA, ACCURATE = 0x2000 | 0x4000, 0x40000
TO_RGB, TO_YUV = POINT | ACCURATE | FULL_CHROMA, AREA | ACCURATE | FULL_CHROMA

BT709, BT601, BT2020 = 1, 6, 9  # numbers of ISO/IEC 23091-2
UNSPECIFIED = 2
SWSCALE_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # to swscale's own numbers
HD_LINES = 720  # untagged frames are BT.709 from here on
LIMITED, FULL = 1, 2


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


def coding_of(frame) -> YuvCoding:
    """How a decoded frame (av.VideoFrame) is coded; the one rule for untagged frames."""
    tagged = int(frame.colorspace)
    untagged = BT709 if frame.height >= HD_LINES else BT601
    full = int(frame.color_range) == FULL or frame.format.name.startswith("yuvj")
    return YuvCoding(tagged if tagged in SWSCALE_MATRICES else untagged, full)


class RgbConverter:
    """Converts decoded frames to RGB; holds swscale's tables from one frame to the next."""

    def __init__(self):
        self._reformatter = None

    def __call__(self, frame) -> np.ndarray:
        """A decoded frame (av.VideoFrame) as (H, W, 3) uint8 RGB, not yet turned upright."""
        if frame.format.name == "rgb24":
            return frame.to_ndarray()
        if self._reformatter is None:
            self._reformatter = require("av.video.reformatter", "decoding").VideoReformatter()
        coding = coding_of(frame)
        bits = _bits(frame.format)
        deep = bits > 8 and coding.full_range and not frame.format.is_rgb
        rgb = self._reformatter.reformat(
            _with_aligned_chroma(frame, coding.matrix),
            format="rgb48le" if deep else "rgb24",
            src_colorspace=coding.swscale_matrix,
            src_color_range=FULL if coding.full_range or frame.format.is_rgb else LIMITED,
            dst_color_range=FULL,
            interpolation=TO_RGB,
        ).to_ndarray()[: frame.height, : frame.width]
        if deep:  # swscale shifts: the largest value is this
            white = ((1 << bits) - 1) << (16 - bits)
            rgb = require("cv2", "decoding").convertScaleAbs(rgb, alpha=255 / white)
        return rgb


def yuv_planes(frame, full_chroma: bool) -> tuple[np.ndarray, ...] | None:
    """The planes of a decoded YUV frame with 8 bits and with halved or full chroma.

    Luma and chroma of an 8-bit frame in that format come back as they are.

    Args:
        frame: av.VideoFrame.
        full_chroma: chroma as large as luma; else half as wide and half as high.

    Returns:
        Y, U, V as (H, W) and (h, w) uint8; None for a format that is not planar YUV.
    """
    layout = frame.format
    names = layout.name
    if layout.is_rgb or not layout.is_planar or layout.is_bit_stream or len(layout.components) < 3:
        return None
    if not names.startswith("yuv") or names.endswith("be") or frame.height < 2 or frame.width < 2:
        return None
    bits = _bits(layout)
    full = coding_of(frame).full_range
    planes = []
    for index in range(3):
        component = layout.components[index]
        plane = _plane(frame.planes[index], component.height, component.width, bits)
        plane = _to_8_bits(plane, bits, full, is_chroma=index > 0)
        planes.append(_resample(plane, frame.height, frame.width, full_chroma) if index else plane)
    return tuple(planes)


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


def _bits(layout) -> int:
    return max(component.bits for component in layout.components)


def _plane(plane, height: int, width: int, bits: int) -> np.ndarray:
    """A plane of a frame without its padding, (h, w) uint8 or uint16."""
    kind = np.dtype(np.uint8 if bits <= 8 else np.uint16)
    rows = np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)
    return rows[:height, :width]


def _to_8_bits(plane: np.ndarray, bits: int, full_range: bool, is_chroma: bool) -> np.ndarray:
    if bits <= 8:
        return plane
    scale = 255 / ((1 << bits) - 1) if full_range else 2.0 ** (8 - bits)
    offset = 128 - (1 << (bits - 1)) * scale if is_chroma else 0.0
    return _scaled(plane, scale, offset)


def _scaled(plane: np.ndarray, scale: float, offset: float) -> np.ndarray:
    """plane * scale + offset, rounded to nearest and clamped to 0..255."""
    return np.clip(np.rint(plane * np.float32(scale) + np.float32(offset)), 0, 255).astype(np.uint8)


def _resample(plane: np.ndarray, height: int, width: int, full_chroma: bool) -> np.ndarray:
    """A chroma plane at the size of luma or at half of it: repeated upwards, averaged downwards."""
    size = (height, width) if full_chroma else (height // 2, width // 2)
    for axis in range(2):
        factor = -(-size[axis] // plane.shape[axis])
        if factor > 1:
            plane = np.repeat(plane, factor, axis)
            plane = plane[: size[0]] if axis == 0 else plane[:, : size[1]]
    if plane.shape == size:
        return plane
    cv2 = require("cv2", "decoding a video")
    return cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA)
