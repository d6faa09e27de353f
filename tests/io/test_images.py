"""One image reader: upright by EXIF, 16 bits rounded, and a size that needs no decoding."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from lift.errors import LiftError
from lift.io.images import image_size, read_image
from tests.support.images import ORIENTED, with_exif


def smooth(height=40, width=56):
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * x, 5 * y, 120 + x - y], -1).astype(np.uint8)


@pytest.mark.parametrize("suffix", ("jpg", "png", "webp"))
@pytest.mark.parametrize("orientation", ORIENTED)
def test_the_exif_orientation_is_applied(tmp_path, suffix, orientation):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), smooth()[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])
    stored = read_image(path)
    with_exif(path, orientation)
    upright = ORIENTED[orientation](stored)
    assert np.array_equal(read_image(path), upright)
    assert image_size(path) == upright.shape[:2]


def test_exif_in_both_byte_orders_and_behind_other_segments(tmp_path):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), smooth()[..., ::-1])
    stored = read_image(path)
    with_exif(path, 6, order="<")
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xfe\x00\x07hello" + data[2:])
    assert np.array_equal(read_image(path), np.rot90(stored, -1))


@pytest.mark.parametrize("value", (0, 9, 255))
def test_an_orientation_that_exif_does_not_have_counts_as_upright(tmp_path, value):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), smooth()[..., ::-1])
    stored = read_image(path)
    with_exif(path, value)
    assert np.array_equal(read_image(path), stored)


@pytest.mark.parametrize("suffix", ("png", "tif"))
def test_16_bits_are_rounded_to_8(tmp_path, suffix):
    deep = np.random.default_rng(0).integers(0, 65536, (16, 24, 3), dtype=np.uint16)
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), deep[..., ::-1])
    assert np.array_equal(read_image(path), np.rint(deep / 257).astype(np.uint8))


@pytest.mark.parametrize("kind", (np.uint8, np.uint16))
def test_grey_becomes_rgb_and_alpha_is_dropped(tmp_path, kind):
    scale = np.iinfo(kind).max // 255
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((8, 9), 77 * scale, kind))
    cv2.imwrite(str(tmp_path / "rgba.png"), np.full((8, 9, 4), 77 * scale, kind))
    for name in ("grey.png", "rgba.png"):
        image = read_image(tmp_path / name)
        assert image.dtype == np.uint8 and image.shape == (8, 9, 3) and (image == 77).all()


def test_damaged_exif_is_no_error(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), smooth()[..., ::-1])
    data, broken = path.read_bytes(), struct.pack(">I4s", 5, b"eXIf") + b"MM\0*\0"
    path.write_bytes(data[:33] + broken + struct.pack(">I", zlib.crc32(broken[4:])) + data[33:])
    assert image_size(path) == (40, 56) and read_image(path).shape == (40, 56, 3)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(LiftError, match="gone.png cannot be read"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize("suffix", ("png", "jpg", "bmp"))
def test_image_size_needs_no_decoding_for_common_kinds(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), np.zeros((37, 53, 3), np.uint8))
    assert image_size(path) == (37, 53)
    if suffix != "bmp":
        path.write_bytes(path.read_bytes()[:-20])
        assert image_size(path) == (37, 53)
