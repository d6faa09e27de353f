"""RGB, or the planes of a source, to frames of the pixel format that an encoder takes.

Samples are rounded once, to nearest; chroma is averaged where it has to shrink and repeated where
it has to grow, as in lift/io/color.py. Planes of the source pass unchanged where the format is the
source's own, and are never taken through RGB as long as the matrix is the same.
"""

from dataclasses import dataclass

import numpy as np

from lift.io.bit_depth import with_depth
from lift.io.color import FULL, LIMITED, LUMA_WEIGHTS, UNSPECIFIED, YCGCO, FrameLayout, YuvCoding
from lift.io.decoded_frame import DecodedFrame
from lift.io.optional import require

# flags of swscale by value, since PyAV 17 has no names for all of them: SWS_AREA,
# SWS_ACCURATE_RND, and SWS_FULL_CHR_H_INT with SWS_FULL_CHR_H_INP. Its default truncates, which
# darkens by about one level
TO_YUV = 0x20 | 0x40000 | 0x2000 | 0x4000
RGB_MATRIX = 0  # "identity" in ISO/IEC 23091-2: no matrix
YCGCO_ROWS = ((0.25, 0.5, 0.25), (-0.25, 0.5, -0.25), (0.5, 0, -0.5))  # Y, Cg, Co
SEMI_PLANAR = {"nv12": "420", "nv16": "422", "p0": "420", "p2": "422"}  # of hardware encoders
BAND = 256  # rows converted at a time: float32 copies of a whole 8K frame would be large


@dataclass(frozen=True)
class PixelFormat:
    """What to know of a pixel format to fill its planes.

    Attributes:
        name: FFmpeg's.
        bits: of one sample.
        shift: bits below the sample in its 16-bit word (p010le has 6).
        sub_x, sub_y: columns and rows of luma for one of chroma, 1, 2 or 4.
        is_rgb, is_gray, has_alpha: the components.
        is_planar: one plane for each component; else interleaved.
        is_semi_planar: luma, then U and V interleaved.
        is_big_endian: byte order of samples above 8 bits.
    """

    name: str
    bits: int
    shift: int = 0
    sub_x: int = 1
    sub_y: int = 1
    is_rgb: bool = False
    is_gray: bool = False
    has_alpha: bool = False
    is_planar: bool = True
    is_semi_planar: bool = False
    is_big_endian: bool = False

    @property
    def chroma(self) -> str:
        """ "420", "422", "440", "444", "411", "410", "gray" or "rgb", as in FrameLayout."""
        if self.is_rgb or self.is_gray:
            return "rgb" if self.is_rgb else "gray"
        sizes = {(2, 2): "420", (2, 1): "422", (1, 2): "440", (4, 1): "411", (4, 4): "410"}
        return sizes.get((self.sub_x, self.sub_y), "444")


def pixel_format(name: str) -> PixelFormat | None:
    """The description of a format that `to_frame` can fill; None for any other.

    Args:
        name: FFmpeg's name, for example yuv422p10le.
    """
    av = require("av", "encoding a video")
    try:
        layout = av.VideoFormat(name, 64, 64)
    except ValueError:
        return None
    parts = layout.components
    if layout.has_palette or layout.is_bit_stream or not parts:
        return None
    bits = max(part.bits for part in parts)
    if not 8 <= bits <= 16 or min(part.bits for part in parts) != bits:
        return None
    if any(word in name for word in ("xyz", "msb", "f16")):  # float16 has 16 bits, too
        return None
    is_gray = len(parts) < 3
    semi = name in SEMI_PLANAR or (name[:2] in SEMI_PLANAR and name[2:4].isdigit())
    planar = is_gray and len(parts) == 1 or name.startswith(("yuv", "gbr"))
    packed_rgb = layout.is_rgb and not planar
    if name.startswith(("yuyv", "yuv4p")) or not (planar or semi or packed_rgb or is_gray):
        return None
    if packed_rgb and not _packed_order(name):
        return None
    return PixelFormat(
        name=name,
        bits=bits,
        shift=16 - bits if semi and bits > 8 else 0,
        sub_x=1 if layout.is_rgb or is_gray else 64 // parts[1].width,
        sub_y=1 if layout.is_rgb or is_gray else 64 // parts[1].height,
        is_rgb=layout.is_rgb,
        is_gray=is_gray,
        has_alpha=len(parts) in (2, 4),
        is_planar=planar,
        is_semi_planar=semi,
        is_big_endian=name.endswith("be"),
    )


def to_frame(
    frame: np.ndarray | DecodedFrame,
    pix_fmt: str,
    coding: YuvCoding,
    layout: FrameLayout | None = None,
):
    """A frame for an encoder.

    Args:
        frame: (H, W, 3) RGB, uint8 over 0 to 255, uint16 over 0 to 65535, or float32 (scene-linear,
            1 is white), or a DecodedFrame, whose planes and alpha are used.
        pix_fmt: FFmpeg's name of the format; see `pixel_format`.
        coding: matrix and range of the result.
        layout: of the DecodedFrame's planes; None where there are none.

    Returns:
        av.VideoFrame of the frame's size. Where the format has alpha and the frame has none, it is
        opaque.

    Raises:
        ValueError: a pixel format that `pixel_format` does not know, or an array of another dtype.
    """
    target = pixel_format(pix_fmt)
    if target is None:
        raise ValueError(f"to_frame: pixel format {pix_fmt} cannot be filled")
    if not isinstance(frame, DecodedFrame):
        frame = DecodedFrame(frame)
    height, width = frame.rgb.shape[:2]
    planes = None
    if layout is not None and frame.planes is not None and not target.is_rgb:
        planes = _from_planes(frame.planes, layout, target, coding)
    if planes is None and frame.rgb.dtype == np.uint8 and _swscale_has(pix_fmt, coding, frame.rgb):
        return _rgb_by_swscale(frame.rgb, pix_fmt, coding)
    rgb = None if planes is not None else _display_encoded(frame.rgb)
    if planes is None and not target.is_rgb:
        planes = _from_rgb(rgb, target, coding)
    alpha = None
    if target.has_alpha:
        alpha = frame.alpha
        alpha = np.full((height, width), 255, np.uint8) if alpha is None else alpha
        alpha = _full_range(alpha, target)
    if target.is_rgb:
        planes = [_full_range(rgb[..., index], target) for index in range(3)]
    return _filled(planes, alpha, target, coding, (height, width))


def planes_to_frame(planes, pix_fmt: str, coding: YuvCoding):
    """Planes as an av.VideoFrame, without a change.

    Args:
        planes: Y, U, V (and alpha), or G, B, R, or Y alone: each (h, w) uint8 or uint16.
        pix_fmt: a planar format with as many planes.
        coding: matrix and range, written to the frame's tags.
    """
    av = require("av", "encoding a video")
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pix_fmt)
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(target, np.uint8).reshape(-1, target.line_size)
        stored = np.ascontiguousarray(plane).view(np.uint8).reshape(plane.shape[0], -1)
        rows[: stored.shape[0], : stored.shape[1]] = stored
    return tag(frame, pix_fmt, coding)


def tag(target, pix_fmt: str, coding: YuvCoding):
    """State matrix and range of the frames.

    Args:
        target: what has these tags: av.VideoFrame, or the codec context of a stream.
        pix_fmt: of the frames.
        coding: what is stated; RGB has its own tags, and players take grey for full range.

    Returns:
        The target.
    """
    chosen = pixel_format(pix_fmt)
    if chosen.is_rgb:
        target.colorspace, target.color_range = RGB_MATRIX, FULL
        return target
    target.colorspace = coding.matrix if coding.states_matrix else UNSPECIFIED
    range_ = FULL if coding.full_range else LIMITED
    target.color_range = range_ if coding.states_range or chosen.is_gray else 0
    return target


# -- from RGB --------------------------------------------------------------------------------------


def _swscale_has(pix_fmt: str, coding: YuvCoding, rgb: np.ndarray) -> bool:
    is_even = rgb.shape[0] % 2 == rgb.shape[1] % 2 == 0
    return coding.matrix != YCGCO and (pix_fmt == "yuv444p" or pix_fmt == "yuv420p" and is_even)


def _rgb_by_swscale(rgb: np.ndarray, pix_fmt: str, coding: YuvCoding):
    """(H, W, 3) uint8 to yuv420p or yuv444p of 8 bits; faster than float32, and as exact."""
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
    for index, plane in enumerate(frame.planes):  # swscale's own full-range chroma is not exact
        rows = np.frombuffer(plane, np.uint16).reshape(-1, plane.line_size // 2)
        scale = 255 / (224 if index else 219)
        offset = 128 * (1 - scale) if index else -16 * scale
        stored = rows[: plane.height, : plane.width]
        planes.append(_rounded(stored * np.float32(scale / 256) + np.float32(offset), 8))
    return planes_to_frame(planes, pix_fmt, coding)


def _display_encoded(rgb: np.ndarray) -> np.ndarray:
    """RGB for a display: integers as they are; scene-linear floats by the sRGB curve, uint16."""
    if rgb.dtype in (np.uint8, np.uint16):
        return rgb
    if rgb.dtype != np.float32:
        raise ValueError(f"to_frame: RGB must be uint8, uint16 or float32, got {rgb.dtype}")
    return with_depth(DecodedFrame(rgb), np.uint16).rgb


def _matrix(coding: YuvCoding, bits: int, white: float) -> np.ndarray:
    """(3, 4) float32: R, G, B over 0 to white, and 1, to Y, U, V of that depth."""
    rows = np.array(YCGCO_ROWS)
    if coding.matrix != YCGCO:
        red, blue = LUMA_WEIGHTS[coding.matrix]
        luma = np.array([red, 1 - red - blue, blue])
        rows = np.array(
            [luma, ([0, 0, 1] - luma) / (2 * (1 - blue)), ([1, 0, 0] - luma) / (2 * (1 - red))]
        )
    steps, offsets = _code_range(coding.full_range, bits)
    return np.column_stack([rows * steps[:, None] / white, offsets]).astype(np.float32)


def _code_range(full_range: bool, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps from black to white, and the code of black (of no colour for chroma), for Y, U, V."""
    if full_range:
        top, middle = (1 << bits) - 1, 1 << (bits - 1)
        return np.array([top, top, top], float), np.array([0, middle, middle], float)
    unit = 2.0 ** (bits - 8)
    return np.array([219, 224, 224]) * unit, np.array([16, 128, 128]) * unit


def _from_rgb(rgb: np.ndarray, target: PixelFormat, coding: YuvCoding) -> list[np.ndarray]:
    cv2 = require("cv2", "encoding a video")
    height, width = rgb.shape[:2]
    matrix = _matrix(coding, target.bits, np.iinfo(rgb.dtype).max)
    kind = np.uint8 if target.bits == 8 else np.uint16
    chroma_size = -(-height // target.sub_y), -(-width // target.sub_x)
    sizes = [(height, width)] if target.is_gray else [(height, width), chroma_size, chroma_size]
    planes = [np.empty(size, kind) for size in sizes]
    for top in range(0, height, BAND):
        band = rgb[top : top + BAND].astype(np.float32)
        yuv = cv2.transform(band, matrix[: len(planes)])
        for index, plane in enumerate(planes):
            values = yuv[..., index] if yuv.ndim == 3 else yuv
            if index:
                values = _averaged(values, target.sub_x, target.sub_y)
            start = top // target.sub_y if index else top
            plane[start : start + values.shape[0]] = _rounded(values, target.bits)
    return planes


def _averaged(plane: np.ndarray, sub_x: int, sub_y: int) -> np.ndarray:
    """Means of blocks of sub_y rows and sub_x columns; the last ones may be incomplete."""
    if sub_x == sub_y == 1:
        return plane
    cv2 = require("cv2", "encoding a video")
    height, width = plane.shape
    down, right = -height % sub_y, -width % sub_x
    if down or right:
        plane = np.pad(plane, ((0, down), (0, right)), mode="edge")
    size = (plane.shape[1] // sub_x, plane.shape[0] // sub_y)
    return cv2.resize(np.ascontiguousarray(plane), size, interpolation=cv2.INTER_AREA)


def _rounded(values: np.ndarray, bits: int) -> np.ndarray:
    values = np.clip(np.rint(values), 0, (1 << bits) - 1)
    return values.astype(np.uint8 if bits == 8 else np.uint16)


def _full_range(plane: np.ndarray, target: PixelFormat) -> np.ndarray:
    """A plane over the whole range of its dtype to the depth of `target`, over its whole range."""
    if plane.dtype == np.float32:
        plane = _rounded(np.clip(plane, 0, 1) * np.float32(65535), 16)
    white = np.iinfo(plane.dtype).max
    top = (1 << target.bits) - 1
    if top == white:
        return plane
    return _rounded(plane.astype(np.float32) * np.float32(top / white), target.bits)


# -- from planes -----------------------------------------------------------------------------------


def _from_planes(
    planes, layout: FrameLayout, target: PixelFormat, coding: YuvCoding
) -> list[np.ndarray] | None:
    """The source's planes in another depth, range or chroma; None where the matrix differs."""
    to_gray = target.is_gray
    matrix, own = coding.matrix, layout.coding.matrix
    same_matrix = matrix == own or LUMA_WEIGHTS.get(matrix, 0) == LUMA_WEIGHTS.get(own)
    if not same_matrix and len(planes) > 1:
        return None
    steps, offsets = _code_range(layout.coding.full_range, layout.bits)
    to_steps, to_offsets = _code_range(coding.full_range, target.bits)
    height, width = planes[0].shape
    result = []
    for index, plane in enumerate(planes[: 1 if to_gray else 3]):
        scale = to_steps[index] / steps[index]
        offset = to_offsets[index] - offsets[index] * scale
        size = (height, width)
        if index:
            size = -(-height // target.sub_y), -(-width // target.sub_x)
        if scale == 1 and offset == 0 and plane.shape == size:
            result.append(plane)
            continue
        values = plane.astype(np.float32)
        values = _resampled(values, layout, target, (height, width)) if index else values
        result.append(_rounded(values * np.float32(scale) + np.float32(offset), target.bits))
    if not to_gray and len(planes) == 1:  # grey: chroma without colour
        size = -(-height // target.sub_y), -(-width // target.sub_x)
        result += [np.full(size, int(to_offsets[1]), result[0].dtype)] * 2
    return result


SUBSAMPLING = {"420": (2, 2), "422": (2, 1), "440": (1, 2), "411": (4, 1), "410": (4, 4)}


def _resampled(plane, layout: FrameLayout, target: PixelFormat, size) -> np.ndarray:
    """A chroma plane for another subsampling: repeated upwards, averaged downwards."""
    height, width = size
    sub_x, sub_y = SUBSAMPLING.get(layout.chroma, (1, 1))
    up_x, up_y = max(sub_x // target.sub_x, 1), max(sub_y // target.sub_y, 1)
    if up_y > 1:
        plane = np.repeat(plane, up_y, 0)[: -(-height // target.sub_y)]
    if up_x > 1:
        plane = np.repeat(plane, up_x, 1)[:, : -(-width // target.sub_x)]
    return _averaged(plane, max(target.sub_x // sub_x, 1), max(target.sub_y // sub_y, 1))


# -- into a frame ----------------------------------------------------------------------------------


def _filled(planes, alpha, target: PixelFormat, coding: YuvCoding, size):
    av = require("av", "encoding a video")
    height, width = size
    if target.is_planar:
        if target.is_rgb:
            planes = [planes[1], planes[2], planes[0]]
        planes = [*planes] if alpha is None else [*planes, alpha]
        return planes_to_frame([_in_order(plane, target) for plane in planes], target.name, coding)
    if target.is_semi_planar:
        chroma = np.stack(planes[1:], -1).reshape(planes[1].shape[0], -1)
        words = [plane << target.shift for plane in (planes[0], chroma)]
        return planes_to_frame(words, target.name, coding)
    if target.is_gray:
        channels = [planes[0], alpha]
    else:
        by_name = dict(zip("rgb", planes, strict=True))
        by_name["a"] = by_name["0"] = alpha
        channels = [by_name[letter] for letter in _packed_order(target.name)]
    opaque = np.full((height, width), (1 << target.bits) - 1, planes[0].dtype)
    channels = [opaque if channel is None else channel for channel in channels]
    interleaved = _in_order(np.stack(channels, -1).reshape(height, -1), target)
    frame = av.VideoFrame(width, height, target.name)
    rows = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)
    stored = np.ascontiguousarray(interleaved).view(np.uint8)
    rows[:height, : stored.shape[1]] = stored
    return tag(frame, target.name, coding)


def _packed_order(name: str) -> str:
    """The letters of an interleaved RGB format in the order in memory; empty for any other."""
    letters = name.removesuffix("le").removesuffix("be")
    letters = letters.removesuffix("24").removesuffix("48").removesuffix("64")
    return letters if sorted(letters.replace("0", "a")) in (list("bgr"), list("abgr")) else ""


def _in_order(plane: np.ndarray, target: PixelFormat) -> np.ndarray:
    return plane.byteswap() if target.is_big_endian and plane.dtype.itemsize > 1 else plane
