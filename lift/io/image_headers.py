"""What the header of an image file states, without decoding it: size, orientation, depth, alpha."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lift.io.ffmpeg_images import EXR, exr_has_alpha
from lift.io.orientation import UPRIGHT, Orientation, of_exif
from lift.io.tiff_tags import tiff_tags

PNG, JPEG, RIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF"
NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # JPEG markers from C0 to CF without a size
COLOR_ALPHA = 4  # the bit of those colour types of a PNG that have alpha
EXR_HEADER = 1 << 16  # bytes in which an EXR file names its channels


def stored_size(path: Path) -> tuple[int, int] | None:
    """(height, width) as stored, of a PNG or a JPEG."""
    try:
        with open(path, "rb") as file:
            head = file.read(24)
            if head[:8] == PNG and len(head) == 24:
                return struct.unpack(">II", head[16:])[::-1]
            if head[:2] == JPEG:
                for marker, size in _jpeg_segments(file):
                    if 0xC0 <= marker <= 0xCF and marker not in NOT_FRAMES and size >= 5:
                        return struct.unpack(">HH", file.read(5)[1:])
    except (OSError, struct.error):
        pass
    return None


def stored_orientation(path: Path) -> Orientation:
    """The EXIF orientation of a JPEG, PNG (before its pixels) or WebP file."""
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:2] == JPEG:
            for marker, size in _jpeg_segments(file):
                if marker == 0xE1 and (data := file.read(size))[:6] == b"Exif\0\0":
                    return of_exif(data[6:])
        elif head[:8] == PNG:
            for name, size in _chunks(file, 8, ">I4s", trailer=4):
                if name == b"eXIf":
                    return of_exif(file.read(size))
                if name == b"IDAT":
                    return UPRIGHT
        elif head[:4] == RIFF and head[8:] == b"WEBP":
            for name, size in _chunks(file, 12, "<4sI", trailer=0):
                if name == b"EXIF":
                    return of_exif(file.read(size).removeprefix(b"Exif\0\0"))
    return UPRIGHT


def has_other_colors(path: Path) -> bool:
    """Whether a PNG, JPEG or WebP file has an ICC profile of other colours than sRGB's."""
    profile = b""
    with suppress(OSError, struct.error, zlib.error), open(path, "rb") as file:
        head = file.read(12)
        if head[:2] == JPEG:
            segments = (file.read(size) for marker, size in _jpeg_segments(file) if marker == 0xE2)
            profile = next((data for data in segments if data.startswith(b"ICC_PROFILE\0")), b"")
        elif head[:8] == PNG:
            for name, size in _chunks(file, 8, ">I4s", trailer=4):
                if name == b"iCCP":
                    profile = zlib.decompress(file.read(size).partition(b"\0")[2][1:])
                if name in (b"iCCP", b"IDAT"):
                    break
        elif head[:4] == RIFF and head[8:] == b"WEBP":
            chunks = _chunks(file, 12, "<4sI", trailer=0)
            profile = next((file.read(size) for name, size in chunks if name == b"ICCP"), b"")
    text = profile.replace(b"\0", b"")  # some names are UTF-16
    return bool(profile) and b"sRGB" not in text


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """(marker, bytes of content) of the segments before the pixels, the file at the content."""
    offset = 2
    while True:
        file.seek(offset)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xD9, 0xDA):
            return
        if head[1] == 0xFF:  # a fill byte
            offset += 1
            continue
        size = int.from_bytes(head[2:], "big")
        yield head[1], size - 2
        offset += 2 + size


def _chunks(file: BinaryIO, offset: int, layout: str, trailer: int) -> Iterator[tuple[bytes, int]]:
    """(name, bytes of content) of the chunks of a PNG or RIFF file, the file at the content."""
    while True:
        file.seek(offset)
        head = file.read(8)
        if len(head) < 8:
            return
        fields = struct.unpack(layout, head)
        size, name = fields if trailer else fields[::-1]
        yield name, size
        offset += 8 + size + (trailer or size % 2)  # RIFF pads to an even size


def png_key(data: bytes) -> int | None:
    """The grey of a grey PNG that is transparent, by its stored value."""
    start = data.find(b"tRNS", 0, data.find(b"IDAT"))
    if data[:8] != PNG or data[25] != 0 or start < 0:
        return None
    return int.from_bytes(data[start + 4 : start + 6], "big")


def depth_and_alpha(path: Path) -> tuple[np.dtype, bool] | None:
    """The dtype of the pixels of an image file and whether it has alpha; None for unknown kinds."""
    with open(path, "rb") as file:
        head = file.read(32)
        if head[:2] == JPEG:
            return np.dtype(np.uint8), False
        if head[:8] == PNG and len(head) >= 26:
            transparent = bool(head[25] & COLOR_ALPHA) or _png_has_key(file)
            return np.dtype(np.uint16 if head[24] == 16 else np.uint8), transparent
        if head[:4] == RIFF and head[8:12] == b"WEBP":
            return np.dtype(np.uint8), _webp_has_alpha(head)
        if head[:4] == EXR:
            return np.dtype(np.float32), exr_has_alpha(head + file.read(EXR_HEADER))
        if head[:4] in (b"II*\0", b"MM\0*"):
            with mmap(file.fileno(), 0, access=ACCESS_READ) as data:  # tags may be at the end
                tags = tiff_tags(data)
            if tags is not None and tags.is_float:
                return np.dtype(np.float32), tags.samples == 4
            if tags is not None and tags.bits in (8, 16):
                return np.dtype(np.uint16 if tags.bits == 16 else np.uint8), tags.has_alpha
    return None


def _png_has_key(file: BinaryIO) -> bool:
    for name, _ in _chunks(file, 8, ">I4s", trailer=4):
        if name in (b"tRNS", b"IDAT"):
            return name == b"tRNS"
    return False


def _webp_has_alpha(head: bytes) -> bool:
    if head[12:16] == b"VP8X":
        return bool(head[20] & 0x10)
    return head[12:16] == b"VP8L" and bool(head[24] & 0x10)
