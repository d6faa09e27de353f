"""Parts hold every frame with its time, the same file for the same frames, and are closed."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from lift.errors import LiftError
from lift.io.codecs import choose_encoding
from lift.io.color import FrameLayout, YuvCoding
from lift.io.decode import DecodedFrame
from lift.io.encoder import probe
from lift.io.hdr import HdrMetadata
from lift.io.parts import PartWriter, part_times, read_part, times_path

WIDTH, HEIGHT = 64, 48
RATE, TIME_BASE = Fraction(30000, 1001), Fraction(1, 30000)
COUNT = 9


def pictures(count=COUNT, dtype=np.uint8, size=(WIDTH, HEIGHT)):
    """Smooth colours that move."""
    y, x = np.mgrid[: size[1], : size[0]]
    top = np.iinfo(dtype).max
    for index in range(count):
        waves = [np.sin((x + 3 * index) / a) * np.cos(y / b) for a, b in ((9, 7), (5, 11), (13, 4))]
        yield ((np.stack(waves, -1) / 2 + 0.5) * top).astype(dtype)


def times(count=COUNT):
    return [index / RATE + Fraction(index % 2, 500) for index in range(count)]  # variable rate


def write(path, encoding, frames, source=None, size=(WIDTH, HEIGHT)):
    with PartWriter(path, size, encoding, RATE, TIME_BASE, source) as part:
        for frame, time in zip(frames, times(), strict=False):
            part.write(frame, time)
    return path


def decoded(path):
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize(
    ("suffix", "codec", "preset"),
    [
        (".mp4", "h264", "veryfast"),
        (".mp4", "hevc", "ultrafast"),
        (".webm", "vp9", "8"),
        (".webm", "av1", "12"),
        (".mov", "prores", None),
        (".mkv", "ffv1", None),
        (".mkv", "mpeg4", None),
        (".avi", "utvideo", None),
    ],
)
def test_a_part_is_complete_closed_and_the_same_each_time(tmp_path, suffix, codec, preset):
    encoding = choose_encoding(suffix, FrameLayout(), codec=codec, preset=preset)
    paths = [write(tmp_path / f"{n}.mkv", encoding, pictures()) for n in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    packets = list(read_part(paths[0]))
    assert packets[0][0].is_keyframe and packets[0][1] == 0
    assert sorted(index for _, index in packets) == list(range(COUNT))
    assert len(decoded(paths[0])) == COUNT
    assert part_times(paths[0]) == times()


def test_h264_plans_its_bits_alike_each_time(tmp_path):
    """Its look-ahead counts from some dozens of frames and a width of no multiple of 16 on."""
    random = np.random.default_rng(0)
    still = random.integers(0, 255, (48, 120, 3), np.uint8)
    frames = [np.roll(still, k, 1)[:, :90] for k in range(60)]
    encoding = choose_encoding(".mp4", FrameLayout())
    contents = set()
    for n in range(3):
        with PartWriter(tmp_path / f"{n}.mkv", (90, 48), encoding, RATE, 1 / RATE) as part:
            for k, frame in enumerate(frames):
                part.write(frame, k / RATE)
        contents.add((tmp_path / f"{n}.mkv").read_bytes())
    assert len(contents) == 1


def test_reordered_packets_carry_the_number_of_their_frame(tmp_path):
    encoding = choose_encoding(".mkv", FrameLayout(), preset="fast")
    path = write(tmp_path / "part.mkv", encoding, pictures())
    order = [index for _, index in read_part(path)]
    assert order != sorted(order)  # there are B-frames
    milliseconds = [round(frame.pts * frame.time_base * 1000) for frame in decoded(path)]
    assert milliseconds == [10 * index for index in range(COUNT)]


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "crf"),
    [
        ("h264", "yuv420p", 0),
        ("h264", "yuv422p10le", 0),
        ("hevc", "yuv420p10le", 0),
        ("hevc", "yuv444p12le", 0),
        ("vp9", "yuv444p", 0),
        ("av1", "yuv420p10le", 0),
        ("ffv1", "yuv420p16le", None),
    ],
)
def test_lossless_parts_hold_the_planes_of_the_source(tmp_path, codec, pix_fmt, crf):
    layout = av.VideoFormat(pix_fmt, WIDTH, HEIGHT)
    bits = layout.components[0].bits
    planes = tuple(
        (np.indices((part.height, part.width)).sum(0) * 7 % (1 << bits)).astype(
            np.uint8 if bits == 8 else np.uint16
        )
        for part in layout.components
    )
    chroma = pix_fmt[3:6]
    source = SimpleNamespace(layout=FrameLayout(pix_fmt, bits, chroma, False, YuvCoding()))
    encoding = choose_encoding(".mkv", source.layout, codec=codec, crf=crf)
    assert encoding.is_lossless and encoding.pix_fmt == pix_fmt
    frame = DecodedFrame(np.zeros((HEIGHT, WIDTH, 3), np.uint8), planes)
    (back,) = decoded(write(tmp_path / "part.mkv", encoding, [frame], source))
    assert back.format.name == pix_fmt
    for plane, wanted in zip(back.planes, planes, strict=True):
        rows = np.frombuffer(plane, wanted.dtype).reshape(-1, plane.line_size // wanted.itemsize)
        assert (rows[: wanted.shape[0], : wanted.shape[1]] == wanted).all()


def test_ffv1_holds_8_bit_rgb_as_it_is(tmp_path):
    encoding = choose_encoding(".mkv", FrameLayout("gbrp", 8, "rgb"), codec="ffv1")
    (picture,) = pictures(1)
    (frame,) = decoded(write(tmp_path / "part.mkv", encoding, [picture]))
    assert (frame.to_ndarray(format="rgb24") == picture).all()


@pytest.mark.parametrize(("suffix", "decoder"), [(".webm", "libvpx-vp9"), (".mov", "prores")])
def test_alpha_comes_back(tmp_path, suffix, decoder):
    layout = FrameLayout("gbrp", 8, "rgb", has_alpha=True)
    encoding = choose_encoding(suffix, layout)
    alpha = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
    frames = [DecodedFrame(picture, None, alpha) for picture in pictures(2)]
    path = write(tmp_path / "part.mkv", encoding, frames)
    context = av.CodecContext.create(decoder, "r")
    with av.open(str(path)) as container:
        context.extradata = container.streams.video[0].codec_context.extradata
    frames = [frame for packet, _ in read_part(path) for frame in context.decode(packet)]
    frame = frames[0] if frames else context.decode(None)[0]
    back = frame.to_ndarray(format="rgba")[..., 3]
    assert np.abs(back.astype(int) - alpha).max() <= 6


def test_colour_tags_aspect_and_hdr_are_in_the_stream(tmp_path):
    point = (Fraction(3127, 10000), Fraction(329, 1000))
    hdr = HdrMetadata(point, point, point, point, Fraction(1, 200), Fraction(1000), 1000, 400)
    layout = FrameLayout("yuv420p10le", 10, "420", False, YuvCoding(9))
    source = SimpleNamespace(
        primaries=9, transfer=16, aspect=Fraction(64, 45), mastering=hdr, layout=layout
    )
    for codec in ("hevc", "h264", "av1"):
        encoding = choose_encoding(".mkv", layout, codec=codec, transfer=16, primaries=9)
        frames = pictures(1, np.uint16)
        (frame,) = decoded(write(tmp_path / f"{codec}.mkv", encoding, frames, source))
        tags = [frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range]
        assert [int(tag) for tag in tags] == [9, 16, 9, 1], codec
        kinds = {getattr(data.type, "name", "") for data in frame.side_data}
        assert {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"} <= kinds, codec


def test_an_unfinished_part_leaves_nothing(tmp_path):
    encoding = choose_encoding(".mkv", FrameLayout())
    path = tmp_path / "part.mkv"
    with (
        pytest.raises(RuntimeError),
        PartWriter(path, (WIDTH, HEIGHT), encoding, RATE, TIME_BASE) as part,
    ):
        part.write(next(pictures()), Fraction(0))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    assert part_times(path) is None


def test_a_part_without_its_times_is_not_finished(tmp_path):
    encoding = choose_encoding(".mkv", FrameLayout())
    path = write(tmp_path / "part.mkv", encoding, pictures(2))
    times_path(path).write_text("[")
    assert part_times(path) is None


@pytest.mark.parametrize(
    ("codec", "size", "message"),
    [
        ("h264_nvenc", (256, 144), "lacks the hardware"),
        ("dnxhr", (64, 48), "does not take yuv422p at 64x48"),
    ],
)
def test_what_cannot_work_fails_before_the_first_frame(codec, size, message):
    suffix = ".mov" if codec == "dnxhr" else ".mkv"
    encoding = choose_encoding(suffix, FrameLayout(), codec=codec, size=size)
    try:
        probe(encoding, size, RATE)
    except LiftError as error:
        assert message in str(error)
    else:
        assert codec == "h264_nvenc"  # this machine has the hardware


def test_a_probe_is_a_part_of_one_frame():
    encoding = choose_encoding(".mkv", FrameLayout(), size=(63, 47))
    with av.open(probe(encoding, (63, 47), RATE)) as container:
        (frame,) = container.decode(video=0)
    assert (frame.width, frame.height) == (63, 47)
