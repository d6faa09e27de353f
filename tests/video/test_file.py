"""A file in parts: interrupted, resumed, on several devices, without enough memory."""

import itertools
import json
import os

import numpy as np
import pytest

from lift.errors import LiftError, Terminated
from lift.io.decode import open_frames
from lift.video import file as jobs
from lift.video.interpolator import Interpolator
from lift.video.memory_budget import OutOfMemory
from lift.video.options import FileOptions
from lift.video.progress import Progress
from lift.video.work_folder import WorkFolder, folder_of
from tests.support.streams import interpolator
from tests.support.video_samples import moving_frames, write_folder, write_video

av = pytest.importorskip("av")
pytestmark = pytest.mark.videos

RED, BLUE = (200, 60, 50), (40, 70, 160)


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    monkeypatch.setattr(jobs, "PART_FRAMES", 8)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two shots of nine frames, with sound."""
    frames = moving_frames(9, 32, 48, RED) + moving_frames(9, 32, 48, BLUE)
    return write_video(tmp_path_factory.mktemp("source") / "in.mp4", frames, sound=True)


class Stopping(Progress):
    """Stops the run after some frames of its own, as a signal does."""

    def __init__(self, after, error):
        super().__init__()
        self._left, self._error = after, error

    def update(self, frames=1):
        super().update(frames)
        self._left -= frames
        if self._left == 0:
            raise self._error


def content(path):
    """What an output holds: times and pixels of its pictures, times and bytes of its sound."""
    if path.is_dir():
        return [file.read_bytes() for file in sorted(path.iterdir())]
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            found.append((frame.pts * frame.time_base, [bytes(plane) for plane in frame.planes]))
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.audio):
            found.append((packet.pts, bytes(packet)))
    return found


CASES = {
    "out.mp4": {},
    "fps.mkv": {"fps": 40},
    "slow.mp4": {"slow": 3, "trim": "0.1:0.6"},
    "loop.gif": {"loop": True},
    "filled.mkv": {"duplicates": "fill", "codec": "ffv1"},
    "compared.mp4": {"compare": True},
    "frames": {},
}


@pytest.mark.parametrize("name", CASES)
def test_a_resumed_run_equals_the_unbroken_one(model, source, tmp_path, name):
    options = FileOptions(**CASES[name], resume=True)
    whole, resumed = tmp_path / "whole" / name, tmp_path / "resumed" / name
    smooth = Interpolator(model, 4)
    expected = jobs.interpolate_file(smooth, source, whole, options)
    for at, error in ((11, KeyboardInterrupt()), (9, Terminated(15))):
        with pytest.raises(type(error)):
            jobs.interpolate_file(smooth, source, resumed, options, Stopping(at, error))
        assert not resumed.exists() and folder_of(resumed).is_dir()
    summary = jobs.interpolate_file(smooth, source, resumed, options)
    assert content(resumed) == content(whole)
    for value in ("frames", "generated", "cuts", "seconds", "cut_times", "notes"):
        assert getattr(summary, value) == getattr(expected, value)
    assert [path.name for path in resumed.parent.iterdir()] == [name]


def test_finished_parts_are_not_made_again(model, source, tmp_path):
    target, options = tmp_path / "out.mp4", FileOptions(resume=True)
    with pytest.raises(KeyboardInterrupt):
        stopping = Stopping(30, KeyboardInterrupt())
        jobs.interpolate_file(
            interpolator(model, context_frames=4), source, target, options, stopping
        )
    smooth, made = interpolator(model, context_frames=4), Progress()
    jobs.interpolate_file(smooth, source, target, options, made)
    assert made.total == 35 and made.count == 35
    assert made._finished_before >= 8


def test_without_resume_nothing_is_kept(model, source, tmp_path):
    for error in (KeyboardInterrupt(), Terminated(1), LiftError("no")):
        with pytest.raises(type(error)):
            jobs.interpolate_file(
                interpolator(model, context_frames=2),
                source,
                tmp_path / "out.mp4",
                FileOptions(),
                Stopping(12, error),
            )
        assert list(tmp_path.iterdir()) == []


def test_other_settings_do_not_use_the_parts(model, source, tmp_path):
    target = tmp_path / "out.mp4"
    smooth = interpolator(model, context_frames=2)
    with pytest.raises(KeyboardInterrupt):
        stopping = Stopping(20, KeyboardInterrupt())
        jobs.interpolate_file(smooth, source, target, FileOptions(resume=True), stopping)
    options = FileOptions(resume=True, multi=3)
    summary = jobs.interpolate_file(smooth, source, target, options)
    assert summary.frames == 52
    assert any("starts from the beginning" in note for note in summary.notes)


def test_what_a_killed_run_left_is_removed_unless_it_may_be_resumed(tmp_path):
    for keep, stays in ((False, False), (True, True)):
        job = WorkFolder(tmp_path / f"killed{keep}.mp4", {"a": 1}, resume=keep)
        job.__enter__()
        job.path.joinpath("part000000.mkv").write_text("x")
        jobs_lock = job._lock
        with WorkFolder(tmp_path / "other.mp4", {}):  # it still runs
            assert job.path.is_dir()
        os.close(jobs_lock)  # the process has gone
        with WorkFolder(tmp_path / "other.mp4", {}):
            assert job.path.is_dir() == stays


def test_one_output_has_one_run(tmp_path):
    with WorkFolder(tmp_path / "a.mp4", {}), pytest.raises(LiftError, match="another run"):
        WorkFolder(tmp_path / "a.mp4", {}).__enter__()


def test_too_little_memory_is_answered_by_smaller_tiles(model, source, tmp_path, monkeypatch):
    smooth = interpolator(model, context_frames=2)
    plain = jobs.interpolate_file(smooth, source, tmp_path / "plain", FileOptions())
    generate, calls = smooth.generator.__class__.__call__, itertools.count()

    def short_of_memory(self, *arguments):
        if next(calls) == 6:
            raise OutOfMemory("no memory", (32, 48))
        yield from generate(self, *arguments)

    monkeypatch.setattr(smooth.generator.__class__, "__call__", short_of_memory)
    monkeypatch.setattr(smooth.generator, "use_smaller_tiles", lambda: True)
    summary = jobs.interpolate_file(smooth, source, tmp_path / "out", FileOptions())
    assert any("smaller tiles" in note for note in summary.notes)
    assert summary.frames == plain.frames and content(tmp_path / "out") == content(
        tmp_path / "plain"
    )


def test_the_result_is_written_beside_the_source(model, tmp_path):
    frames = moving_frames(4, 32, 48)
    source = write_folder(tmp_path / "in", frames)
    options = FileOptions(compare=True)
    jobs.interpolate_file(interpolator(model), source, tmp_path / "out", options)
    pairs = list(open_frames(tmp_path / "out").frames())
    assert pairs[0].shape == (32, 96, 3) and len(pairs) == 7
    for k, pair in enumerate(pairs):
        assert np.array_equal(pair[:, :48], frames[k // 2])
        assert k % 2 or np.array_equal(pair[:, 48:], frames[k // 2])


def test_a_report_holds_what_the_run_found(model, source, tmp_path):
    options = FileOptions(report=True)
    jobs.interpolate_file(Interpolator(model, 4), source, tmp_path / "out.mkv", options)
    report = json.loads((tmp_path / "out.mkv.json").read_text())
    assert (report["frames"], report["generated"]) == (35, 16)
    assert report["cuts"] == [0.36] and report["rate"] == "50"


@pytest.mark.parametrize(
    "options, message",
    (
        ({"multi": 2, "fps": 60}, "--multi and --fps contradict"),
        ({"sound": "drop"}, "--slow"),
    ),
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(LiftError, match=message):
        FileOptions(**options)
