from fractions import Fraction

import numpy as np
import pytest

from lift.errors import LiftError
from lift.io.decode import open_frames
from lift.io.encode import FolderWriter, VideoWriter, is_video_name
from tests.support.disk import largest_file
from tests.support.video_samples import moving_frames, write_folder, write_video

av = pytest.importorskip("av")

RATE, TICK = Fraction(25), Fraction(1, 25)


def write_all(writer, frames, tick=TICK):
    with writer:
        for k, frame in enumerate(frames):
            writer.write(frame, k * tick)


def packets(path, kind):
    with av.open(str(path)) as file:
        stream = file.streams.get({kind: 0})
        return [(p.dts * p.time_base, bytes(p)) for p in file.demux(stream) if p.dts is not None]


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


def test_sound_is_copied_byte_for_byte_and_in_step(tmp_path):
    frames = moving_frames(50, 32, 32)
    source = open_frames(write_video(tmp_path / "in.mp4", frames, sound=True))
    write_all(VideoWriter(tmp_path / "out.mp4", 32, 32, RATE, TICK, source=source), frames)
    before, after = packets(tmp_path / "in.mp4", "audio"), packets(tmp_path / "out.mp4", "audio")
    assert len(before) > 50 and before == after


def test_subtitles_are_copied_or_noted_where_the_container_does_not_support_them(tmp_path):
    frames = moving_frames(10)
    source = open_frames(write_video(tmp_path / "in.mkv", frames, subtitles=True))
    kept = VideoWriter(tmp_path / "out.mkv", 64, 48, RATE, TICK, source=source)
    write_all(kept, frames)
    assert (
        packets(tmp_path / "in.mkv", "subtitles")[0][1]
        == packets(tmp_path / "out.mkv", "subtitles")[0][1]
        and kept.notes == []
    )
    lost = VideoWriter(tmp_path / "out.mp4", 64, 48, RATE, TICK, source=source)
    write_all(lost, frames)
    (note,) = lost.notes
    assert note.startswith("subtitle stream 1 (srt) is left out: mp4 does not support it")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), dtype=np.uint8)
    for size in (2_000, 40_000):  # at once; after some frames
        with (
            pytest.raises(LiftError, match="a.mp4: could not be written") as error,
            largest_file(size),
        ):
            write_all(VideoWriter(tmp_path / "a.mp4", 64, 48, RATE, TICK), noise)
        assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []
    with pytest.raises(LiftError, match="frames: could not be written"), largest_file(2_000):
        write_all(FolderWriter(tmp_path / "frames"), noise)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ("a.mp4", "frames"))
def test_a_failure_between_frames_leaves_nothing(tmp_path, name):
    writer = (
        VideoWriter(tmp_path / name, 64, 48, RATE, TICK)
        if name == "a.mp4"
        else FolderWriter(tmp_path / name)
    )
    with pytest.raises(KeyboardInterrupt), writer:
        writer.write(moving_frames(1)[0], Fraction(0))
        assert not (tmp_path / name).exists()
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


@pytest.mark.parametrize("name", ("a.webm", "a.gif", "a.txt"))
def test_an_unknown_suffix_is_an_error(tmp_path, name):
    with pytest.raises(LiftError, match=f"{name}: videos are written as .mp4"):
        is_video_name(tmp_path / name)


def test_a_frame_of_another_size_is_a_value_error(tmp_path):
    with pytest.raises(ValueError, match=r"must be \(48, 64, 3\) uint8, got \(32, 32, 3\)"):
        write_all(VideoWriter(tmp_path / "a.mp4", 64, 48, RATE, TICK), moving_frames(1, 32, 32))


# -- folders ---------------------------------------------------------------------------------------


def test_a_folder_holds_one_numbered_sequence_without_loss(tmp_path):
    frames = moving_frames(11)
    write_all(FolderWriter(tmp_path / "deep" / "f"), frames)
    assert sorted(p.name for p in (tmp_path / "deep" / "f").iterdir()) == [
        f"{k:06d}.png" for k in range(11)
    ]
    assert all(
        np.array_equal(a, b)
        for a, b in zip(open_frames(tmp_path / "deep" / "f").frames(), frames, strict=True)
    )
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["f"]


def test_a_folder_that_is_not_empty_is_refused_and_replaced_on_request(tmp_path):
    folder = write_folder(tmp_path / "f", moving_frames(9))
    with pytest.raises(LiftError, match="not empty.*--overwrite"):
        FolderWriter(folder)
    write_all(FolderWriter(folder, overwrite=True), moving_frames(2))
    assert sorted(p.name for p in folder.iterdir()) == ["000000.png", "000001.png"]
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_folder_with_more_than_frames_is_never_replaced(tmp_path):
    (write_folder(tmp_path / "f", moving_frames(2)) / "thesis.tex").write_text("precious")
    with pytest.raises(LiftError, match="holds more than frames \\(thesis.tex\\)"):
        FolderWriter(tmp_path / "f", overwrite=True)


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "f").mkdir()
    write_all(FolderWriter(tmp_path / "f"), moving_frames(2))
    assert len(list((tmp_path / "f").iterdir())) == 2
