"""Runs of the suites: rows hold what they are of, and survive the end of the run."""

import argparse
import json
import os

import pytest

from benchmarks.report.limits import Case, recorded
from benchmarks.suites import conftest
from tests.support.gpu_script import ROOT, pytest_of

WARP_BLEND = "benchmarks/suites/bench_warp_blend.py"
GRID_SAMPLE = "benchmarks/suites/bench_grid_sample.py"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run of two suites at toy size: what it prints, and its file."""
    file = tmp_path_factory.mktemp("rows") / "rows.json"
    few = "random and not triton and (1x5x2x3 or 2x9x6x8)"
    flags = ("-n0", "--toy", "--threads", "1", "-k", few, "--benchmark-json", str(file))
    result = pytest_of(WARP_BLEND, GRID_SAMPLE, *flags)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout, file


def rows(file, operation: str) -> list[dict]:
    text = json.loads(file.read_text())
    found = [row["extra_info"] | {"stored": row["stats"]["median"]} for row in text["benchmarks"]]
    return [row for row in found if row["operation"] == operation]


@pytest.mark.slow
def test_rows_say_what_they_are_of(ran):
    output, file = ran
    assert "smoke test: figures mean nothing" in output
    text = json.loads(file.read_text())
    lift = text["machine_info"]["lift"]
    assert text["toy"] and lift["threads"] == 1 and "torch" in lift["facts"]
    found = rows(file, "warp_blend")
    assert {row["variant"] for row in found} >= {"eager"}
    assert {row["direction"] for row in found} == {"forward", "forward+backward"}
    for row in found:
        assert row["stored"] == pytest.approx(row["median"]) and row["median"] > 0
        assert row["share_of_copy_bandwidth"] == pytest.approx(
            row["gigabytes_per_second"] / row["copy_bandwidth"]
        )
        assert row["error"] <= row["tolerance"]
        assert (row["saved_for_backward"] is None) == (row["direction"] == "forward")


def test_rows_of_grid_sample_are_read_by_the_roofline(ran, tmp_path):
    _, file = ran
    found, pixels = rows(file, "grid_sample"), 2 * 6 * 8
    assert {row["variant"] for row in found} >= {"aten"}
    assert {row["saved_for_backward"] for row in found} == {pixels * 4 * (9 + 2)}
    text = json.loads(file.read_text())
    (tmp_path / "rows.json").write_text(json.dumps(text | {"toy": True}))
    assert recorded(tmp_path) == []  # those of a smoke test are not read
    (tmp_path / "rows.json").write_text(json.dumps(text | {"toy": False}))
    results = [one for one in recorded(tmp_path) if one.case.operation == "grid_sample"]
    assert [(one.variant, one.layout, one.flow) for one in results] == [
        (row["variant"], row["layout"], row["flow"]) for row in found
    ]
    assert {one.case for one in results} == {
        Case("grid_sample", direction, "float32", (2, 9, 6, 8))
        for direction in ("backward", "forward+backward")
    }


STOPPING = """import os, shutil, signal
from pathlib import Path
FOLDER = Path({folder!r})
def pytest_runtest_logfinish(nodeid):
    if nodeid.endswith("eager]"):
        (FOLDER / "killed").mkdir()
        for path in FOLDER.glob("rows.json*"):
            shutil.copy(path, FOLDER / "killed")
        os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.slow
def test_rows_so_far_survive_the_end_of_a_run(tmp_path):
    """Each row is written at once, for a run that is killed; an interrupted one writes its file."""
    file = tmp_path / "rows.json"
    (tmp_path / "stopping.py").write_text(STOPPING.format(folder=str(tmp_path)))
    few = "1x3x8x12 and not triton"
    pytest_of(
        *("-p", "stopping", "-n0", WARP_BLEND, "--toy"),
        *("-k", few, "--benchmark-json", str(file)),
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
    )
    killed = tmp_path / "killed"  # what was there when a signal came
    lines = (killed / "rows.json.rows.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert found and found[-1]["variant"] == "eager"
    assert found[-1]["median"] > 0 and found[-1]["toy"]
    assert len({row["direction"] for row in found}) == 1
    assert not (killed / "rows.json").exists() or not (killed / "rows.json").read_text()
    assert (tmp_path / "rows.json.rows.jsonl").read_text().splitlines() == lines
    written = [row["extra_info"] for row in json.loads(file.read_text())["benchmarks"]]
    assert [row | {"toy": True} for row in written] == found


def test_an_unknown_form_is_one_sentence():
    with pytest.raises(
        argparse.ArgumentTypeError,
        match="^unknown form 'quick'; choose from plain, graph, compiled$",
    ):
        conftest._forms("plain,quick")
