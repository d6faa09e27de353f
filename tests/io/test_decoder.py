"""A damaged file is read to its end, and the report says where it is damaged."""

from fractions import Fraction

import numpy as np
import pytest

from lift.errors import LiftError
from lift.io.decode import open_frames
from lift.io.decoder import Damage, decode_frames, open_container, video_stream
from tests.support.raw_frames import random_frame, write_frames
from tests.support.video_samples import moving_frames, write_video

av = pytest.importorskip("av")

FRAMES = 24
TS_PACKET = 188


def noise(path, suffix, options=None):
    frames = list(np.random.default_rng(0).integers(0, 255, (FRAMES, 48, 64, 3), dtype=np.uint8))
    ticks = list(range(FRAMES))
    return write_video(path / f"a{suffix}", frames, ticks, Fraction(1, 25), options=options)


def read(source):
    return [time for _, time in source.decoded()]


def overwritten(path):
    """200 bytes in the middle are zero."""
    data = bytearray(path.read_bytes())
    at = len(data) // 2
    data[at : at + 200] = bytes(200)
    path.write_bytes(data)


def without_a_packet(path):
    data = path.read_bytes()
    at = len(data) // TS_PACKET // 2 * TS_PACKET
    path.write_bytes(data[:at] + data[at + TS_PACKET :])


DAMAGED = {  # suffix, what happens to the file
    "MP4": (".mp4", overwritten),
    "Matroska": (".mkv", overwritten),
    "AVI": (".avi", overwritten),
    "transport stream": (".ts", overwritten),
    "a lost packet": (".ts", without_a_packet),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_decoding_goes_on_past_damage(tmp_path, name):
    suffix, change = DAMAGED[name]
    path = noise(tmp_path, suffix)
    whole = read(open_frames(path))
    change(path)
    source = open_frames(path)
    times = read(source)
    assert len(times) >= FRAMES - 2 and times[-1] == whole[-1]
    assert source.report.damaged >= 1
    (note,) = source.report.notes
    assert "damaged packet" in note and " s" in note and "--strict" in note
    assert source.notes == (note,)


@pytest.mark.parametrize("name", DAMAGED)
def test_strict_reading_stops_at_damage(tmp_path, name):
    suffix, change = DAMAGED[name]
    path = noise(tmp_path, suffix)
    change(path)
    with pytest.raises(LiftError, match=r"damaged or truncated after frame \d+"):
        read(open_frames(path, strict=True))


@pytest.mark.parametrize(
    "suffix, options, announced",
    [
        (".mp4", {"movflags": "faststart"}, True),
        (".mkv", {}, True),
        (".avi", {}, True),
        (".ts", {}, False),
    ],
)
def test_a_truncated_video_ends_with_a_note(tmp_path, suffix, options, announced):
    path = noise(tmp_path, suffix, options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    source = open_frames(path)
    times = read(source)
    assert FRAMES // 3 < len(times) < FRAMES
    (note,) = source.report.notes
    assert ("truncated" if announced else "damaged") in note
    assert source.report.end - times[-1] == Fraction(1, 25)
    with pytest.raises(LiftError, match="damaged or truncated after frame"):
        read(open_frames(path, strict=True))


def test_the_report_starts_anew_with_every_reading(tmp_path):
    path = noise(tmp_path, ".ts")
    without_a_packet(path)
    source = open_frames(path)
    first = read(source), source.report.damaged, list(source.report.notes)
    assert (read(source), source.report.damaged, source.report.notes) == first


def test_joined_recordings_are_not_damaged(tmp_path):
    path = noise(tmp_path, ".ts")
    path.write_bytes(2 * path.read_bytes())
    source = open_frames(path)
    assert len(read(source)) == 2 * FRAMES
    assert source.report.damaged == 0 and source.report.notes == []


def joined_sizes(tmp_path):
    parts = [
        write_video(tmp_path / f"{k}.h264", moving_frames(6, *size)).read_bytes()
        for k, size in enumerate(((48, 64), (64, 96)))
    ]
    path = tmp_path / "joined.h264"
    path.write_bytes(b"".join(parts))
    return path


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path):
    source = open_frames(joined_sizes(tmp_path))
    frames = [frame for frame, _ in source.decoded()]
    assert len(frames) == 12 and {frame.rgb.shape for frame in frames} == {(48, 64, 3)}
    assert {frame.planes[1].shape for frame in frames} == {(24, 32)}
    assert np.abs(frames[-1].rgb.astype(int) - moving_frames(6)[-1]).mean() < 40
    (note,) = source.report.notes
    assert "frame size changes from 64x48 to 96x64 at" in note and "scaled to 64x48" in note


def test_a_change_of_size_stops_strict_and_measured_reading(tmp_path):
    path = joined_sizes(tmp_path)
    with pytest.raises(LiftError, match="frame size changes from 64x48 to 96x64"):
        read(open_frames(path, strict=True))
    with pytest.raises(LiftError, match="frame size changes from 64x48 to 96x64"):
        list(open_frames(path).frames())


@pytest.mark.parametrize("threads", (1, 16))
def test_damage_near_the_end_takes_no_whole_frame_from_behind_it(tmp_path, threads):
    path = noise(tmp_path, ".mp4")
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    damaged = packets[FRAMES - 4]
    data = bytearray(path.read_bytes())
    data[damaged.pos : damaged.pos + damaged.size] = bytes(damaged.size)
    path.write_bytes(data)
    damage = Damage()
    with open_container(path) as container:
        stream = video_stream(path, container)
        stream.codec_context.thread_count = threads
        times = [frame.pts for frame in decode_frames(path, container, stream, damage)]
    assert times == [packet.pts for packet in packets if packet.pts != damaged.pts]
    assert len(damage.times) == 1


def test_nothing_that_can_be_decoded_is_an_error(tmp_path):
    path = noise(tmp_path, ".mp4")
    data = bytearray(path.read_bytes())
    at = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[at:end] = bytes(end - at)
    path.write_bytes(data)
    with pytest.raises(LiftError, match="no frame in this video can be decoded"):
        open_frames(path)


def test_a_packet_is_counted_once():
    damage = Damage()
    for pts in (5, 5, 7, None, None):
        damage.add(pts, Fraction(pts or 6))
    assert len(damage.times) == 4
    (note,) = damage.notes(9, Fraction(9))
    assert note.startswith("4 damaged packets between 5.00 s and 7.00 s;")


# -- alpha channels of WebM ------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ("libvpx", "libvpx-vp9"))
def test_alpha_of_vp8_and_vp9(tmp_path, codec):
    frames = [random_frame("yuva420p", 8, 64, 48, seed=k) for k in range(3)]
    try:
        path = write_frames(
            tmp_path / "a.webm", frames, codec, {"auto-alt-ref": "0"}, {"alpha_mode": "1"}
        )
    except av.error.FFmpegError:
        pytest.skip(f"{codec} of this PyAV writes no alpha channel")
    source = open_frames(path)
    assert source.layout.has_alpha and source.layout.pix_fmt == "yuv420p"
    for frame, _ in source.decoded():
        assert frame.alpha.shape == (48, 64) and frame.alpha.dtype == np.uint8
