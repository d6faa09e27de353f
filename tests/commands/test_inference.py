"""`python -m lift.inference`: one folder of frames, or folders of folders."""

import runpy
import sys

import numpy as np
import pytest

from lift.commands.inference import main
from lift.errors import run
from lift.io.decode import open_frames
from tests.support.video_samples import moving_frames, write_folder

pytestmark = [pytest.mark.native, pytest.mark.videos]


def infer(checkpoint, source, target, *flags):
    given = (
        "--checkpoint",
        checkpoint,
        "--input",
        source,
        "--output",
        target,
        "--no_scenes",
        "--quiet",
        *flags,
    )
    return run(main, [str(a) for a in given])


def test_a_folder_of_frames_becomes_one_smoother_sequence(tmp_path, checkpoint):
    frames = moving_frames(4)
    assert (
        infer(
            checkpoint,
            write_folder(tmp_path / "in", frames, first=0, pattern="im{:02d}.png"),
            tmp_path / "out",
            "--multi",
            3,
        )
        == 0
    )
    result = list(open_frames(tmp_path / "out").frames())
    assert len(result) == 10 and all(
        np.array_equal(a, b) for a, b in zip(result[::3], frames, strict=True)
    )


def test_a_folder_of_folders_is_worked_through_at_any_depth(tmp_path, checkpoint, capsys):
    for name, count in (("test/seq001", 3), ("test/seq002", 2), ("single", 1)):
        write_folder(tmp_path / "in" / name, moving_frames(count, 32, 32))
    assert infer(checkpoint, tmp_path / "in", tmp_path / "out") == 0
    counts = {
        name: open_frames(tmp_path / "out" / name).count
        for name in ("test/seq001", "test/seq002", "single")
    }
    assert counts == {"test/seq001": 5, "test/seq002": 3, "single": 1}
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_an_output_inside_the_input_is_not_read_as_input(tmp_path, checkpoint):
    write_folder(tmp_path / "in" / "a", moving_frames(2, 32, 32))
    for flags in ((), ("--overwrite",)):
        assert infer(checkpoint, tmp_path / "in", tmp_path / "in" / "out", *flags) == 0
    assert [p.name for p in (tmp_path / "in" / "out").iterdir()] == ["a"]


def bad(folder):
    write_folder(folder / "mixed", moving_frames(2, 32, 32))
    write_folder(folder / "mixed" / "deeper", moving_frames(2, 32, 32))
    for name in ("a", "b"):
        write_folder(folder / "gap" / name, moving_frames(4, 32, 32))
    (folder / "gap" / "b" / "im003.png").unlink()
    (folder / "void" / "empty").mkdir(parents=True)
    (folder / "clip.mp4").write_bytes(b"a video")
    write_folder(folder / "good", moving_frames(2, 32, 32))
    write_folder(folder / "taken", moving_frames(2, 32, 32))


@pytest.mark.parametrize(
    "source, target, message",
    (
        ("mixed", "out", "has both frames and folders of frames"),
        ("gap", "out", "frame 3 is missing"),
        ("void", "out", "no frames in this folder or below"),
        ("clip.mp4", "out", "lift interpolate IN OUT"),
        ("nowhere", "out", "no such file or folder"),
        ("good", "good", "the same"),
        ("good", "taken", "not empty"),
    ),
)
def test_bad_input_is_an_error_before_anything_is_written(
    tmp_path, checkpoint, capsys, source, target, message
):
    bad(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert infer(checkpoint, tmp_path / source, tmp_path / target) == 1
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_help_says_how_many_frames_are_generated(capsys):
    with pytest.raises(SystemExit) as stop:
        run(main, ["--help"])
    assert stop.value.code == 0 and "(n - 1) * N + 1" in capsys.readouterr().out


def test_it_runs_as_a_module_and_names_an_unknown_flag(monkeypatch, capsys):
    flags = ["--input", "a", "--output", "b", "--chekpoint", "c"]
    monkeypatch.setattr(sys, "argv", ["lift.inference", *flags])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("lift.inference", run_name="__main__")
    assert stop.value.code == 2 and "unknown flag '--chekpoint'" in capsys.readouterr().err
