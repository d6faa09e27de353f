"""Elements of Matroska files, and the pixel aspect that is written into a finished one."""

from fractions import Fraction

import av
import numpy as np
import pytest

from lift.errors import LiftError
from lift.io.decode import open_frames
from lift.io.matroska import (
    DISPLAY_HEIGHT,
    DISPLAY_UNIT,
    DISPLAY_WIDTH,
    damaged_places,
    display_size,
    element,
    elements,
    name_with_room,
    write_aspect,
)


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 16383, 16384])
def test_elements_are_read_as_they_are_written(size):
    data = element(0xEC, bytes(size)) + element(0x1654AE6B, b"abc")
    found = [(name, end - body) for name, _, body, end in elements(data, 0, len(data))]
    assert found == [(0xEC, size), (0x1654AE6B, 3)]


def sizes(data):
    return {
        name: int.from_bytes(data[body:end], "big")
        for name, _, body, end in elements(data, 0, len(data))
    }


def test_display_sizes_are_exact_ratios_or_pixels():
    assert sizes(display_size(720, 576, Fraction(64, 45), 0, False)) == {
        DISPLAY_WIDTH: 1024,
        DISPLAY_HEIGHT: 576,
    }
    ratio = sizes(display_size(720, 480, Fraction(8, 9) / 7, 0, False))
    assert ratio[DISPLAY_UNIT] == 3
    assert Fraction(ratio[DISPLAY_WIDTH], ratio[DISPLAY_HEIGHT]) == Fraction(720, 480) * 8 / 63
    assert DISPLAY_UNIT not in sizes(display_size(720, 480, Fraction(8, 9) / 7, 0, True))
    assert sizes(display_size(1920, 1080, Fraction(1), 1, False))[DISPLAY_WIDTH] == 960


def write(path, title):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.metadata["title"] = title
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("title", ["", "Main view"])
def test_the_aspect_takes_the_room_of_the_name(tmp_path, title):
    path = write(tmp_path / "a.mkv", name_with_room(title))
    size = path.stat().st_size
    assert write_aspect(path, Fraction(64, 45))
    assert path.stat().st_size == size
    with av.open(str(path), options={"err_detect": "crccheck+explode"}) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(64, 45)
        assert stream.metadata.get("title", "") == title
        assert len(list(container.decode(video=0))) == 1


def test_a_file_without_room_is_left_as_it_is(tmp_path):
    path = write(tmp_path / "a.mkv", "Main view")
    data = path.read_bytes()
    assert not write_aspect(path, Fraction(64, 45))
    assert path.read_bytes() == data


# -- damage ----------------------------------------------------------------------------------------


@pytest.fixture
def clusters(tmp_path):
    """A file of 20 frames at 25 frames/s, five in a cluster."""
    path = tmp_path / "clip.mkv"
    options = {"cluster_time_limit": "199"}
    with av.open(str(path), "w", container_options=options) as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(20):
            noise = np.random.default_rng(k).integers(0, 256, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise)))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("length", (1, 12, 40))
def test_a_hole_is_found_and_reading_goes_on_behind_it(clusters, length):
    assert damaged_places(clusters) == []
    data = bytearray(clusters.read_bytes())
    with av.open(str(clusters)) as container:
        positions = [p.pos for p in container.demux(video=0) if p.size]  # behind their headers
    start = data.rindex(b"\xa3", 0, positions[7])
    data[start : start + length] = bytes(length)
    clusters.write_bytes(data)
    assert damaged_places(clusters) == [Fraction(6, 25)]
    source = open_frames(clusters)
    times = [time for _, time in source.decoded()]
    assert [round(25 * time) for time in times] == [0, 1, 2, 3, 4, 5, 6, *range(10, 20)]
    assert source.report.damaged == 1 and "0.24 s" in source.report.notes[0]
    with pytest.raises(LiftError, match="damaged"):
        list(open_frames(clusters, strict=True).decoded())


def test_other_files_and_those_cut_off_have_no_hole(clusters):
    data = clusters.read_bytes()
    for part in (b"", b"RIFF", data[:9], data[: len(data) // 2], data[: len(data) - 1]):
        clusters.write_bytes(part)
        assert damaged_places(clusters) == []
