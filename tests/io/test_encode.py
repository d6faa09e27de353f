from fractions import Fraction

import numpy as np
import pytest

from lift.errors import LiftError
from lift.io.decode import open_frames
from lift.io.encode import VideoWriter
from tests.support.disk import largest_file
from tests.support.video_samples import moving_frames

av = pytest.importorskip("av")

RATE, TICK = Fraction(25), Fraction(1, 25)


def write_all(writer, frames, tick=TICK):
    with writer:
        for k, frame in enumerate(frames):
            writer.write(frame, k * tick)


# -- videos ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", (".mp4", ".mkv", ".mov", ".m4v"))
@pytest.mark.parametrize("height, width", ((48, 64), (47, 63), (48, 63), (47, 64)))
def test_a_video_comes_back_at_its_size(tmp_path, suffix, height, width):
    frames = moving_frames(5, height, width)
    write_all(VideoWriter(tmp_path / f"a{suffix}", width, height, RATE, TICK), frames)
    source = open_frames(tmp_path / f"a{suffix}")
    assert (source.width, source.height, source.fps) == (width, height, 25)
    for got, want in zip(source.frames(), frames, strict=True):
        assert np.abs(got.astype(int) - want).mean() < 3


def test_times_come_back_exactly(tmp_path):
    times = [Fraction(k, 30000) for k in (0, 1001, 1502, 5005, 5006)]
    with VideoWriter(tmp_path / "a.mp4", 64, 48, RATE, Fraction(1, 30000)) as writer:
        for frame, time in zip(moving_frames(5), times, strict=True):
            writer.write(frame, time)
    assert [time for _, time in open_frames(tmp_path / "a.mp4").timed()] == times


def test_colours_are_tagged_and_coded_as_bt709(tmp_path):
    green = np.zeros((48, 64, 3), np.uint8)
    green[..., 1] = 255
    write_all(VideoWriter(tmp_path / "a.mp4", 64, 48, RATE, TICK), [green] * 2)
    with av.open(str(tmp_path / "a.mp4")) as file:
        frame = next(file.decode(video=0))
        assert [
            int(x)
            for x in (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
        ] == [1, 1, 1, 1]
        assert (
            abs(int(frame.to_ndarray()[0, 0]) - 173) <= 2
        )  # 16 + 219 * 0.7152; BT.601 would give 145
    assert np.abs(next(open_frames(tmp_path / "a.mp4").frames()).astype(int) - green).max() <= 4


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), dtype=np.uint8)
    for size in (2_000, 40_000):  # at once; after some frames
        with (
            pytest.raises(LiftError, match="a.mp4: could not be written") as error,
            largest_file(size),
        ):
            write_all(VideoWriter(tmp_path / "a.mp4", 64, 48, RATE, TICK), noise)
        assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


def test_a_failure_between_frames_leaves_nothing(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", 64, 48, RATE, TICK)
    with pytest.raises(KeyboardInterrupt), writer:
        writer.write(moving_frames(1)[0], Fraction(0))
        assert not (tmp_path / "a.mp4").exists()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_existing_video_is_refused_and_survives_a_failed_replacement(tmp_path):
    (tmp_path / "a.mp4").write_text("precious")
    with pytest.raises(LiftError, match="a.mp4: this file exists.*--overwrite"):
        VideoWriter(tmp_path / "a.mp4", 64, 48, RATE, TICK)
    with (
        pytest.raises(ZeroDivisionError),
        VideoWriter(tmp_path / "a.mp4", 64, 48, RATE, TICK, overwrite=True),
    ):
        raise ZeroDivisionError
    assert (tmp_path / "a.mp4").read_text() == "precious"
    write_all(VideoWriter(tmp_path / "a.mp4", 64, 48, RATE, TICK, overwrite=True), moving_frames(3))
    assert open_frames(tmp_path / "a.mp4").count == 3


def test_a_frame_of_another_size_is_a_value_error(tmp_path):
    with pytest.raises(ValueError, match=r"must be \(48, 64, 3\) uint8, got \(32, 32, 3\)"):
        write_all(VideoWriter(tmp_path / "a.mp4", 64, 48, RATE, TICK), moving_frames(1, 32, 32))
