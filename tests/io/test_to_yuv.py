"""Pixel formats of encoders: exact where they can be, rounded once elsewhere."""

import av
import numpy as np
import pytest

from lift.io.color import FrameLayout, YuvCoding
from lift.io.decode import DecodedFrame
from lift.io.to_yuv import pixel_format, planes_to_frame, to_frame

LIMITED, FULL = YuvCoding(1, False), YuvCoding(1, True)
BT2020 = YuvCoding(9, False)


def stored(frame, index=0):
    layout, plane = frame.format, frame.planes[index]
    kind = np.uint8 if max(part.bits for part in layout.components) == 8 else np.uint16
    rows = np.frombuffer(plane, kind).reshape(-1, plane.line_size // np.dtype(kind).itemsize)
    return rows[: plane.height, : plane.width]


def noise(height, width, dtype=np.uint8, channels=3):
    top = np.iinfo(dtype).max
    shape = (height, width, channels)
    return np.random.default_rng(0).integers(0, top, shape, dtype, endpoint=True)


def expected(rgb, coding, bits):
    """Y, U, V of (H, W, 3) RGB over 0 to 1, in float64, not rounded."""
    red, blue = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}[coding.matrix]
    luma = rgb @ np.array([red, 1 - red - blue, blue])
    chroma = [
        (rgb[..., 2] - luma) / (2 * (1 - blue)),
        (rgb[..., 0] - luma) / (2 * (1 - red)),
    ]
    if coding.full_range:
        top = (1 << bits) - 1
        return [luma * top, *(c * top + (1 << (bits - 1)) for c in chroma)]
    unit = 2 ** (bits - 8)
    return [(16 + 219 * luma) * unit, *((128 + 224 * c) * unit for c in chroma)]


@pytest.mark.parametrize("coding", [LIMITED, FULL, BT2020])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv444p10le", "yuv444p12le", "yuv444p16le"])
def test_rgb_is_rounded_to_nearest(pix_fmt, dtype, coding):
    rgb = noise(300, 20, dtype)  # more rows than one band
    frame = to_frame(rgb, pix_fmt, coding)
    bits = pixel_format(pix_fmt).bits
    exact = expected(rgb / np.iinfo(dtype).max, coding, bits)
    for index in range(3):
        distance = np.abs(stored(frame, index) - exact[index].clip(0, (1 << bits) - 1))
        margin = 0.05 if bits == 8 else 0.01 * 2 ** (bits - 10)  # of swscale, of float32
        assert distance.max() <= 0.5 + margin


@pytest.mark.parametrize(
    ("pix_fmt", "rows", "columns"),
    [("yuv420p10le", 2, 2), ("yuv422p10le", 1, 2), ("yuv422p", 1, 2)],
)
@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_chroma_is_averaged(pix_fmt, rows, columns, size):
    rgb = noise(*size)
    bits = pixel_format(pix_fmt).bits
    frame = to_frame(rgb, pix_fmt, LIMITED)
    for index, plane in enumerate(expected(rgb / 255, LIMITED, bits)[1:], 1):
        plane = np.pad(plane, ((0, -size[0] % rows), (0, -size[1] % columns)), mode="edge")
        height, width = plane.shape
        mean = plane.reshape(height // rows, rows, width // columns, columns).mean((1, 3))
        assert np.abs(stored(frame, index) - mean).max() <= 0.51


@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuv420p10le", "yuv422p12le", "yuv444p16le", "gray"]
)
def test_planes_of_the_source_pass_unchanged(pix_fmt):
    layout = pixel_format(pix_fmt)
    kind = np.uint8 if layout.bits == 8 else np.uint16
    top = (1 << layout.bits) - 1
    size = 48 // layout.sub_y, 64 // layout.sub_x
    sizes = [(48, 64)] if layout.is_gray else [(48, 64), size, size]
    random = np.random.default_rng(1)
    planes = tuple(random.integers(0, top, s, kind, endpoint=True) for s in sizes)
    source = FrameLayout(pix_fmt, layout.bits, layout.chroma, False, LIMITED)
    decoded = DecodedFrame(np.zeros((48, 64, 3), np.uint8), planes)
    frame = to_frame(decoded, pix_fmt, LIMITED, source)
    for index, plane in enumerate(planes):
        assert (stored(frame, index) == plane).all()


def test_planes_change_depth_without_a_way_through_rgb():
    luma = np.arange(256, dtype=np.uint8).reshape(8, 32)  # also codes outside of 16 to 235
    chroma = np.arange(64, dtype=np.uint8).reshape(4, 16)
    layout = FrameLayout("yuv420p", 8, "420", False, LIMITED)
    decoded = DecodedFrame(np.zeros((8, 32, 3), np.uint8), (luma, chroma, chroma))
    frame = to_frame(decoded, "yuv422p10le", LIMITED, layout)
    assert (stored(frame) == luma.astype(np.uint16) * 4).all()
    assert (stored(frame, 1) == np.repeat(chroma, 2, 0).astype(np.uint16) * 4).all()


def test_another_matrix_goes_through_rgb():
    layout = FrameLayout("yuv444p", 8, "444", False, YuvCoding(6))
    planes = (np.zeros((4, 4), np.uint8),) * 3
    decoded = DecodedFrame(np.full((4, 4, 3), 255, np.uint8), planes)
    assert (stored(to_frame(decoded, "yuv444p", LIMITED, layout)) == 235).all()


def test_ycgco_is_its_own_matrix():
    rgb = np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8)
    frame = to_frame(rgb, "yuv444p", YuvCoding(8, True))
    assert stored(frame, 0).tolist() == [[64, 128]]
    assert stored(frame, 1).tolist() == [[64, 255]]
    assert stored(frame, 2).tolist() == [[255, 128]]


def test_a_10_bit_gradient_keeps_its_levels():
    levels = np.arange(1024)
    rgb = np.rint(levels * (65535 / 1023)).astype(np.uint16)
    rgb = np.repeat(np.repeat(rgb[None, :, None], 4, 0), 3, 2)
    full = stored(to_frame(rgb, "yuv420p10le", FULL))
    assert len(np.unique(full)) >= 1000
    assert len(np.unique(stored(to_frame(rgb, "yuv420p12le", LIMITED)))) >= 1000


@pytest.mark.parametrize(
    ("pix_fmt", "order"),
    [("rgb24", "rgb"), ("bgr0", "bgr0"), ("bgra", "bgra"), ("argb", "argb"), ("rgba64le", "rgba")],
)
def test_interleaved_rgb_is_the_same_rgb(pix_fmt, order):
    rgb, alpha = noise(16, 24), noise(16, 24)[..., 0]
    frame = to_frame(DecodedFrame(rgb, None, alpha), pix_fmt, LIMITED)
    row = np.frombuffer(frame.planes[0], np.uint8).reshape(16, -1)
    kind, scale = (np.uint16, 257) if "64" in pix_fmt else (np.uint8, 1)
    pixels = row.view(kind)[:, : 24 * len(order)].reshape(16, 24, len(order))
    wanted = {"r": rgb[..., 0], "g": rgb[..., 1], "b": rgb[..., 2], "a": alpha}
    for index, letter in enumerate(order):
        if letter != "0":
            assert (pixels[..., index] == wanted[letter].astype(kind) * scale).all()


def test_big_endian_samples_are_swapped():
    rgb = noise(16, 24, np.uint16)
    data = np.frombuffer(to_frame(rgb, "rgb48be", LIMITED).planes[0], ">u2").reshape(16, -1)
    assert (data[:, : 24 * 3].reshape(16, 24, 3) == rgb).all()


@pytest.mark.parametrize("pix_fmt", ["gbrp", "gbrap", "gbrp10le", "gbrap12le"])
def test_planar_rgb_is_the_same_rgb(pix_fmt):
    rgb, alpha = noise(16, 24), noise(16, 24)[..., 0]
    frame = to_frame(DecodedFrame(rgb, None, alpha), pix_fmt, LIMITED)
    scale = ((1 << pixel_format(pix_fmt).bits) - 1) / 255
    channels = [rgb[..., 1], rgb[..., 2], rgb[..., 0], alpha]
    for index in range(len(frame.planes)):
        assert (stored(frame, index) == np.rint(channels[index] * scale)).all()


def test_deep_rgb_in_planes_is_exact():
    rgb = noise(16, 24, np.uint16)
    frame = to_frame(rgb, "gbrp16le", LIMITED)
    assert all((stored(frame, i) == rgb[..., c]).all() for i, c in enumerate((1, 2, 0)))


@pytest.mark.parametrize("pix_fmt", ["yuva420p", "yuva444p10le", "ya8", "ya16be"])
def test_alpha_is_kept_and_missing_alpha_is_opaque(pix_fmt):
    rgb, alpha = noise(16, 24), noise(16, 24)[..., 0]
    for given in (alpha, None):
        frame = to_frame(DecodedFrame(rgb, None, given), pix_fmt, LIMITED)
        wanted = np.full((16, 24), 255) if given is None else given
        if pix_fmt.startswith("yuva"):
            scale = ((1 << pixel_format(pix_fmt).bits) - 1) / 255
            found = stored(frame, 3)
        else:
            kind, scale = (">u2", 257) if "16" in pix_fmt else (np.uint8, 1)
            row = np.frombuffer(frame.planes[0], kind).reshape(16, -1)
            found = row[:, : 24 * 2].reshape(16, 24, 2)[..., 1]
        assert (found == np.rint(wanted.astype(float) * scale)).all()


@pytest.mark.parametrize(("pix_fmt", "same"), [("nv12", "yuv420p"), ("p010le", "yuv420p10le")])
def test_formats_of_hardware_hold_the_same_samples(pix_fmt, same):
    rgb = noise(16, 24)
    planar, packed = to_frame(rgb, same, LIMITED), to_frame(rgb, pix_fmt, LIMITED)
    assert packed.format.name == pix_fmt
    back = packed.reformat(format=same, threads=1)  # several race in swscale
    for index in range(3):
        distance = stored(back, index).astype(int) - stored(planar, index)
        assert np.abs(distance).max() <= (pix_fmt == "nv12")  # swscale makes yuv420p


def test_scene_linear_frames_get_the_srgb_curve():
    rgb = np.full((4, 4, 3), 0.2140411, np.float32)  # sRGB 0.5
    frame = to_frame(rgb, "gbrp16le", LIMITED)
    assert abs(int(stored(frame)[0, 0]) - 32768) <= 2


@pytest.mark.parametrize("pix_fmt", ["pal8", "yuyv422", "gbrpf32le", "monob", "no_such_format"])
def test_unsupported_formats_are_known_as_such(pix_fmt):
    assert pixel_format(pix_fmt) is None
    with pytest.raises(ValueError, match=pix_fmt):
        to_frame(noise(4, 4), pix_fmt, LIMITED)


def test_planes_carry_matrix_and_range():
    frame = planes_to_frame([np.zeros((4, 4), np.uint8)] * 3, "yuv444p", FULL)
    assert isinstance(frame, av.VideoFrame)
    assert (int(frame.colorspace), int(frame.color_range)) == (1, 2)
