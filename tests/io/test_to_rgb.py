"""RGB is the nearest to what the planes mean: 8 bits as 0..255, more as 0..65535."""

import numpy as np
import pytest

from lift.io.to_rgb import RgbConverter
from tests.support.raw_frames import planes_of, random_frame, rows

av = pytest.importorskip("av")

WEIGHTS = {  # of red and blue
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
YCGCO = 8
STEPS = {"420": (2, 2), "422": (1, 2), "440": (2, 1), "444": (1, 1)}  # down, across


def exact_rgb(planes, matrix, full_range, bits):
    """Y, U, V of any size as float RGB in 0..1, chroma repeated; from the definitions."""
    y, u, v = (plane.astype(float) for plane in planes)
    down, across = -(-y.shape[0] // u.shape[0]), -(-y.shape[1] // u.shape[1])
    u, v = (c.repeat(down, 0).repeat(across, 1)[: y.shape[0], : y.shape[1]] for c in (u, v))
    if full_range:
        y, u, v = y / (2**bits - 1), *((c - 2 ** (bits - 1)) / (2**bits - 1) for c in (u, v))
    else:
        unit = 2 ** (bits - 8)
        y, u, v = (y / unit - 16) / 219, *((c / unit - 128) / 224 for c in (u, v))
    if matrix == YCGCO:
        return np.stack([y - u + v, y + u, y - u - v], -1).clip(0, 1)
    kr, kb = WEIGHTS[matrix]
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    return np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue], -1).clip(0, 1)


def tagged(frame, matrix, full_range):
    frame.colorspace, frame.color_range = matrix, 2 if full_range else 1
    return frame


@pytest.mark.parametrize("full_range", (False, True))
@pytest.mark.parametrize("matrix", (*WEIGHTS, YCGCO))
@pytest.mark.parametrize("bits", (9, 10, 12, 14, 16))
def test_deep_frames_become_the_nearest_of_65536_levels(bits, matrix, full_range):
    frame = tagged(random_frame(f"yuv422p{bits}le", bits), matrix, full_range)
    rgb, planes, alpha = RgbConverter().native(frame)
    want = exact_rgb(planes_of(frame, bits), matrix, full_range, bits) * 65535
    assert rgb.dtype == np.uint16 and alpha is None and len(planes) == 3
    assert np.abs(rgb - want).max() < 0.55


@pytest.mark.parametrize("chroma", STEPS)
@pytest.mark.parametrize("size", ((32, 16), (33, 17)))
def test_chroma_of_every_layout_is_repeated(chroma, size):
    frame = tagged(random_frame(f"yuv{chroma}p10le", 10, *size), 1, False)
    rgb = RgbConverter().native(frame)[0]
    assert np.abs(rgb - exact_rgb(planes_of(frame, 10), 1, False, 10) * 65535).max() < 0.55


@pytest.mark.parametrize("full_range", (False, True))
@pytest.mark.parametrize("bits", (8, 10))
@pytest.mark.parametrize("matrix", (4, 7, YCGCO))
def test_rare_matrices_in_8_bits(matrix, bits, full_range):
    tail = "" if bits == 8 else f"{bits}le"
    frame = tagged(random_frame(f"yuv444p{tail}", bits), matrix, full_range)
    for plane in frame.planes:  # swscale overflows far outside of RGB
        samples = rows(plane, np.uint8 if bits == 8 else np.uint16)
        samples[:] = samples // 2 + (1 << bits) // 4
    want = exact_rgb(planes_of(frame, bits), matrix, full_range, bits) * 255
    assert np.abs(RgbConverter()(frame) - want).max() < 0.6


@pytest.mark.parametrize("full_range", (False, True))
def test_white_is_65535_and_black_0(full_range):
    frame = tagged(av.VideoFrame(8, 8, "yuv420p10le"), 1, full_range)
    for level, wanted in (((1023 if full_range else 940), 65535), (0 if full_range else 64, 0)):
        for plane, value in zip(frame.planes, (level, 512, 512), strict=True):
            rows(plane, np.uint16)[:] = value
        assert (RgbConverter().native(frame)[0] == wanted).all()


@pytest.mark.parametrize("full_range", (False, True))
def test_grey_of_more_than_8_bits(full_range):
    frame = tagged(random_frame("gray10le", 10), 1, full_range)
    rgb, planes, _ = RgbConverter().native(frame)
    (grey,) = planes_of(frame, 10)
    want = grey / 1023 if full_range else (grey - 64.0) / 876
    assert len(planes) == 1 and np.array_equal(planes[0], grey)
    assert np.abs(rgb - want.clip(0, 1)[..., None] * 65535).max() < 0.55


@pytest.mark.parametrize("bits", (10, 12, 16))
def test_rgb_of_more_than_8_bits_is_stretched_and_has_no_planes(bits):
    frame = random_frame(f"gbrap{bits}le", bits)
    rgb, planes, alpha = RgbConverter().native(frame)
    green, blue, red, opacity = planes_of(frame, bits)
    scale = 65535 / (2**bits - 1)
    assert planes is None
    assert np.abs(rgb - np.stack([red, green, blue], -1) * scale).max() < 0.51
    assert np.abs(alpha - opacity * scale).max() < 0.51
    assert np.array_equal(np.rint(rgb / scale)[..., 0], red)  # and back


@pytest.mark.parametrize("pix_fmt", ("yuva420p", "ya8", "rgba", "argb", "bgra", "gbrap"))
def test_alpha_of_8_bits_is_kept_as_it_is(pix_fmt):
    wide = random_frame("gbrap", 8)
    frame = wide.reformat(format=pix_fmt)
    _, _, alpha = RgbConverter().native(frame)
    assert alpha.dtype == np.uint8 and np.array_equal(alpha, planes_of(wide)[3])


def test_a_palette_with_transparent_entries():
    frame = av.VideoFrame(32, 16, "pal8")
    indices, palette = (np.frombuffer(plane, np.uint8) for plane in frame.planes)
    indices.reshape(16, -1)[:, :32] = np.arange(16)[:, None]
    colors = np.random.default_rng(0).integers(0, 256, (256, 4), dtype=np.uint8)
    palette[:1024] = colors[:, [2, 1, 0, 3]].ravel()  # stored as B, G, R, A
    rgb, planes, alpha = RgbConverter().native(frame)
    assert planes is None
    assert np.array_equal(rgb[:, 5], colors[:16, :3]) and np.array_equal(
        alpha[:, 5], colors[:16, 3]
    )
