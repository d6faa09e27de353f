"""One image file as RGB with or without alpha, upright, and its size without decoding it."""

import os
from pathlib import Path

import numpy as np

from lift.errors import LiftError
from lift.io.bit_depth import as_8_bits
from lift.io.decoded_frame import DecodedFrame
from lift.io.ffmpeg_images import EXR, Pixels, decode_exr, decode_tiff
from lift.io.image_headers import (
    JPEG,
    PNG,
    depth_and_alpha,
    png_key,
    stored_orientation,
    stored_size,
)
from lift.io.optional import require
from lift.io.orientation import of_exif
from lift.io.tiff_tags import tiff_tags

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".exr")
END_LENGTH = 64  # bytes in which most files have their end mark
END_MARKS = {PNG[:2]: b"IEND", JPEG: b"\xff\xd9"}


def is_image(path: Path) -> bool:
    """Whether the name is that of an accepted image; hidden files are not."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_image(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB.

    The EXIF orientation is applied, 16 bits are rounded to 8, linear light becomes sRGB, grey
    becomes RGB, alpha is dropped.

    Raises:
        LiftError: the file cannot be read, is truncated or is no image.
    """
    cv2 = require("cv2", "reading an image")
    data = _complete(path)
    tags, image = tiff_tags(data), None
    if not _needs_ffmpeg(data) and not (tags and tags.is_float):
        image = _opencv(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is not None and image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=255 / 65535)
    if image is None or image.dtype != np.uint8:
        return as_8_bits(_decode(path, data).rgb)
    return np.ascontiguousarray(stored_orientation(path).apply(image[..., ::-1]))


def decode_8_bits(name: Path, data: bytes) -> np.ndarray:
    """The bytes of an upright image file of 8 bits as (H, W, 3) uint8 RGB; alpha is dropped.

    Raises:
        LiftError: they are no such image; names `name`.
    """
    cv2 = require("cv2", "reading an image")
    image = _opencv(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is None or image.dtype != np.uint8:
        raise _unreadable(name)
    return np.ascontiguousarray(image[..., ::-1])


def decode_image(path: Path) -> DecodedFrame:
    """An image file at its own depth and with its alpha.

    uint8 and uint16 are sRGB or as the file means them; float32 (EXR, TIFF) is scene-linear. The
    EXIF orientation is applied, grey becomes RGB.

    Raises:
        LiftError: the file cannot be read, is truncated or is no image.
    """
    return _decode(path, _complete(path))


def _decode(path: Path, data: bytes) -> DecodedFrame:
    orientation = stored_orientation(path)
    if data[:4] == EXR:
        pixels = decode_exr(data)
    else:
        pixels = decode_tiff(data) if _needs_ffmpeg(data) else None
        if pixels is not None:
            orientation = of_exif(data)  # OpenCV applies it itself
        else:
            pixels = _opencv_pixels(data)
    if pixels is None:
        raise _unreadable(path)
    rgb, alpha = (None if p is None else np.ascontiguousarray(orientation.apply(p)) for p in pixels)
    return DecodedFrame(rgb, None, alpha)


def _complete(path: Path) -> bytes:
    """The bytes of an image file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LiftError(f"{path} cannot be read ({error.strerror}); make it readable") from None
    # OpenCV fills the missing part of a truncated file with grey: look for the end mark
    if not data or END_MARKS.get(data[:2], b"") not in data[len(data) // 2 :]:
        raise _unreadable(path)
    return data


def check_complete(path: Path) -> None:
    """Look for the end mark of a PNG or a JPEG; nothing is decoded.

    Raises:
        LiftError: the file cannot be read or is truncated.
    """
    try:
        with open(path, "rb") as file:
            mark = END_MARKS.get(file.read(2), b"")
            file.seek(-min(END_LENGTH, path.stat().st_size), os.SEEK_END)
            if mark in file.read():
                return
    except OSError as error:
        raise LiftError(f"{path} cannot be read ({error.strerror}); make it readable") from None
    _complete(path)  # the mark may be farther from the end


def _unreadable(path: Path) -> LiftError:
    return LiftError(
        f"{path}: not a readable image (damaged or truncated); write it again or remove it"
    )


def _needs_ffmpeg(data: bytes) -> bool:
    """An EXR, or a TIFF of integers with alpha (OpenCV multiplies it in) or lying on its side."""
    if data[:4] == EXR:
        return True
    tags = tiff_tags(data)
    return bool(tags and not tags.is_float and (tags.has_alpha or of_exif(data).transpose))


def _opencv(data: bytes, flags: int) -> np.ndarray | None:
    """As OpenCV decodes it, as stored, blue first; None where it cannot."""
    cv2 = require("cv2", "reading an image")
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)


def _opencv_pixels(data: bytes) -> Pixels | None:
    cv2 = require("cv2", "reading an image")
    tags = tiff_tags(data)
    plain = data[:2] == JPEG  # CMYK is no alpha, neither in a JPEG nor in a TIFF
    plain = plain or (tags is not None and not tags.is_float and not tags.has_alpha)
    color = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    image = _opencv(data, color if plain else cv2.IMREAD_UNCHANGED)
    if image is not None and image.dtype == np.float64:
        image = image.astype(np.float32)
    if image is None or image.dtype not in (np.uint8, np.uint16, np.float32):
        return None
    if image.ndim == 2:
        return np.stack([image] * 3, -1), _grey_key(data, image)
    alpha = image[..., 3] if image.shape[2] == 4 else None
    if alpha is not None and data[:2] == b"BM" and not alpha.any():
        alpha = None  # a byte of padding
    return image[..., 2::-1], alpha


def _grey_key(data: bytes, image: np.ndarray) -> np.ndarray | None:
    """The alpha of a grey PNG of which one grey is transparent."""
    key = png_key(data)
    if key is None:
        return None
    top = np.iinfo(image.dtype).max
    steps = (1 << data[24]) - 1  # OpenCV expands 1, 2 and 4 bits to 8
    return np.where(image == key * (top // steps), 0, top).astype(image.dtype)


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) of the upright image in pixels; PNG and JPEG are not decoded for it.

    Raises:
        LiftError: the file cannot be read or is no image.
    """
    stored = stored_size(path)
    return read_image(path).shape[:2] if stored is None else stored_orientation(path).size(*stored)


def image_depth(path: Path) -> tuple[np.dtype, bool]:
    """The dtype that `decode_image` gives (uint8, uint16 or float32), and whether there is alpha.

    Common kinds are not decoded for it.

    Raises:
        LiftError: the file cannot be read or is no image.
    """
    try:
        found = depth_and_alpha(path)
    except OSError:
        found = None
    if found is None:
        frame = decode_image(path)
        found = frame.rgb.dtype, frame.alpha is not None
    return found
