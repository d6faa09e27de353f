"""Names, pipes, flags that contradict, and what a stopped or killed run leaves behind."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import video_output as out
from tests.support.video_checks import Row, doubled, frames, says, table

pytestmark = pytest.mark.videos

ROOT = Path(__file__).resolve().parents[2]


# -- names -----------------------------------------------------------------------------------------

NAMES = (
    "two words",
    "ünï ★ 映画",
    "party 🎉",
    'it\'s "quoted"',
    "100% %03d",
    "12:30:00",
    "[brackets] {braces} #1 ?&=",
    "a" * 250,
    os.fsdecode(b"not \xff utf-8"),
)


@pytest.mark.parametrize(
    "name", NAMES, ids=lambda name: f"V18-{name[:20]}".encode("ascii", "replace").decode()
)
def test_any_name_works_in_and_out(lift_file, inputs, tmp_path, name):
    source = inputs.folder / f"{name}.mp4"
    try:
        source.write_bytes(inputs("tiny.mp4").read_bytes())
    except OSError as error:
        pytest.skip(f"this file system has no such names ({error.strerror})")
    run = lift_file(source, f"{name}.mkv")
    assert run.code == 0, run.err
    doubled(run)


@table(
    Row("V18b-dot_in_a_folder", "tiny.mp4", "run_v1.5", (frames(9),)),
    Row("V18b-hidden_folder", "tiny.mp4", ".frames", (frames(9),)),
    Row("V18b-upper_case", "tiny.mp4", "O.MP4", (doubled,)),
    Row("V18b-other_suffix", "tiny.mp4", "o.jpg", (says("o.jpg"),), code=1),
)
def test_what_the_name_of_an_output_means(lift_file, row):
    row.check(lift_file)


def test_V18b_a_final_slash_means_a_folder(lift_file, tmp_path):
    run = lift_file("tiny.mp4", tmp_path / "run_v1.5/")
    assert run.code == 0 and run.output.is_dir(), run.err


def test_V18b_folders_above_the_output_are_made(lift_file, tmp_path):
    run = lift_file("tiny.mp4", tmp_path / "new" / "deeper" / "o.mp4")
    assert run.code == 0, run.err
    assert [path.name for path in run.output.parent.iterdir()] == ["o.mp4"]


def test_V18_a_name_with_a_dash_in_front_needs_two_dashes_before(lift_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = lift_file("tiny.mp4", Path("-o.mp4"))
    assert run.code == 0, run.err
    again = lift_file(Path("-o.mp4"), Path("-p.mkv"))
    assert again.code == 0, again.err
    doubled(again)


# -- flags -----------------------------------------------------------------------------------------


@table(
    Row("V35-fraction", "v16_two.mp4", "o.mp4", (says("--multi"),), ("--multi", "2.5"), code=2),
    Row("V35-crf", "v16_two.mp4", "o.mp4", (says("crf"),), ("--crf", "52"), code=1),
    Row("V35-nan", "v16_two.mp4", "o.mp4", (says("--fps"),), ("--fps", "nan"), code=2),
    Row("V35-unknown", "v16_two.mp4", "o.mp4", (says("--mutli"),), ("--mutli", "2"), code=2),
    Row(
        "V35-fps_and_multi",
        "v16_two.mp4",
        "o.mp4",
        (says("--fps", "--multi"),),
        ("--fps", 60, "--multi", 4),
        code=1,
    ),
    Row(
        "V35-source_fps_of_a_video",
        "v16_two.mp4",
        "o.mp4",
        (says("source_fps"),),
        ("--source_fps", 10),
        code=1,
    ),
    Row(
        "V35-sound_without_slow",
        "v16_two.mp4",
        "o.mp4",
        (says("--sound", "--slow"),),
        ("--sound", "drop"),
        code=1,
    ),
    Row(
        "V35-codec_of_another_container",
        "v16_two.mp4",
        "o.webm",
        (says("webm"),),
        ("--codec", "prores"),
        code=1,
    ),
)
def test_wrong_or_contradicting_flags_are_one_sentence(lift_file, row):
    row.check(lift_file)


def test_V35_free_space_is_spoken_of_only_where_space_is_short(lift_file, tmp_path):
    (tmp_path / "file").write_text("no folder")
    run = lift_file("tiny.mp4", tmp_path / "file" / "o.mp4")
    assert run.code == 1 and "free some space" not in run.err


def test_V35_a_folder_in_place_of_a_video(lift_file, tmp_path):
    (tmp_path / "o.mp4").mkdir()
    run = lift_file("tiny.mp4", "o.mp4")
    assert run.code == 1 and "folder" in run.err and "free some space" not in run.err


# -- other processes -------------------------------------------------------------------------------


def start(checkpoint, folder, *arguments, before=(), **streams):
    """The command in another process, on the CPU, in `folder`; `before`: a program that runs it."""
    always = ["--context_frames", 2, "--device", "cpu", "--checkpoint", checkpoint]
    code = "import sys; from lift.cli import main; sys.exit(main())"
    command = [*before, sys.executable, "-c", code, "interpolate", *map(str, [*always, *arguments])]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=environment, **streams)


def wait_for_work(process, folder, seconds=120):
    """Until the run has begun to write something."""
    end = time.monotonic() + seconds
    while not any(path.stat().st_size for path in folder.rglob("*") if path.is_file()):
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < end, "the run wrote nothing"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, code",
    (("SIGINT", (130,)), ("SIGTERM", (143, -15)), ("SIGHUP", (129, -1))),
    ids=("V25-SIGINT", "V26-SIGTERM", "V26-SIGHUP"),
)
def test_a_stopped_run_leaves_nothing_behind(inputs, checkpoint, tmp_path, name, code):
    quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = start(checkpoint, tmp_path, inputs("v25_long.mp4"), "o.mp4", "--quiet", **quiet)
    wait_for_work(process, tmp_path)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert process.returncode in code, err
    assert list(tmp_path.iterdir()) == []
    assert b"Traceback" not in err


@pytest.mark.slow
def test_V26_the_next_run_removes_what_a_killed_one_left(lift_file, inputs, checkpoint, tmp_path):
    process = start(checkpoint, tmp_path, inputs("v25_long.mp4"), "o.mp4", "--quiet")
    wait_for_work(process, tmp_path)
    process.kill()
    process.wait(60)
    assert [path.name[0] for path in tmp_path.iterdir()] == ["."]
    run = lift_file("tiny.mp4", "o.mp4")
    assert run.code == 0, run.err
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]


@pytest.mark.slow
def test_V18b_a_pipe_out_is_y4m_or_nut(inputs, checkpoint, tmp_path):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = start(checkpoint, tmp_path, inputs("tiny.mp4"), "-", "--quiet", **pipes)
    content, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    with out.av.open(io.BytesIO(content)) as container:
        assert container.format.name in ("yuv4mpegpipe", "nut")
        assert sum(1 for _ in container.decode(video=0)) == 9
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_V25_closed_standard_streams_do_no_harm(inputs, checkpoint, tmp_path):
    shell = ("sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-')
    process = start(checkpoint, tmp_path, inputs("tiny.mp4"), "o.mp4", before=shell)
    assert process.wait(120) == 0
    assert len(out.decode(tmp_path / "o.mp4")) == 9
