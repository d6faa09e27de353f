"""Frames of a video by index are those that play in order, whatever lies in the file."""

import gc
import multiprocessing
import pickle

import numpy as np
import pytest

from lift.data.sequences import open_sequences
from lift.errors import LiftError
from lift.io.decode import open_frames
from lift.io.video_index import IndexedVideo
from tests.support.numbered import numbers, write_video
from tests.support.video_samples import moving_frames
from tests.support.video_samples import write_video as write_samples

av = pytest.importorskip("av")


def sentence(error) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 500
    return text


VIDEOS = {
    "mp4, groups of 8": dict(name="v.mp4", gop=8),
    "one group": dict(name="v.mp4", gop=300),
    "every frame a keyframe": dict(name="v.avi", codec="mjpeg", gop=1),
    "b-frames": dict(name="v.mp4", gop=12, b_frames=2),
    "b-frames in avi": dict(name="v.avi", gop=12, b_frames=2),
    "matroska": dict(name="v.mkv", gop=10),
    "transport stream": dict(name="v.ts", codec="mpeg2video", gop=10, b_frames=2),
}


@pytest.mark.parametrize("kind", VIDEOS)
def test_frames_of_a_video_are_found_in_any_order(tmp_path, kind):
    options = dict(VIDEOS[kind])
    name = options.pop("name")
    video = IndexedVideo(write_video(tmp_path / name, 40, **options))
    assert len(video) == 40 and video.size == (48, 64)
    for wanted in ([0], [39], [5, 6, 7], [38, 2, 20], [3, 3], [21, 0], list(range(40)), [17]):
        assert numbers(video.read(wanted)) == wanted


def test_a_video_survives_being_sent_to_another_process(tmp_path):
    video = IndexedVideo(write_video(tmp_path / "v.mp4"))
    video.read([5])
    assert numbers(pickle.loads(pickle.dumps(video)).read([9, 3])) == [9, 3]


def in_a_fork(function):
    """What the function returns in a forked process; an error after twenty seconds without it."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=lambda: answers.put(function()))
    process.start()
    process.join(20)
    ended = not process.is_alive()
    process.kill()
    assert ended, "the forked process hangs"
    return answers.get()


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)
def test_a_forked_process_waits_for_no_decoder_of_its_parent(tmp_path):
    path = write_video(tmp_path / "v.mp4")
    kept = IndexedVideo(path)
    kept.read([5])
    gc.disable()  # what closes a file stays in a reference cycle until it is collected
    try:
        closed = IndexedVideo(path)
        closed.read([5])
        del closed
        assert in_a_fork(gc.collect) >= 0
    finally:
        gc.enable()
    assert in_a_fork(lambda: numbers(kept.read([9, 3]))) == [9, 3]
    assert numbers(kept.read([6])) == [6], "the parent's place in the file moved"


def test_times_are_given_only_where_the_rate_varies(tmp_path):
    assert IndexedVideo(write_video(tmp_path / "even.mp4")).timestamps is None
    pts = [0, 1, 2, 5, 6, 7, 9, 10]
    stamps = IndexedVideo(write_video(tmp_path / "varies.mp4", 8, pts=pts)).timestamps
    assert stamps == pytest.approx(np.array(pts) / 25)


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize(
    "name, options", [("v.mp4", {}), ("v.mp4", {"movflags": "faststart"}), ("v.avi", {})]
)
def test_a_truncated_video_is_named(tmp_path, name, options, share):
    path = write_video(tmp_path / name, 40, options=options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(LiftError) as error:
        (only,) = open_sequences(path)
        only.read(list(range(40)))
    assert name in sentence(error)


def test_a_file_that_is_no_video_is_named(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"this is not a video" * 50)
    with pytest.raises(LiftError, match="v.mp4: not a readable video"):
        open_sequences(path)


def test_a_frame_beyond_the_end_is_an_error(tmp_path):
    video = IndexedVideo(write_video(tmp_path / "v.mp4", 10))
    with pytest.raises(IndexError, match=r"0\.\.9"):
        video.read([10])


# -- files whose packets are not their frames ------------------------------------------------------


def assert_index_is_what_plays(path, count: int) -> None:
    played = list(open_frames(path).frames())
    video = IndexedVideo(path)
    assert len(video) == len(played) == count
    for i in (0, count - 1, count // 2, 1, count // 3):
        assert np.array_equal(video.read([i])[0], played[i])


def test_alternate_reference_frames_of_vp8_are_not_frames(tmp_path):
    whole = write_video(tmp_path / "whole.webm", 30, codec="libvpx")
    hidden = 0
    with av.open(str(whole)) as file, av.open(str(tmp_path / "a.webm"), "w") as out:
        source = file.streams.video[0]
        target = out.add_stream_from_template(source)
        for k, packet in enumerate(file.demux(source)):
            if packet.dts is None:
                continue
            data = bytes(packet)
            if k % 7 == 3 and data[0] & 1:  # before a frame another one, which is not displayed
                twin = av.Packet(bytes([data[0] & ~0x10]) + data[1:])
                twin.pts, twin.dts, twin.time_base = packet.pts, packet.dts, packet.time_base
                twin.stream = target
                out.mux(twin)
                hidden += 1
            packet.stream = target
            out.mux(packet)
    assert hidden >= 3
    assert_index_is_what_plays(tmp_path / "a.webm", 30)


def test_frames_before_the_first_keyframe_are_left_out(tmp_path):
    whole = write_video(tmp_path / "whole.ts", 40, codec="mpeg2video", gop=10, b_frames=2)
    with av.open(str(whole)) as file, av.open(str(tmp_path / "cut.ts"), "w") as out:
        source = file.streams.video[0]
        target = out.add_stream_from_template(source)
        for k, packet in enumerate(file.demux(source)):
            if k >= 4 and packet.dts is not None:  # in the middle of a group of pictures
                packet.stream = target
                out.mux(packet)
    played = list(open_frames(tmp_path / "cut.ts").frames())
    assert 25 < len(played) < 40
    assert_index_is_what_plays(tmp_path / "cut.ts", len(played))


def test_frames_that_an_edit_list_hides_are_left_out(tmp_path):
    """A stream copy that begins between keyframes: players skip the frames before its beginning."""
    whole = write_samples(tmp_path / "whole.mp4", moving_frames(40))
    with av.open(str(whole)) as file, av.open(str(tmp_path / "cut.mp4"), "w") as out:
        source = file.streams.video[0]
        target = out.add_stream_from_template(source)
        interval = int(1 / (25 * source.time_base))
        for packet in file.demux(source):
            if packet.dts is not None:
                packet.pts -= 12 * interval
                packet.dts -= 12 * interval
                packet.stream = target
                out.mux(packet)
    played = list(open_frames(tmp_path / "cut.mp4").frames())
    wanted = list(open_frames(whole).frames())[12:]
    assert all(np.array_equal(a, b) for a, b in zip(played, wanted, strict=True))
    assert_index_is_what_plays(tmp_path / "cut.mp4", 28)
