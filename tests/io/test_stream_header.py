"""An output states what its source states: HDR metadata, stereo packing, pixel aspect, colours."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from lift.io.codecs import choose_encoding
from lift.io.color import FrameLayout, YuvCoding
from lift.io.encoder import VideoTags, probe
from lift.io.hdr import HdrMetadata
from lift.io.parts import PartWriter, read_part
from lift.io.stream_header import add_video, finish_video, open_header, packet_filter, stereo_mode

SIZE, RATE = (64, 48), Fraction(25)
HDR = HdrMetadata(
    red=(Fraction(17, 25), Fraction(8, 25)),
    green=(Fraction(53, 200), Fraction(69, 100)),
    blue=(Fraction(3, 20), Fraction(3, 50)),
    white=(Fraction(3127, 10000), Fraction(329, 1000)),
    min_luminance=Fraction(1, 10000),
    max_luminance=Fraction(1000),
    max_cll=1000,
    max_fall=400,
)
ASPECT = Fraction(64, 45)


def written(tmp_path, suffix, codec=None, *, alpha=False, pix_fmt="yuv420p10le", **stated):
    """A video of three frames in a container, from a part; the path and the tags."""
    bits, chroma = (10, "420") if pix_fmt.endswith("10le") else (8, "420")
    layout = FrameLayout(pix_fmt, bits, chroma, alpha, YuvCoding(9))
    source = SimpleNamespace(primaries=9, transfer=16, **stated)
    encoding = choose_encoding(suffix, layout, codec=codec, transfer=16, primaries=9)
    part, output = tmp_path / "part.mkv", tmp_path / f"output{suffix}"
    with PartWriter(part, SIZE, encoding, RATE, 1 / RATE, source) as writer:
        for index in range(3):
            writer.write(np.full((48, 64, 3), 80 * index, np.uint8), index / RATE)
    tags = VideoTags.of(source)
    options = {"strict": "unofficial"}
    with (
        open_header(part, tags) as template,
        av.open(
            str(output), "w", format=encoding.container, container_options=options
        ) as container,
    ):
        stream = add_video(container, template, encoding, tags, RATE)
        convert = packet_filter(encoding, template, stream)
        for count, (packet, index) in enumerate(read_part(part)):
            packet.time_base = 1 / RATE
            packet.pts, packet.dts, packet.duration = index, count - 2, 1
            for ready in [packet] if convert is None else convert.filter(packet):
                ready.stream = stream
                container.mux(ready)
    finish_video(output, encoding, tags)
    return output


def first_frame(path):
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "hevc"), (".mov", "hevc"), (".mp4", "h264"), (".mp4", "av1"), (".mov", "prores")],
)
def test_mp4_and_mov_state_hdr_metadata_in_boxes(tmp_path, suffix, codec):
    data = written(tmp_path, suffix, codec, mastering=HDR).read_bytes()
    display = data[data.index(b"mdcv") + 4 :][:24]
    numbers = [int.from_bytes(display[i : i + 2], "big") for i in range(0, 16, 2)]
    assert numbers == [13250, 34500, 7500, 3000, 34000, 16000, 15635, 16450]  # G, B, R, white
    assert int.from_bytes(display[16:20], "big") == 10_000_000
    assert int.from_bytes(display[20:24], "big") == 1
    light = data[data.index(b"clli") + 4 :][:4]
    assert light == bytes([1000 >> 8, 1000 & 255, 400 >> 8, 400 & 255])


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mkv", "hevc"), (".webm", "vp9"), (".mkv", "ffv1"), (".mkv", "prores")]
)
def test_matroska_states_hdr_metadata_for_every_codec(tmp_path, suffix, codec):
    frame = first_frame(written(tmp_path, suffix, codec, mastering=HDR))
    kinds = {getattr(data.type, "name", "") for data in frame.side_data}
    assert {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"} <= kinds


def test_a_source_without_metadata_gets_none(tmp_path):
    data = written(tmp_path, ".mp4").read_bytes()
    assert b"mdcv" not in data and b"clli" not in data and b"st3d" not in data


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".mp4", "hevc"),
        (".mov", "prores"),
        (".mkv", "ffv1"),
        (".mkv", "h264"),
        (".webm", "vp9"),
    ],
)
def test_pixel_aspect_and_colours_are_those_of_the_source(tmp_path, suffix, codec):
    path = written(tmp_path, suffix, codec, aspect=ASPECT)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert abs(stream.sample_aspect_ratio - ASPECT) < Fraction(1, 100)
        assert stream.metadata.get("title") is None
        frames = list(container.decode(video=0))
    assert len(frames) == 3
    tags = [frames[0].color_primaries, frames[0].color_trc, frames[0].colorspace]
    assert [int(tag) for tag in tags] == [9, 16, 9]


def test_a_stereo_packing_is_stated(tmp_path):
    data = written(tmp_path, ".mp4", stereo="side by side").read_bytes()
    assert b"st3d" in data
    frame = first_frame(written(tmp_path, ".mkv", stereo="top and bottom"))
    assert "STEREO3D" in {getattr(data.type, "name", "") for data in frame.side_data}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        (None, 0),
        ("2D", 0),
        ("side by side", 1),
        ("side by side (inverted)", 11),
        ("checkerboard", 5),
    ],
)
def test_stereo_modes_are_those_of_matroska(name, mode):
    assert stereo_mode(name) == mode


def test_hevc_in_mp4_has_the_tag_of_apple(tmp_path):
    assert b"hvc1" in written(tmp_path, ".mp4", "hevc").read_bytes()


def test_h264_in_avi_is_a_stream_with_start_codes(tmp_path):
    path = written(tmp_path, ".avi", "h264")
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == RATE
        assert len(list(container.decode(video=0))) == 3


def test_alpha_of_vp9_is_announced(tmp_path):
    path = written(tmp_path, ".webm", "vp9", alpha=True, pix_fmt="yuv420p")
    assert bytes.fromhex("53c08101") in path.read_bytes()  # AlphaMode


def test_a_probe_in_memory_is_a_part_too():
    encoding = choose_encoding(".mkv", FrameLayout())
    with open_header(probe(encoding, SIZE, RATE), VideoTags()) as stream:
        assert (stream.width, stream.height) == SIZE
        assert stream.codec_context.extradata
