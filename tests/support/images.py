"""EXIF orientation, written into an image file, and what it means in NumPy."""

import struct
import zlib
from pathlib import Path

import numpy as np

ORIENTED = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: lambda image: np.rot90(image, 1),
}


def with_exif(path: Path, orientation: int, order: str = ">") -> Path:
    """State the orientation in a JPEG, PNG or WebP file."""
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    mark = b"MM" if order == ">" else b"II"
    exif = mark + struct.pack(order + "HIH", 42, 8, 1) + entry + bytes(4)
    data = path.read_bytes()
    if data[:2] == b"\xff\xd8":
        body = b"Exif\0\0" + exif
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
    elif data[:4] == b"\x89PNG":
        chunk = b"eXIf" + exif
        crc = struct.pack(">I", zlib.crc32(chunk))
        data = data[:33] + struct.pack(">I", len(exif)) + chunk + crc + data[33:]
    else:
        data = data[:12] + _extended(data) + data[12:] + _chunk(b"EXIF", exif)
        data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    path.write_bytes(data)
    return path


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _extended(data: bytes) -> bytes:
    """The VP8X chunk that a WebP file with EXIF starts with, for a lossless image."""
    bits = struct.unpack("<I", data[21:25])[0]
    width, height = bits & 0x3FFF, bits >> 14 & 0x3FFF  # both less one
    sizes = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    return _chunk(b"VP8X", bytes([0x08, 0, 0, 0]) + sizes)
