"""One image reader: upright by EXIF, any depth with alpha or as 8 bits, and a size that needs no
decoding."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from lift.errors import LiftError
from lift.io.bit_depth import as_8_bits
from lift.io.ffmpeg_images import encode_exr, encode_tiff
from lift.io.images import decode_image, image_depth, image_size, read_image
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


# -- depth and alpha -------------------------------------------------------------------------------


def png(depth, color, row, *chunks, width):
    """A PNG of one row, given by its bytes."""

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, 1, depth, color, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


COLORS = (b"PLTE", bytes([1, 2, 3, 4, 5, 6]))
PNGS = {  # bytes, red of each pixel, alpha of each pixel, dtype
    "grey": (png(8, 0, bytes([7, 9]), width=2), [7, 9], None, np.uint8),
    "grey of one bit": (png(1, 0, b"\x40", width=2), [0, 255], None, np.uint8),
    "grey of 16 bits": (png(16, 0, b"\1\0\2\0", width=2), [256, 512], None, np.uint16),
    "grey with alpha": (png(8, 4, bytes([7, 0, 9, 200]), width=2), [7, 9], [0, 200], np.uint8),
    "deep grey with alpha": (png(16, 4, b"\1\0\2\0", width=1), [256], [512], np.uint16),
    "grey with a key": (
        png(8, 0, bytes([7, 9]), (b"tRNS", b"\0\7"), width=2),
        *([7, 9], [0, 255], np.uint8),
    ),
    "grey of four bits with a key": (
        png(4, 0, b"\x12", (b"tRNS", b"\0\2"), width=2),
        *([17, 34], [255, 0], np.uint8),
    ),
    "palette": (png(8, 3, b"\0\1", COLORS, width=2), [1, 4], None, np.uint8),
    "palette of one bit": (png(1, 3, b"\x40", COLORS, width=2), [1, 4], None, np.uint8),
    "palette with alpha": (
        png(8, 3, b"\0\1", COLORS, (b"tRNS", b"\x4d"), width=2),
        *([1, 4], [77, 255], np.uint8),
    ),
    "deep with alpha": (png(16, 6, b"\1\0\2\0\3\0\4\0", width=1), [256], [1024], np.uint16),
}


@pytest.mark.parametrize("name", PNGS)
def test_every_kind_of_png_becomes_rgb_of_its_depth_with_its_alpha(tmp_path, name):
    data, red, alpha, kind = PNGS[name]
    path = tmp_path / "a.png"
    path.write_bytes(data)
    frame = decode_image(path)
    assert frame.rgb.dtype == kind and frame.rgb[0, :, 0].tolist() == red and frame.planes is None
    assert (None if frame.alpha is None else frame.alpha[0].tolist()) == alpha
    assert image_depth(path) == (kind, alpha is not None)
    assert np.array_equal(read_image(path), as_8_bits(frame.rgb))


@pytest.mark.parametrize("kind", (np.uint8, np.uint16, np.float32))
@pytest.mark.parametrize("channels", (1, 3, 4))
def test_tiff_of_any_depth_is_exact(tmp_path, kind, channels):
    pixels = np.random.default_rng(0).integers(0, 255, (6, 7, channels)).astype(kind)
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), pixels[..., [2, 1, 0, 3][:channels]] if channels > 2 else pixels)
    frame = decode_image(path)
    assert np.array_equal(frame.rgb, np.broadcast_to(pixels[..., :3], (6, 7, 3)))
    assert (frame.alpha is not None) == (channels == 4)
    assert channels < 4 or np.array_equal(frame.alpha, pixels[..., 3])
    assert image_depth(path) == (kind, channels == 4)


def test_alpha_of_a_tiff_is_not_multiplied_in(tmp_path):
    pytest.importorskip("av")
    rgb, alpha = np.full((4, 5, 3), 200, np.uint8), np.full((4, 5), 60, np.uint8)
    (tmp_path / "a.tif").write_bytes(encode_tiff(rgb, alpha))
    frame = decode_image(tmp_path / "a.tif")
    assert np.array_equal(frame.rgb, rgb) and np.array_equal(frame.alpha, alpha)


def test_webp_and_bmp_with_alpha(tmp_path):
    pixels = np.random.default_rng(0).integers(1, 256, (6, 7, 4), dtype=np.uint8)
    for name, options in (("a.webp", [cv2.IMWRITE_WEBP_QUALITY, 101]), ("a.bmp", [])):
        cv2.imwrite(str(tmp_path / name), pixels, options)
        frame = decode_image(tmp_path / name)
        assert np.array_equal(np.dstack([frame.rgb[..., ::-1], frame.alpha]), pixels)
        assert image_depth(tmp_path / name) == (np.uint8, True)


def test_an_alpha_turns_with_its_image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 4), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    with_exif(tmp_path / "a.png", 6)
    assert np.array_equal(decode_image(tmp_path / "a.png").alpha, np.rot90(pixels[..., 3], -1))


@pytest.mark.parametrize("alpha", (False, True))
@pytest.mark.parametrize("half", (False, True))
def test_exr_is_scene_linear_and_exact(tmp_path, alpha, half):
    pytest.importorskip("av")
    values = np.random.default_rng(0).normal(0, 8, (5, 7, 4)).astype(np.float16).astype(np.float32)
    path = tmp_path / "a.exr"
    data = encode_exr(values[..., :3], values[..., 3] if alpha else None, half=half)
    path.write_bytes(data)
    frame = decode_image(path)
    assert frame.rgb.dtype == np.float32 and np.array_equal(frame.rgb, values[..., :3])
    assert np.array_equal(frame.alpha, values[..., 3]) if alpha else frame.alpha is None
    assert image_depth(path) == (np.float32, alpha) and image_size(path) == (5, 7)
    assert read_image(path).dtype == np.uint8


def test_read_as_8_bits_linear_light_becomes_srgb(tmp_path):
    pytest.importorskip("av")
    linear = np.array([-1, 0, 0.2158605, 1, 9], np.float32)[None, :, None].repeat(3, 2)
    (tmp_path / "a.exr").write_bytes(encode_exr(linear, None))
    assert read_image(tmp_path / "a.exr")[0, :, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("suffix", ("png", "jpg", "tif", "webp", "bmp", "exr"))
def test_a_truncated_image_is_an_error(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    if suffix == "exr":
        pytest.importorskip("av")
        path.write_bytes(encode_exr(noise.astype(np.float32), None))
    else:
        cv2.imwrite(str(path), noise)
    whole = path.read_bytes()
    decode_image(path)
    for size in (0, 30, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        for read in (read_image, decode_image):
            with pytest.raises(LiftError, match=rf"a.{suffix}: not a readable image"):
                read(path)
