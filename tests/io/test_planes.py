"""The planes of a source are those that it stores: its depth, its subsampling, turned upright."""

import numpy as np
import pytest

from lift.io.orientation import OF_EXIF, UPRIGHT
from lift.io.planes import PlaneReader, UprightPlanes, repeated, storage_of
from tests.support.raw_frames import planes_of, random_frame, rows

av = pytest.importorskip("av")

REPACKED = {  # stored as, planar format of the same samples
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "nv20le": "yuv422p10le",
    "p010le": "yuv420p10le",
    "p010be": "yuv420p10le",
    "p012le": "yuv420p12le",
    "p016le": "yuv420p16le",
    "p210le": "yuv422p10le",
    "p410le": "yuv444p10le",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "yvyu422": "yuv422p",
    "y210le": "yuv422p10le",
    "y212le": "yuv422p12le",
    "xv30le": "yuv444p10le",
    "xv36le": "yuv444p12le",
    "vuyx": "yuv444p",
    "ayuv": "yuva444p",
    "ayuv64le": "yuva444p16le",
    "yuv420p9be": "yuv420p9le",
    "yuv422p10be": "yuv422p10le",
    "yuv444p16be": "yuv444p16le",
    "yuva420p10be": "yuva420p10le",
    "gray10be": "gray10le",
    "gray16be": "gray16le",
    "rgb24": "gbrp",
    "bgra": "gbrap",
    "rgb48be": "gbrp16le",
    "bgra64le": "gbrap16le",
    "gbrp12be": "gbrp12le",
}


@pytest.mark.parametrize("full_range", (False, True))
@pytest.mark.parametrize("stored", REPACKED)
def test_repacking_changes_no_sample(stored, full_range):
    planar = REPACKED[stored]
    bits = storage_of(av.VideoFormat(planar, 32, 16)).bits
    frame = random_frame(planar, bits)
    frame.colorspace, frame.color_range = 1, 2 if full_range else 1
    same = dict(src_color_range=frame.color_range, dst_color_range=frame.color_range)
    packed = frame.reformat(format=stored, interpolation=0x46010, **same)
    assert packed.format.name == stored and storage_of(packed.format).planar == planar
    planes, alpha = PlaneReader()(packed)
    want = planes_of(frame, bits)
    if planar.startswith("gb"):
        want = [want[2], want[0], want[1], *want[3:]]
    got = planes if alpha is None else [*planes, alpha]
    assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize(
    "pix_fmt, bits, chroma, alpha",
    [
        ("yuvj422p", 8, "422", False),
        ("yuv411p", 8, "411", False),
        ("yuv410p", 8, "410", False),
        ("yuv440p12be", 12, "440", False),
        ("ya16be", 16, "gray", True),
        ("pal8", 8, "rgb", True),
        ("monow", 8, "rgb", False),
        ("rgb565le", 8, "rgb", False),
        ("x2rgb10le", 10, "rgb", False),
        ("uyyvyy411", 8, "411", False),
        ("gbrpf32le", 16, "rgb", False),
        ("bayer_rggb16le", 16, "rgb", False),
    ],
)
def test_how_a_format_stores_samples(pix_fmt, bits, chroma, alpha):
    storage = storage_of(av.VideoFormat(pix_fmt, 32, 16))
    assert (storage.bits, storage.chroma, storage.has_alpha) == (bits, chroma, alpha)


def test_grey_with_alpha_in_16_bits():
    frame = av.VideoFrame(32, 16, "ya16be")
    samples = np.random.default_rng(0).integers(0, 65536, (16, 64), dtype=np.uint16)
    rows(frame.planes[0], ">u2")[:, :64] = samples
    (grey,), alpha = PlaneReader()(frame)
    assert np.array_equal(grey, samples[:, ::2]) and np.array_equal(alpha, samples[:, 1::2])


@pytest.mark.parametrize("size", ((32, 16), (33, 17)))
@pytest.mark.parametrize("chroma", ("420", "422", "440", "444", "411", "410"))
@pytest.mark.parametrize("exif", OF_EXIF)
def test_upright_planes_mean_the_same_pixels(exif, chroma, size):
    frame = random_frame(f"yuv{chroma}p", 8, *size)
    upright = UprightPlanes.of(frame, OF_EXIF[exif])
    stored, _ = PlaneReader()(frame)
    planes = upright(stored)
    layout = upright.layout
    height, width = planes[0].shape
    turned = av.VideoFormat(layout.pix_fmt, width, height)
    assert storage_of(turned).chroma == layout.chroma
    for plane, before, component in zip(planes, stored, turned.components, strict=True):
        assert plane.shape == (component.height, component.width)
        want = OF_EXIF[exif].apply(repeated(before, size[::-1]))
        assert np.array_equal(repeated(plane, (height, width)), want)


@pytest.mark.parametrize(
    "pix_fmt, upright, turned",
    [
        ("yuv422p10le", "yuv422p10le", "yuv440p10le"),
        ("yuv422p16le", "yuv422p16le", "yuv444p16le"),  # FFmpeg has no yuv440p16
        ("yuv420p12le", "yuv420p12le", "yuv420p12le"),
        ("gray16be", "gray16le", "gray16le"),
        ("rgb48le", "gbrp16le", "gbrp16le"),
    ],
)
def test_the_layout_names_the_format_of_the_upright_planes(pix_fmt, upright, turned):
    frame = av.VideoFrame(32, 16, pix_fmt)
    assert UprightPlanes.of(frame, UPRIGHT).layout.pix_fmt == upright
    assert UprightPlanes.of(frame, OF_EXIF[6]).layout.pix_fmt == turned
