"""A file in parts: interrupted, resumed, on several devices, without enough memory."""

import itertools
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from lift.errors import LiftError, Terminated
from lift.io.decode import open_frames
from lift.video import file as jobs
from lift.video.cut_list import format_cut_list
from lift.video.interpolator import Interpolator
from lift.video.memory_budget import OutOfMemory
from lift.video.options import FileOptions
from lift.video.progress import Progress
from lift.video.work_folder import folder_of
from tests.support.models import awake_lift
from tests.support.streams import interpolator
from tests.support.video_samples import moving_frames, write_folder, write_video

av = pytest.importorskip("av")
pytestmark = pytest.mark.videos

RED, BLUE = (200, 60, 50), (40, 70, 160)


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    monkeypatch.setattr(jobs, "PART_FRAMES", 8)


@pytest.fixture(scope="module")
def model():
    """The smallest model that has every part, with weights at which the context shows."""
    model = awake_lift()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.03 * torch.randn_like(parameter)
    return model


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
    "listed.mp4": {"cuts": "5, 0.52"},
    "trimmed_loop.mkv": {"trim": "0.1:0.6", "loop": True, "fps": 60},
    "frames": {},
}


def options_of(case, folder):
    """Options of a case; a list of cuts becomes a file."""
    case = dict(case)
    if "cuts" in case:
        cuts = folder / "cuts.txt"
        cuts.write_text(case["cuts"].replace(", ", "\n"))
        case["cuts"] = cuts
    return FileOptions(**case, resume=True)


@pytest.mark.parametrize("name", CASES)
def test_a_resumed_run_equals_the_unbroken_one(model, source, tmp_path, name):
    options = options_of(CASES[name], tmp_path)
    whole, resumed = tmp_path / "whole" / name, tmp_path / "resumed" / name
    smooth = Interpolator(model, 4)
    expected = jobs.interpolate_file(smooth, source, whole, options)
    for at, error in ((11, KeyboardInterrupt()), (9, Terminated(15))):
        with pytest.raises(type(error)):
            jobs.interpolate_file(smooth, source, resumed, options, Stopping(at, error))
        folder = folder_of(resumed)  # is kept with what it holds
        assert not resumed.exists() and folder.is_dir() == any(folder.glob("part*"))
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


@pytest.mark.parametrize("name", ("out.mkv", "frames"))
def test_what_a_killed_run_left_unfinished_is_made_again(model, source, tmp_path, name):
    options, smooth = FileOptions(resume=True), interpolator(model, context_frames=4)
    whole, resumed = tmp_path / "whole" / name, tmp_path / "resumed" / name
    jobs.interpolate_file(smooth, source, whole, options)
    with pytest.raises(KeyboardInterrupt):
        stopping = Stopping(30, KeyboardInterrupt())
        jobs.interpolate_file(smooth, source, resumed, options, stopping)
    work = folder_of(resumed)
    last = max(work.glob("part*.done"))
    last.unlink()  # not yet marked, and written by half
    for file in work.glob(f"{last.stem}*"):
        if file.is_dir():
            max(file.iterdir()).unlink()
        elif file.suffix != ".json":
            file.write_bytes(file.read_bytes()[:100])
    (work / f".{last.stem}.0a1b2c3d.part.mkv").write_text("x")
    (work / "frames").mkdir()
    (work / "frames" / "000000.png").write_text("x")
    jobs.interpolate_file(smooth, source, resumed, options)
    assert content(resumed) == content(whole)
    assert [path.name for path in resumed.parent.iterdir()] == [name]


def test_what_a_killed_run_left_goes_without_resume(model, source, tmp_path):
    target, smooth = tmp_path / "out.mp4", interpolator(model, context_frames=2)
    with pytest.raises(KeyboardInterrupt):
        stopping = Stopping(20, KeyboardInterrupt())
        jobs.interpolate_file(smooth, source, target, FileOptions(resume=True), stopping)
    counted = Progress()
    jobs.interpolate_file(smooth, source, target, FileOptions(), counted)
    assert counted._finished_before == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_resumed_run_uses_the_tiles_and_threads_of_the_first(
    model, source, tmp_path, monkeypatch
):
    target, options = tmp_path / "out.mkv", FileOptions(resume=True)
    smooth, threads = interpolator(model, context_frames=2), torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        stopping = Stopping(20, KeyboardInterrupt())
        jobs.interpolate_file(smooth, source, target, options, stopping)
    recorded = folder_of(target) / jobs.CONDITIONS
    assert json.loads(recorded.read_text()) == {"tile_area": None, "threads": threads}
    recorded.write_text(json.dumps({"tile_area": 1024, "threads": threads + 1}))
    areas = []
    monkeypatch.setattr(smooth.generator, "use_area", lambda *size: areas.append(size))
    try:
        jobs.interpolate_file(smooth, source, target, options)
        assert torch.get_num_threads() == threads + 1 and set(areas) == {(32, 48, 1024)}
    finally:
        torch.set_num_threads(threads)


def test_too_little_memory_is_answered_by_smaller_tiles(model, source, tmp_path, monkeypatch):
    smooth = interpolator(model, context_frames=2)
    plain = jobs.interpolate_file(smooth, source, tmp_path / "plain", FileOptions())
    generate, calls = smooth.generator.__class__.__call__, itertools.count()

    def short_of_memory(self, *arguments):
        if next(calls) in (6, 11):
            raise OutOfMemory("no memory", (32, 48))
        yield from generate(self, *arguments)

    monkeypatch.setattr(smooth.generator.__class__, "__call__", short_of_memory)
    monkeypatch.setattr(smooth.generator, "use_smaller_tiles", lambda: True)
    progress = Progress()
    summary = jobs.interpolate_file(smooth, source, tmp_path / "out", FileOptions(), progress)
    assert sum("smaller tiles" in note for note in summary.notes) == 1
    assert summary.frames == plain.frames == progress.count
    assert content(tmp_path / "out") == content(tmp_path / "plain")


def test_too_little_memory_for_the_smallest_tiles_is_an_error(model, source, tmp_path, monkeypatch):
    smooth = interpolator(model, context_frames=2)

    def short_of_memory(self, *arguments):
        raise OutOfMemory("no memory", (32, 48))
        yield

    monkeypatch.setattr(smooth.generator.__class__, "__call__", short_of_memory)
    monkeypatch.setattr(smooth.generator, "use_smaller_tiles", lambda: False)
    with pytest.raises(OutOfMemory):
        jobs.interpolate_file(smooth, source, tmp_path / "out.mp4", FileOptions())
    assert list(tmp_path.iterdir()) == []


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


def test_a_pipe_is_not_resumed_and_has_no_report(model, source, tmp_path):
    smooth = interpolator(model, context_frames=2)
    for given, target, option in (
        (source, "-", {"resume": True}),
        (source, "-", {"report": True}),
        ("-", tmp_path / "out.mp4", {"resume": True}),
    ):
        with pytest.raises(LiftError, match="a pipe"):
            jobs.interpolate_file(smooth, Path(given), Path(target), FileOptions(**option))


def test_listed_cuts_are_those_of_the_source(source):
    assert jobs.find_cuts(source, FileOptions()) == [(9, Fraction(9, 25))]
    for options in ({"trim": "0.2:"}, {"slow": 2, "trim": "0.2:"}, {"slow": 3}):
        assert jobs.find_cuts(source, FileOptions(**options)) == [(9, Fraction(9, 25))]


@pytest.mark.parametrize("options", ({}, {"trim": "0.2:"}, {"slow": 2, "trim": "0.2:"}))
def test_listed_cuts_given_again_are_the_detected_ones(model, source, tmp_path, options):
    smooth, cuts = Interpolator(model, 2), tmp_path / "cuts.txt"
    cuts.write_text(format_cut_list(jobs.find_cuts(source, FileOptions(**options))))
    found = jobs.interpolate_file(smooth, source, tmp_path / "a", FileOptions(**options))
    given = FileOptions(**options, cuts=cuts)
    again = jobs.interpolate_file(smooth, source, tmp_path / "b", given)
    assert again.cut_times == found.cut_times and len(found.cut_times) == 1
    assert content(tmp_path / "a") == content(tmp_path / "b")
