"""Each stage and the whole model describe themselves."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import lift

ROOM = Path(lift.__file__).parent / "model"
STAGES = ("encoder", "transformer", "flow", "trajectory", "synthesis", "refine")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_describes_itself(stage, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [stage, "--preset", "tiny"])
    runpy.run_path(str(ROOM / f"{stage}.py"), run_name="__main__")
    captured = capsys.readouterr()
    assert "parameters" in captured.out and "saved for backward" in captured.out
    assert not captured.err


@pytest.mark.slow
def test_so_does_the_whole_model():
    """`python -m lift.model.lift` runs `python -m lift.model`."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lift.model.lift",
            "--preset",
            "tiny",
            "--frames",
            "3",
            "--size",
            "32",
            "48",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "LIFT" in done.stdout and "saved for backward" in done.stdout and not done.stderr
    assert "frame                  (1, 3, 32, 48)" in done.stdout
