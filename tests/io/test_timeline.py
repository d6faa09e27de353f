"""When frames are displayed, until when the last one is, and rates that lie."""

from fractions import Fraction
from types import SimpleNamespace

import pytest

from lift.io.decode import open_frames
from lift.io.timeline import Timeline, usual_rate, usual_rate_of_times
from tests.support.video_samples import moving_frames, write_video

av = pytest.importorskip("av")


def end_of(source):
    times = [time for _, time in source.decoded()]
    return times, source.report.end


@pytest.mark.parametrize("suffix", (".mp4", ".mov", ".mkv", ".avi", ".ts", ".flv"))
@pytest.mark.parametrize("rate", (1, 8))
def test_the_last_frame_is_displayed_for_one_usual_interval(tmp_path, suffix, rate):
    ticks = [k * 90000 // rate for k in range(4)]
    tick = Fraction(1, rate) if suffix == ".avi" else Fraction(1, 90000)
    ticks = list(range(4)) if suffix == ".avi" else ticks
    path = write_video(tmp_path / f"a{suffix}", moving_frames(4), ticks, tick)
    times, end = end_of(open_frames(path))
    assert abs(end - times[0] - Fraction(4, rate)) <= Fraction(1, 1000)


@pytest.mark.parametrize("suffix", (".mp4", ".mkv"))
def test_a_last_frame_that_is_held(tmp_path, suffix):
    path = write_video(tmp_path / "a.mp4", moving_frames(4), [0, 125, 250, 375])
    held = tmp_path / f"held{suffix}"
    with av.open(str(path)) as file, av.open(str(held), "w") as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        packets = [packet for packet in file.demux(video=0) if packet.size]
        for packet in packets:
            if packet is packets[-1]:
                packet.duration = int(Fraction(5, 4) / packet.time_base)
            packet.stream = stream
            out.mux(packet)
    times, end = end_of(open_frames(held))
    assert (times[-1], end) == (Fraction(375, 1000), Fraction(1625, 1000))


def test_the_end_follows_what_has_been_read_so_far(tmp_path):
    source = open_frames(write_video(tmp_path / "a.mp4", moving_frames(4), [0, 40, 140, 180]))
    ends = [source.report.end for _ in source.decoded()]
    assert ends == [Fraction(k, 1000) for k in (40, 140, 180, 220)]


def write_gif(path, delays):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("gif", rate=100, options={"gifflags": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb8"
        at = 0
        for frame, delay in zip(moving_frames(len(delays)), delays, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="rgb8")
            picture.pts, picture.time_base, picture.duration = at, Fraction(1, 100), delay
            at += delay
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def test_a_gif_ends_after_its_last_delay(tmp_path):
    path = write_gif(tmp_path / "a.gif", [10, 10, 10])
    data = bytearray(path.read_bytes())
    at = data.rindex(b"\x21\xf9\x04") + 4  # the delay of the last frame
    data[at : at + 2] = (150).to_bytes(2, "little")
    path.write_bytes(data)
    source = open_frames(path)
    times, end = end_of(source)
    assert times == [0, Fraction(1, 10), Fraction(2, 10)] and end == Fraction(17, 10)
    assert not source.layout.has_alpha


@pytest.mark.parametrize(
    "stated, interval, rate",
    [
        (60000, Fraction(1, 25), 25),  # raw DV
        (100, Fraction(1, 10), 10),
        (240, Fraction(1, 240), 240),
        (1200, Fraction(1, 1000), 1200),  # rounded to milliseconds
    ],
)
def test_a_rate_of_the_clock_is_not_that_of_the_frames(stated, interval, rate):
    times = [k * interval for k in range(9)]
    assert usual_rate(Fraction(stated), times) == rate


def test_without_timestamps_frames_follow_at_the_mean_rate(tmp_path):
    path = write_video(tmp_path / "a.h264", moving_frames(5))
    times, end = end_of(open_frames(path))
    assert times == [Fraction(k, 25) for k in range(5)] and end == Fraction(5, 25)


class Stream:
    """What `Timeline` asks of an av.VideoStream."""

    time_base, start_time, metadata = Fraction(1, 1000), 0, {}
    container = SimpleNamespace(format=SimpleNamespace(name="mov"), duration=None)


def timed(pts):
    timeline = Timeline(Stream, Fraction(25))
    frames = (SimpleNamespace(pts=p, time_base=Fraction(1, 1000), duration=40) for p in pts)
    return [1000 * timeline.add(frame) for frame in frames]


def test_a_frame_out_of_order_delays_no_frame_after_it():
    assert timed([0, 40, 80, 40, 80, 120, 160]) == [0, 40, 80, 85, 90, 120, 160]


@pytest.mark.parametrize("pts", ([None] * 8, [0] * 8))
def test_frames_without_usable_times_go_on_at_the_mean_rate(pts):
    times = timed(pts)
    assert times[-1] - times[-2] == 40 and times == sorted(set(times))


def test_the_usual_rate_is_that_between_holds(tmp_path):
    ticks = [0, *range(30, 70, 4), *range(120, 160, 4)]
    path = write_video(tmp_path / "a.mp4", moving_frames(21), ticks, Fraction(1, 80))
    source = open_frames(path)
    assert source.fps < 15 and source.usual_rate() == 20


@pytest.mark.parametrize("rate", (24, Fraction(24000, 1001)))
def test_the_usual_rate_of_even_frames_is_the_stated_one(rate):
    rounded = [Fraction(round(1000 * k / rate), 1000) for k in range(50)]  # by Matroska
    assert usual_rate_of_times(Fraction(rate), rounded[::-1]) == rate
    assert usual_rate_of_times(Fraction(rate), []) == rate
