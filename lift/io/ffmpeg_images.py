"""Images that OpenCV does not read or write correctly, by FFmpeg: OpenEXR, and TIFF with alpha."""

import struct
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from lift.io.optional import require

EXR = b"\x76\x2f\x31\x01"
TILED, DEEP_OR_MULTIPART = 0x200, 0x1800  # flags of an EXR file
GRAY, GRAY_ALPHA, RGB, RGB_ALPHA = 1, 2, 3, 4  # by their number of channels
TIFF_FORMATS = {
    "rgb24": "rgb24",
    "rgba": "rgba",
    "rgb48le": "rgb48le",
    "rgb48be": "rgb48le",
    "rgba64le": "rgba64le",
    "rgba64be": "rgba64le",
    "gray": "rgb24",
    "gray16le": "rgb48le",
    "gray16be": "rgb48le",
    "ya8": "rgba",
    "ya16le": "rgba64le",
    "ya16be": "rgba64le",
}

Pixels = tuple[np.ndarray, np.ndarray | None]  # (H, W, 3) RGB and (H, W) alpha


def decode_exr(data: bytes) -> Pixels | None:
    """An OpenEXR file as float32, scene-linear; None where it cannot be decoded or is truncated."""
    if not _exr_is_complete(data):
        return None
    frame = _decode("exr", data)
    if frame is None or frame.format.name.removesuffix("le")[-3:] not in ("f16", "f32"):
        return None
    kind = np.dtype(np.float16 if "f16" in frame.format.name else np.float32)
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, kind).reshape(-1, plane.line_size // kind.itemsize)
        planes.append(rows[: frame.height, : frame.width].astype(np.float32))
    if len(planes) in (GRAY, GRAY_ALPHA):
        return np.stack([planes[0]] * 3, -1), planes[1] if len(planes) == GRAY_ALPHA else None
    green, blue, red = planes[:3]
    return np.stack([red, green, blue], -1), planes[3] if len(planes) == RGB_ALPHA else None


def encode_exr(rgb: np.ndarray, alpha: np.ndarray | None, half: bool = False) -> bytes:
    """An OpenEXR file, ZIP-compressed.

    Args:
        rgb: (H, W, 3) float32.
        alpha: (H, W) float32, or None.
        half: store half-precision numbers.
    """
    planes = [rgb[..., 1], rgb[..., 2], rgb[..., 0]]
    planes += [] if alpha is None else [alpha]
    height, width = rgb.shape[:2]
    pixel_format = "gbrpf32le" if alpha is None else "gbrapf32le"
    frame = require("av", "writing an EXR image").VideoFrame(width, height, pixel_format)
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(target, np.float32).reshape(-1, target.line_size // 4)
        rows[:height, :width] = plane
    depth = {"format": "half"} if half else {}
    return _encode("exr", frame, {"compression": "zip16", **depth})


def exr_has_alpha(data: bytes) -> bool:
    """Whether the header of an EXR file (its beginning) names a channel A."""
    return any(
        name == b"channels" and (value[:2] == b"A\0" or b"\0A\0" in value)
        for name, value in _exr_attributes(data)
    )


def decode_tiff(data: bytes) -> Pixels | None:
    """A TIFF file of 8 or 16 bits as it stores its colours, not yet turned upright.

    None where FFmpeg does not decode it.
    """
    frame = _decode("tiff", data)
    target = None if frame is None else TIFF_FORMATS.get(frame.format.name)
    if target is None:
        return None
    if frame.format.name != target:
        frame = frame.reformat(format=target, src_color_range="JPEG", dst_color_range="JPEG")
    image = frame.to_ndarray()
    return image[..., :3], image[..., 3] if image.shape[2] == RGB_ALPHA else None


def encode_tiff(rgb: np.ndarray, alpha: np.ndarray) -> bytes:
    """(H, W, 3) RGB and (H, W) alpha, both uint8 or uint16, as an LZW-compressed TIFF file."""
    av = require("av", "writing a TIFF image with alpha")
    pixels = np.ascontiguousarray(np.dstack([rgb, alpha]))
    pixel_format = "rgba" if rgb.dtype == np.uint8 else "rgba64le"
    frame = av.VideoFrame.from_ndarray(pixels, format=pixel_format)
    return _encode("tiff", frame, {"compression_algo": "lzw"})


def _decode(codec: str, data: bytes):
    """The one frame of an image file (av.VideoFrame), or None."""
    av = require("av", "reading an EXR or TIFF image")
    context = av.CodecContext.create(codec, "r")
    context.thread_type = "NONE"
    try:
        frames = context.decode(av.Packet(data)) + context.decode(None)
    except (av.error.FFmpegError, ValueError):
        return None
    return frames[0] if frames and not frames[0].is_corrupt else None


def _encode(codec: str, frame, options: dict[str, str]) -> bytes:
    context = require("av", "writing an image").CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
    context.time_base, context.options = Fraction(1, 25), options
    return b"".join(bytes(packet) for packet in context.encode(frame) + context.encode(None))


# -- the header of an EXR file ---------------------------------------------------------------------


def _exr_attributes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, value) of the first header's attributes; last (b"", b"") with the header's end."""
    at = 8
    while data[at : at + 1] not in (b"", b"\0"):
        end_of_name = data.find(b"\0", at)
        end_of_type = data.find(b"\0", end_of_name + 1)
        if end_of_name < 0 or end_of_type < 0:
            return
        start = end_of_type + 5
        size = int.from_bytes(data[start - 4 : start], "little")
        yield data[at:end_of_name], data[start : start + size]
        at = start + size
    yield b"", (at + 1).to_bytes(8, "little")


def _exr_is_complete(data: bytes) -> bool:
    """Whether all blocks of pixels are there: FFmpeg fills those that are missing with black."""
    if data[:4] != EXR:
        return False
    flags = int.from_bytes(data[4:8], "little")
    if flags & DEEP_OR_MULTIPART:
        return True  # such files are laid out differently
    table = None
    for name, value in _exr_attributes(data):
        table = int.from_bytes(value, "little") if name == b"" else None
    if table is None or table + 8 > len(data):
        return False
    offsets, first = [], len(data)  # the table ends where the first block begins
    while table + 8 * (len(offsets) + 1) <= first:
        offset = struct.unpack_from("<Q", data, table + 8 * len(offsets))[0]
        if offset <= table:
            return False
        first = min(first, offset)
        offsets.append(offset)
    head = 20 if flags & TILED else 8  # coordinates, then the size of the block
    last = max(offsets, default=len(data))
    if last + head > len(data):
        return False
    return last + head + struct.unpack_from("<i", data, last + head - 4)[0] <= len(data)
