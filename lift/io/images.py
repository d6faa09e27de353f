"""One image file as 8-bit RGB, upright, and its size without decoding it."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lift.errors import LiftError
from lift.io.optional import require
from lift.io.orientation import UPRIGHT, Orientation, of_exif

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

PNG, JPEG, RIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF"
END_MARKS = {PNG[:2]: b"IEND", JPEG: b"\xff\xd9"}
NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # JPEG markers from C0 to CF without a size


def is_image(path: Path) -> bool:
    """Whether the name is that of an accepted image; hidden files are not."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_image(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB.

    The EXIF orientation is applied, 16 bits are rounded to 8, grey becomes RGB, alpha is dropped.

    Raises:
        LiftError: the file cannot be read, is truncated or is no image.
    """
    cv2 = require("cv2", "reading an image")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LiftError(f"{path} cannot be read ({error.strerror}); make it readable") from None
    image = None
    # OpenCV fills the missing part of a truncated file with grey: look for the end mark
    end = END_MARKS.get(data[:2], b"")
    if data and end in data[len(data) // 2 :]:
        encoded = np.frombuffer(data, np.uint8)
        color = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(encoded, color | cv2.IMREAD_ANYDEPTH)
        if image is not None and image.dtype == np.uint16:
            image = cv2.convertScaleAbs(image, alpha=255 / 65535)
        elif image is not None and image.dtype != np.uint8:
            image = cv2.imdecode(encoded, color)
    if image is None:
        raise LiftError(
            f"{path}: not a readable image (damaged or truncated); write it again or remove it"
        )
    return np.ascontiguousarray(_orientation(path).apply(image[..., ::-1]))


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) of the upright image in pixels; PNG and JPEG are not decoded for it.

    Raises:
        LiftError: the file cannot be read or is no image.
    """
    stored = _stored_size(path)
    return read_image(path).shape[:2] if stored is None else _orientation(path).size(*stored)


def _stored_size(path: Path) -> tuple[int, int] | None:
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


def _orientation(path: Path) -> Orientation:
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
