"""What a frame looks like survives: orientation, fields, depth, HDR, range, matrix, alpha."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from lift.io.animated_images import play_count
from tests.support import video_output as out
from tests.support.video_checks import (
    Row,
    doubled,
    frames,
    noted,
    noted_at_any_time,
    same_originals,
    same_pix_fmt,
    same_tags,
    says,
    starts_at,
    table,
)

pytestmark = pytest.mark.videos

FINE = ("--crf", 4)
LOSSLESS = ("--crf", 0)


# -- orientation and aspect ------------------------------------------------------------------------


def upright(run):
    """No display matrix is left that would turn the frames again."""
    assert "DISPLAYMATRIX" not in out.side_data(out.decode(run.output)[0])


TURNS: dict[str, Callable] = {
    "rot90": lambda a: np.rot90(a, 1),
    "rot180": lambda a: np.rot90(a, 2),
    "rot270": lambda a: np.rot90(a, 3),
    "hflip": lambda a: a[:, ::-1],
    "vflip": lambda a: a[::-1],
    "transpose": lambda a: a.transpose(1, 0, 2),
}


@table(
    *(
        Row(f"V03-{name}", f"v03_{name}.mp4", "o.mp4", (upright, same_originals(36, turn)), FINE)
        for name, turn in TURNS.items()
    ),
    Row("V03-rot90_mkv", "v03_rot90.mp4", "o.mkv", (upright, same_originals(33, TURNS["rot90"]))),
    Row("V03-rot90_mov", "v03_rot90.mp4", "o.mov", (upright, same_originals(33, TURNS["rot90"]))),
    Row("V03b-hflip_mkv", "v03_hflip.mp4", "o.mkv", (upright, same_originals(33, TURNS["hflip"]))),
    Row("V03b-hflip_folder", "v03_hflip.mp4", "o", (same_originals(33, TURNS["hflip"]),)),
)
def test_turned_and_mirrored_videos_become_upright(lift_file, row):
    row.check(lift_file)


@pytest.mark.parametrize(
    "source, target, aspect",
    (
        ("v04_sar.mp4", "o.mp4", (16, 15)),
        ("v04_sar.mkv", "o.mkv", (64, 45)),
        ("v04_sar.mp4", "o.mkv", (16, 15)),
        ("v04d_sar_rot.mp4", "o.mp4", (15, 16)),
    ),
    ids=("V04-mp4", "V04-mkv", "V04-mp4_to_mkv", "V04-turned"),
)
def test_the_aspect_of_pixels_is_kept(lift_file, source, target, aspect):
    run = lift_file(source, target)
    with out.av.open(str(run.output)) as container:
        found = out.video_of(container).sample_aspect_ratio
    assert float(found) == pytest.approx(aspect[0] / aspect[1], rel=1e-3)


# -- fields ----------------------------------------------------------------------------------------


def combing(frame) -> float:
    """How much rows differ from the mean of their neighbours, against the rows two apart."""
    luma = out.planes(frame)[0].astype(np.float64)
    near = np.abs(luma[1:-1] - (luma[:-2] + luma[2:]) / 2).mean()
    far = np.abs(luma[2:-2] - (luma[:-4] + luma[4:]) / 2).mean()
    return near / far


@pytest.mark.parametrize("name", ("v05_interlaced.mp4", "v05_interlaced.mpg"))
def test_V05_interlaced_sources_are_deinterlaced_with_a_note(lift_file, name):
    run = lift_file(name, "o.mp4", *FINE)
    assert run.noted("interlace"), run.out
    source = np.median([combing(frame) for frame in out.decode(run.source)])
    target = np.median([combing(frame) for frame in out.decode(run.output)])
    assert target < 0.85 * source, (source, target)
    assert not any(frame.interlaced_frame for frame in out.decode(run.output))
    assert float(out.picture_end(run.output)) == pytest.approx(0.4, abs=0.05)


def test_V05_deinterlace_off_leaves_the_fields(lift_file):
    run = lift_file("v05_interlaced.mp4", "o.mp4", "--deinterlace", "off", *FINE)
    assert run.code == 0, run.err
    same_originals(34)(run)


def test_V05_a_progressive_source_is_not_deinterlaced(lift_file):
    run = lift_file("v15_bf.mp4", "o.mp4", *FINE)
    assert not run.noted("interlace")
    same_originals(34)(run)


# -- depth and HDR ---------------------------------------------------------------------------------


def mastering(frame) -> tuple[list[float], tuple[int, ...]]:
    """Mastering display (chromaticities, luminance in cd/m2) and light level (MaxCLL, MaxFALL)."""
    data = out.side_data(frame)
    numbers = np.frombuffer(data["MASTERING_DISPLAY_METADATA"], np.int32)
    ratios = [a / b for a, b in numbers[:20].reshape(10, 2)]
    return ratios, tuple(np.frombuffer(data["CONTENT_LIGHT_LEVEL"], np.uint32)[:2])


def same_mastering(run):
    expected = mastering(out.decode(run.source)[0])
    found = mastering(out.decode(run.output)[0])
    assert found[0] == pytest.approx(expected[0], rel=1e-3, abs=1e-4)
    assert found[1] == expected[1] == (1000, 400)


HDR = (same_tags, same_pix_fmt, doubled)


@table(
    Row("V06-hdr10", "v06_pq.mp4", "o.mp4", (*HDR, same_mastering)),
    Row("V06-hdr10_mkv", "v06_pq.mp4", "o.mkv", (*HDR, same_mastering)),
    Row("V06-hdr10_hevc", "v06_pq.mp4", "o.mp4", (*HDR, same_mastering), ("--codec", "hevc")),
    Row("V06-hlg", "v06_hlg.mkv", "o.mkv", HDR),
    Row("V06-hlg_mp4", "v06_hlg.mkv", "o.mp4", HDR),
    Row("V06-422_10", "f_422p10.mp4", "o.mp4", (same_pix_fmt, doubled)),
    Row("V06-444_12", "f_444p12.mkv", "o.mkv", (same_pix_fmt, doubled)),
    Row("V06-prores", "f_prores.mov", "o.mov", (same_pix_fmt, doubled), ("--codec", "prores")),
    Row("V06-gray", "f_gray.mkv", "o.mkv", (doubled,)),
)
def test_depth_and_hdr_are_kept(lift_file, row):
    row.check(lift_file)


@pytest.mark.parametrize("flags", (LOSSLESS, ("--codec", "ffv1")), ids=("V06-h264", "V06-ffv1"))
def test_a_ten_bit_gradient_keeps_its_levels(lift_file, flags):
    """1,024 levels in the full range, sliding by two of them a frame: at least 1,000 stay."""
    run = lift_file("v06_1024_levels.mkv", "o.mkv", *flags, trained=True)
    assert run.code == 0, run.err
    source, target = out.decode(run.source), out.decode(run.output)
    for a, b in zip(source, target[::2], strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(out.planes(a), out.planes(b), strict=True))
    for frame in target[1::2]:  # generated: no banding
        luma = out.planes(frame)[0]
        assert len(np.unique(luma)) >= 1000
        assert np.abs(np.diff(luma[8].astype(int))).max() <= 4


# -- range and matrix ------------------------------------------------------------------------------


def same_look(limit: float):
    """Originals and generated frames have the colours of the source, by the tags of each file."""

    def check(run):
        expected = np.mean([picture.mean((0, 1)) for picture in out.pictures(run.source)], 0)
        for picture in out.pictures(run.output):
            assert np.abs(picture.mean((0, 1)) - expected).max() <= limit

    return check


@table(
    Row("V07-full", "v07_full.mp4", "o.mp4", (same_originals(38), same_look(1)), FINE),
    Row("V07-full_709", "v07_full709.mkv", "o.mkv", (same_originals(38), same_look(1)), FINE),
    Row("V07-mjpeg", "v07_mjpeg.avi", "o.mp4", (same_originals(34),), FINE),
    *(
        Row(f"V07b-{codec}_{name}", name, target, (same_originals(27),), ("--codec", codec))
        for name in ("v07_full.mp4", "v07_full709.mkv")
        for codec, target in (
            ("prores", "o.mov"),
            ("mpeg4", "o.avi"),
            ("mpeg2", "o.mkv"),
            ("ffv1", "o.avi"),
            ("v210", "o.mov"),
        )
    ),
    Row("V08-709", "v08_709.mp4", "o.mp4", (same_originals(38), same_look(1), same_tags), FINE),
    Row("V08-601", "v08_601.mp4", "o.mp4", (same_originals(38), same_look(1), same_tags), FINE),
    Row("V08-pal", "v08_pal.mp4", "o.mp4", (same_originals(38), same_look(1), same_tags), FINE),
    Row("V08-601_mkv", "v08_601.mp4", "o.mkv", (same_originals(38), same_look(1)), FINE),
    Row("V08-240m", "v08_240m.mp4", "o.mp4", (same_originals(32),), FINE),
    Row("V08-rgb", "v08_rgb.mkv", "o.mkv", (same_originals(30),), FINE),
    Row("V09-odd_444", "v09_odd444.mp4", "o.mp4", (same_originals(36),), FINE),
    Row("V09-odd_420", "v09_odd420.mkv", "o.mkv", (same_originals(30),), FINE),
    Row("V09-tiny", "v09_tiny.mkv", "o.mkv", (doubled,)),
)
def test_levels_and_hues_are_those_of_the_source(lift_file, row):
    row.check(lift_file)


def test_an_untagged_source_in_rgb_stays_untagged(lift_file, tmp_path):
    source = tmp_path / "rgb.mkv"
    with out.av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gbrp10le"
        for k in range(3):
            frame = out.av.VideoFrame(64, 48, "gbrp10le")
            for plane in frame.planes:
                plane.update(bytes([40 * k, 0]) * (plane.buffer_size // 2))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    kept = lift_file(source, "o.mkv", "--codec", "ffv1")
    assert out.color_tags(out.decode(kept.output)[0])[:2] == (2, 2)
    converted = lift_file(source, "p.mkv")
    assert out.color_tags(out.decode(converted.output)[0])[:3] == (1, 1, 1)


@table(
    *(
        Row(f"untagged-{target}-{codec}", "c1_cut.mp4", target, (), ("--codec", codec))
        for target, codec in (
            ("o.mp4", "h264"),
            ("o.mp4", "hevc"),
            ("o.mkv", "ffv1"),
            ("o.webm", "vp9"),
            ("o.webm", "av1"),
            ("o.mov", "prores"),
        )
    )
)
def test_an_untagged_source_stays_untagged(lift_file, inputs, row):
    assert out.color_tags(out.decode(inputs(row.source))[0]) == (2, 2, 2, 0)
    run = lift_file(row.source, row.target, *row.flags)
    # four of the codecs have no way to leave the range open
    assert out.color_tags(out.decode(run.output)[0]) in ((2, 2, 2, 0), (2, 2, 2, 1))


def test_V08b_passes_do_not_darken(lift_file):
    first = lift_file("v08_709.mp4", "once.mkv", *LOSSLESS)
    second = lift_file(first.output, "twice.mkv", *LOSSLESS)
    source = [out.planes(frame)[0] for frame in out.decode(first.source)]
    twice = [out.planes(frame)[0] for frame in out.decode(second.output)]
    for original, luma in zip(source, twice[::4], strict=True):
        assert np.array_equal(original, luma)
    level = np.mean(source)
    for luma in twice:  # generated ones too
        assert luma.mean() == pytest.approx(level, abs=0.35)


@pytest.mark.parametrize("target", ("o.gif", "o.webp", "o"))
def test_pixels_that_are_not_square_are_noted_where_they_are_lost(lift_file, target):
    run = lift_file("v04_sar.mp4", target)
    assert run.code == 0 and run.noted_before_the_first_frame("not square")


@pytest.mark.parametrize("target", ("o.gif", "o"))
def test_hdr_in_images_is_noted(lift_file, target):
    run = lift_file("v06_hlg.mkv", target)
    assert run.code == 0 and run.noted_before_the_first_frame("HDR (HLG)", "images do not say so")


# -- alpha -----------------------------------------------------------------------------------------


def alphas(path) -> list[np.ndarray]:
    """Alpha of every frame, (H, W) float in 0..1."""
    if path.is_dir():
        images = [out.read_image(file) for file in sorted(path.iterdir())]
        return [image[..., 3] / np.iinfo(image.dtype).max for image in images]
    with out.av.open(str(path)) as container:
        name = out.video_of(container).codec_context.name
    # FFmpeg's own decoder of VP9 leaves alpha out
    decoder = "libvpx-vp9" if name in ("vp9", "libvpx-vp9") else None
    return [f.to_ndarray(format="rgba")[..., 3] / 255 for f in out.decode(path, decoder)]


@pytest.mark.parametrize(
    "source, target",
    (
        ("v10_prores4444.mov", "o.mov"),
        ("v10_vp9alpha.webm", "o.webm"),
        ("v10_ffv1alpha.mkv", "o.mkv"),
        ("v10_alpha.gif", "o.gif"),
        ("rgba", "o"),
        ("v10_prores4444.mov", "o"),
        ("v10_alpha.gif", "o.apng"),
    ),
    ids=("V10-prores", "V10-vp9", "V10-ffv1", "V10-gif", "V10-png", "V10-to_png", "V10-apng"),
)
def test_alpha_is_kept_where_the_container_has_it(lift_file, source, target):
    run = lift_file(source, target)
    assert run.code == 0, run.err
    before, after = alphas(run.source), alphas(run.output)
    assert len(after) == 2 * len(before) - 1
    for a, b in zip(before, after[::2], strict=True):
        assert np.abs(a - b).mean() < 0.02
    for alpha in after:  # generated ones too: transparent corners, an opaque middle
        assert alpha[:8, :8].max() < 0.1 and alpha[28:36, 52:56].min() > 0.9


@table(
    Row("V10-mp4", "v10_prores4444.mov", "o.mp4", (noted("alpha"), doubled)),
    Row("V10-folder_to_mp4", "rgba", "o.mp4", (noted("alpha"),)),
    Row("V10-jpeg", "rgba", "o", (noted("alpha"),), ("--format", "jpg")),
)
def test_alpha_that_the_container_cannot_have_is_noted(lift_file, row):
    row.check(lift_file)


def test_animated_images_are_played_as_often_as_their_source(lift_file, inputs, tmp_path):
    data = inputs("f_plain.gif").read_bytes()
    source = tmp_path / "counted.gif"
    for plays, repeats in ((1, b""), (3, b"\x02\x00")):
        found = data.index(b"\x21\xff\x0bNETSCAPE2.0")
        again = b"" if plays == 1 else data[found : found + 16] + repeats + b"\0"
        source.write_bytes(data[:found] + again + data[found + 19 :])
        for target in ("o.gif", "o.apng", "o.webp"):
            run = lift_file(source, target, "--overwrite")
            assert run.code == 0, run.err
            assert play_count(run.output) == plays
    assert play_count(lift_file(source, "o.gif", "--loop", "--overwrite").output) == 0


# -- folders ---------------------------------------------------------------------------------------


def bit_exact(order: Callable = sorted):
    """Every other image is the source's file, in `order` of the names, pixel for pixel."""

    def check(run):
        kinds = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
        names = [f for f in run.source.iterdir() if f.suffix.lower() in kinds and f.stat().st_size]
        source = [out.read_image(file) for file in order(names)]
        target = [out.read_image(file) for file in sorted(run.output.iterdir())]
        assert len(target) == 2 * len(source) - 1
        for a, b in zip(source, target[::2], strict=True):
            assert a.dtype == b.dtype and np.array_equal(a[..., :3], b[..., :3])

    return check


def by_number(files):
    return sorted(files, key=lambda file: int("".join(c for c in file.stem if c.isdigit())))


@table(
    *(
        Row(f"V20-{name}", name, "o", (bit_exact(by_number),))
        for name in (
            *("png8", "nat", "nat2", "start1001", "mixed", "mixext", "jpeg", "gray", "webp"),
            *(
                "tif",
                "bmp",
                "copyname",
                "comfy",
                "blender",
                "dates",
                "png16",
                "tif16",
                "onebit",
                "cmyk",
            ),
        )
    ),
    Row("V20-mixed_grey", "mixgray", "o", (frames(11),)),
    Row("V20-junk", "junk", "o", (frames(11),)),
    Row("V20-video", "png8", "o.mp4", (frames(11), starts_at(0))),
    Row("V20-size", "size", "o", (says("size"),), code=1),
    Row("V20-corrupt", "corrupt", "o", (says("0004.png"),), code=1),
    Row("V20-zero", "zero", "o", (says("0004.png"),), code=1),
    Row("V20-empty", "empty", "o", (says("no frames"),), code=1),
)
def test_folders_are_read_in_natural_order_and_originals_are_bit_exact(lift_file, row):
    row.check(lift_file)


def test_V20_exif_orientation_makes_pictures_upright(lift_file):
    run = lift_file("exif", "o")
    first = cv2.imread(str(sorted(run.source.iterdir())[0]), cv2.IMREAD_COLOR)
    assert first.shape[0] > first.shape[1]  # OpenCV itself applies the orientation
    assert np.array_equal(out.read_image(sorted(run.output.iterdir())[0])[..., :3], first)


def test_V20_openexr_frames_are_interpolated(lift_file):
    run = lift_file("exr", "o")
    assert run.code == 0, run.err
    files = sorted(run.output.iterdir())
    assert len(files) == 7 and {file.suffix for file in files} == {".exr"}


def test_V20_16_bit_frames_stay_16_bit_between_the_originals(lift_file):
    run = lift_file("png16", "o")
    generated = out.read_image(sorted(run.output.iterdir())[1])
    assert generated.dtype == np.uint16
    assert len(np.unique(generated)) > 100 and generated.mean() == pytest.approx(20160, abs=40)


GAPS = ("--gaps", "sort")


@table(
    Row("V20c-gap", "gap", "o", (says("3", "--gaps"),), code=1),
    Row("V20c-gap_sorted", "gap", "o", (frames(9),), GAPS),
    Row("V20c-dates", "dates2", "o", (says("--gaps"),), code=1),
    Row("V20c-dates_sorted", "dates2", "o", (frames(7),), GAPS),
    Row("V20c-stray", "junkpic", "o", (frames(11), noted_at_any_time("thumbnail.png"))),
    Row("V20c-stray_sorted", "junkpic", "o", (noted_at_any_time("thumbnail.png"),), GAPS),
    Row("V20c-fractions", "sd", "o", (frames(7),)),
)
def test_a_missing_number_is_an_error_that_names_the_way_to_go_on(lift_file, row):
    row.check(lift_file)


def test_V20c_gaps_can_mean_time(lift_file):
    run = lift_file("gap", "o.mkv", "--gaps", "time", "--source_fps", 25)
    assert run.code == 0, run.err
    found = [float(at) for at in out.times(run.output)]
    for at in (0, 0.04, 0.12, 0.16, 0.2):  # the frames that exist
        assert min(abs(at - other) for other in found) < 0.0011
    assert max(found) == pytest.approx(0.2, abs=0.0011)
