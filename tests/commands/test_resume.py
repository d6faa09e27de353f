"""`lift interpolate` as it is stopped, continued, and given several inputs or devices."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lift.commands.interpolate import main
from lift.errors import run
from lift.video import file as jobs
from lift.video.work_folder import folder_of
from tests.support import video_output as out
from tests.support.video_samples import moving_frames, write_folder, write_video

pytestmark = pytest.mark.videos
ROOT = Path(__file__).resolve().parents[2]
ALWAYS = ("--context_frames", "2", "--device", "cpu", "--quiet")


@pytest.fixture
def interpolate(smallest_checkpoint, capsys):
    """Runs the command; its exit code and what it wrote."""

    def call(*arguments, always=ALWAYS):
        given = [*always, "--checkpoint", smallest_checkpoint, *arguments]
        capsys.readouterr()
        return run(main, [str(each) for each in given]), *capsys.readouterr()

    return call


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def content(path):
    """Times and pixels of a video, and its sound."""
    frames = [(f.pts * f.time_base, [bytes(plane) for plane in f.planes]) for f in out.decode(path)]
    return frames, out.packet_hashes(path, "audio")


def test_one_input_that_fails_does_not_stop_the_others(interpolate, tmp_path):
    for name in ("a.mp4", "c.mp4"):
        write_video(tmp_path / name, moving_frames(3, 32, 48))
    (tmp_path / "b.mp4").write_text("no video")
    paths = [tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4")]
    code, text, err = interpolate(*paths, tmp_path / "out")
    assert code == 1 and names(tmp_path / "out") == ["a.mp4", "c.mp4"]
    assert err.startswith("lift: error: ") and "b.mp4" in err and err.count("\n") == 1
    assert text.count("5 frames, 2 of them generated") == 2


def test_a_batch_that_is_continued_skips_what_is_there(interpolate, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / "in" / name, moving_frames(3, 32, 48))
    assert interpolate(tmp_path / "in" / "a.mp4", tmp_path / "out" / "a.mp4", "--resume")[0] == 0
    before = (tmp_path / "out" / "a.mp4").stat().st_mtime_ns
    left = folder_of(tmp_path / "out" / "a.mp4")  # of a run that was killed at its very end
    left.mkdir()
    code, text, _ = interpolate(tmp_path / "in", tmp_path / "out", "--resume")
    assert code == 0 and "a.mp4 exists, so there is nothing to resume" in text
    assert names(tmp_path / "out") == ["a.mp4", "b.mp4"]
    assert (tmp_path / "out" / "a.mp4").stat().st_mtime_ns == before
    assert interpolate(tmp_path / "in", tmp_path / "out", "--resume")[0] == 0
    assert interpolate(tmp_path / "in", tmp_path / "out")[0] == 1


def test_json_is_for_programs(interpolate, tmp_path):
    write_video(tmp_path / "a.mkv", moving_frames(3, 32, 48), sound=True)
    always = [flag for flag in ALWAYS if flag != "--quiet"]
    code, text, err = interpolate(
        tmp_path / "a.mkv", tmp_path / "o.gif", "--json", "--report", always=always
    )
    events = [json.loads(line) for line in text.splitlines()]
    assert code == 0 and err == ""
    assert [event["event"] for event in events] == ["note", "progress", "done"]
    assert events[1]["frame"] == events[1]["total"] == events[2]["frames"] == 5
    report = json.loads((tmp_path / "o.gif.json").read_text())
    assert report | {"event": "done"} == events[2]
    (tmp_path / "b.mp4").write_text("no video")
    code, text, err = interpolate(tmp_path / "b.mp4", tmp_path / "o", "--json", always=always)
    (event,) = [json.loads(line) for line in text.splitlines()]
    assert code == 1 and (event["event"], event["input"]) == ("error", "b.mp4")
    assert f"lift: error: {event['text']}\n" == err


@pytest.mark.parametrize(
    "flags, words",
    (
        (("--no_scenes", "--cuts", "x.txt"), ("--no_scenes", "--cuts")),
        (("--no_scenes", "--cut_threshold", "0.5"), ("--no_scenes", "--cut_threshold")),
        (("--cuts", "x.txt", "--cut_threshold", "0.5"), ("--cuts", "--cut_threshold")),
        (("--json",), ("--json", "--quiet")),
        (("--devices", "cpu,cpu"), ("--device", "--devices")),
        (("--multi", "2", "--fps", "50"), ("--multi", "--fps")),
        (("--sound", "drop"), ("--sound", "--slow")),
        (("--format", "png"), ("--format",)),
        (("--cuts", "nowhere.txt"), ("nowhere.txt",)),
    ),
)
def test_flags_that_contradict_each_other_are_one_sentence(interpolate, tmp_path, flags, words):
    write_video(tmp_path / "a.mp4", moving_frames(2, 32, 48))
    code, text, err = interpolate(tmp_path / "a.mp4", tmp_path / "o.mp4", *flags)
    assert code == 1 and text == "" and err.count("\n") == 1
    assert all(word in err for word in words) and names(tmp_path) == ["a.mp4"]


def test_images_of_two_sizes_are_one_sentence(interpolate, tmp_path):
    first = write_folder(tmp_path / "a", moving_frames(1, 32, 32)) / "im001.png"
    second = write_folder(tmp_path / "b", moving_frames(1, 32, 48)) / "im001.png"
    code, _, err = interpolate(first, second, tmp_path / "o.mp4")
    assert code == 1 and "size" in err and names(tmp_path) == ["a", "b"]


# -- other processes -------------------------------------------------------------------------------

CODE = """
import sys
from lift.video import file
file.PART_FRAMES = 8
if __name__ == "__main__":
    from lift.commands.interpolate import main
    from lift.errors import run
    sys.exit(run(main, sys.argv[1:]))
"""


@pytest.fixture
def start(tmp_path, smallest_checkpoint):
    """Starts the command with short parts in another process."""
    script = tmp_path / "short_parts.py"
    script.write_text(CODE)

    def call(*arguments, always=ALWAYS):
        given = [*always, "--checkpoint", smallest_checkpoint, *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, script, *map(str, given)], env=environment, stderr=subprocess.PIPE
        )

    return call


def wait_for_parts(process, work, count):
    """Until so many parts are finished."""
    end = time.monotonic() + 120
    while len(list(work.glob("part*.done"))) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def long_video(tmp_path):
    return write_video(tmp_path / "in.mp4", moving_frames(60, 64, 96), sound=True)


@pytest.mark.slow
def test_a_run_that_is_killed_and_continued_equals_the_unbroken_one(
    start, interpolate, long_video, tmp_path, monkeypatch
):
    target = tmp_path / "out" / "o.mp4"
    for parts, number in ((1, signal.SIGKILL), (3, signal.SIGTERM), (5, signal.SIGINT)):
        process = start(long_video, target, "--resume")
        wait_for_parts(process, folder_of(target), parts)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (-9, 143, 130) and b"Traceback" not in err
    monkeypatch.setattr(jobs, "PART_FRAMES", 8)
    assert interpolate(long_video, target, "--resume")[0] == 0
    assert interpolate(long_video, tmp_path / "whole.mp4")[0] == 0
    assert content(target) == content(tmp_path / "whole.mp4")
    assert names(target.parent) == ["o.mp4"]


@pytest.mark.slow
def test_two_devices_make_what_one_makes(start, interpolate, long_video, tmp_path, monkeypatch):
    target = tmp_path / "out" / "o.mp4"
    always = ("--context_frames", 2, "--quiet", "--devices", "cpu,cpu")
    process = start(long_video, target, always=always)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    monkeypatch.setattr(jobs, "PART_FRAMES", 8)
    assert interpolate(long_video, tmp_path / "whole.mp4")[0] == 0
    assert content(target) == content(tmp_path / "whole.mp4")
    assert names(target.parent) == ["o.mp4"]
