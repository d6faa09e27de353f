"""`benchmarks/gpu.sh`: every step whatever fails, in its time, and a summary at any moment."""

import os
import re
import signal
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.harness.registry import SUITES
from tests.support.gpu_script import PARTS, STEPS, Script, budget, log, marked, run, steps

SECONDS_OF_A_PART = 540


@pytest.fixture
def script(tmp_path):
    return Script(tmp_path)


# -- the table of steps ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    """The rows of --list: parts, name, seconds, command."""
    listed = run("benchmarks/gpu.sh", "--list").stdout.splitlines()
    return [line.split("\t") for line in listed]


def test_a_part_has_its_steps_and_ends_in_time(table):
    assert run("benchmarks/gpu.sh", "--list", "2").stdout.split("\n")[0].startswith("123\tbuild\t")
    for part, names in PARTS.items():
        rows = [row for row in table if part in row[0]]
        assert [name for _, name, _, _ in rows] == names.split()
        assert sum(int(seconds.rstrip("+")) for _, _, seconds, _ in rows) <= SECONDS_OF_A_PART


def test_every_suite_is_in_a_part(table):
    commands = [command for *_, command in table]
    for suite in SUITES.values():
        assert any(suite.module in command.split() for command in commands)
    assert len(re.findall(r"--forms plain,graph|--forms compiled", " ".join(commands))) == 4


# -- a whole run, shared ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole run, then some of its steps again: the states after each, and the folder."""
    folder = tmp_path_factory.mktemp("whole")
    script, results = Script(folder), folder / "results"
    first = script(str(results))
    states = steps(results)
    asked = {name: log(results, name) for name in ("bench_temporal_attention", "report")}
    again = "doctor tune bench_attention_tuned"  # the last by its earlier name
    second = script("--minutes", "9", "--steps", again, str(results))
    return SimpleNamespace(
        folder=results,
        codes=(first.returncode, second.returncode),
        first=states,
        second=steps(results),
        asked=asked,
    )


def test_a_whole_run_tunes_counts_and_reports(whole):
    assert whole.codes[0] == 0 and set(whole.first) == STEPS
    assert {name: how for name, how in whole.first.items() if how != "passed"} == {
        "counters": "skipped, no counters here"
    }
    folder = whole.folder
    assert (folder / "untuned" / "bench_temporal_attention.json").exists()
    assert (folder / "bench_temporal_attention.json").exists() and (folder / "tuned.json").exists()
    assert "--quick" not in whole.asked["bench_temporal_attention"]
    assert f"-m benchmarks.report.build {folder} --documents" in whole.asked["report"]


def test_some_steps_keep_what_others_found(whole):
    assert whole.codes[1] == 0 and (whole.folder / "bench_warp_blend.json").exists()
    assert list(whole.second)[-3:] == ["doctor", "tune", "bench_temporal_attention_tuned"]
    assert whole.second["tests"] == "passed"
    assert 400 <= budget(whole.folder, "bench_temporal_attention_tuned") <= 0.8 * 540


# -- parts -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """All three parts into one folder: its files, and the budgets of some steps."""
    folder = tmp_path_factory.mktemp("parts")
    script, results = Script(folder), folder / "results"
    for part in PARTS:
        script(part, str(results))
    after = {path.name for path in results.iterdir()}
    budgets = {
        name: budget(results, name)
        for name in ("tests", "bench_model", "bench_temporal_attention", "bench_streaming_compiled")
    }
    return SimpleNamespace(script=script, folder=results, after=after, budgets=budgets)


def test_time_that_a_step_leaves_goes_to_those_that_may_take_more(parts):
    assert 0.8 * 240 < parts.budgets["tests"] <= 0.8 * 330  # and what others left
    assert 0.8 * 450 < parts.budgets["bench_model"] <= 0.8 * 540
    assert parts.budgets["bench_temporal_attention"] == 64  # and no more than it has
    assert parts.budgets["bench_streaming_compiled"] > 0.8 * 300


def test_parts_add_to_one_folder_and_the_first_starts_anew(parts):
    assert {name for name in parts.after if name.startswith("steps")} == {
        f"steps-{part}.tsv" for part in PARTS
    }
    assert {"bench_model.json", "bench_streaming.json"} <= parts.after
    parts.script("1", str(parts.folder))
    assert not (parts.folder / "bench_streaming.json").exists()
    assert list(steps(parts.folder)) == PARTS["1"].split()


def test_a_part_runs_every_step_whatever_fails(script, tmp_path):
    folder = tmp_path / "results"
    ran = script("1", str(folder), FAIL="*benchmark-disable*")
    ended = steps(folder)
    assert list(ended) == PARTS["1"].split() and ran.returncode == 1
    assert {name: how for name, how in ended.items() if how != "passed"} == {
        "tests": "FAILED (exit code 3)",
        "tests_large": "FAILED (exit code 3)",
    }
    asked = log(folder, "tests")
    assert all(name in asked for name in marked()) and "-n 3" in asked
    assert "-m (gpu or native) and not large" in asked
    assert "-m (gpu or native) and large" in log(folder, "tests_large")
    assert "-n " not in log(folder, "tests_large")  # one at a time
    assert "--cuda required" in log(folder, "build")
    assert f"--json {folder}/canary.json" in log(folder, "canary")
    assert "--quick --forms plain,graph" in log(folder, "bench_model")


# -- a failed build or canary ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "named"),
    [("*lift.kernels.extension*", "the build"), ("*benchmarks.gpu.canary*", "the canary")],
)
def test_no_speed_is_measured_where_the_build_or_the_canary_fails(script, tmp_path, broken, named):
    folder = tmp_path / "results"
    ran = script("1", str(folder), FAIL=broken, SUMMARY="1")
    ended, page = steps(folder), (folder / "summary.md").read_text()
    assert ran.returncode == 1 and ended["tests"] == ended["doctor"] == "passed"
    for name in ("bench_grid_sample", "bench_model"):
        assert ended[name].startswith(f"skipped, {named} failed: ")
        assert not (folder / f"{name}.json").exists()
        assert f"- {name}: skipped, {named} failed" in page
    assert f"failed: {named.removeprefix('the ')}." in page
    assert ": failure" in page and "test_it - the reason" in page
    assert steps_with(script, folder, "1", "--anyway", FAIL=broken)["bench_model"] == "passed"


def steps_with(script, folder: Path, *arguments: str, **environment: str) -> dict[str, str]:
    script(*arguments, str(folder), **environment)
    return steps(folder)


# -- a run that is stopped ------------------------------------------------------------------------


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("it never came")


@pytest.fixture
def hanging(script, tmp_path):
    """A part whose second step never ends, with its folder OUT."""
    out = tmp_path / "out"
    process = script.begin(
        "1", "--steps", "build doctor bench_model", SUMMARY="1", OUT=str(out), HANG="*lift doctor*"
    )
    page, log = out / "summary.md", script.tree / "build" / "gpu" / "doctor.log"
    wait_for(
        lambda: (
            page.exists()
            and "`doctor` was running" in page.read_text()
            and log.exists()
            and "begun" in log.read_text()
        )
    )
    yield process, out
    if process.poll() is None:
        process.kill()
    for line in run("ps", "-eo", "pid,cmd").stdout.splitlines():
        if f"{tmp_path}/python" in line:
            os.kill(int(line.split()[0]), signal.SIGKILL)


def packed(out: Path) -> list[str]:
    try:
        with tarfile.open(out / "results.tar.gz") as results:
            return results.getnames()
    except FileNotFoundError:
        return []


def test_a_killed_run_names_the_step_that_it_was_in(hanging):
    process, out = hanging
    wait_for(lambda: "doctor.log" in packed(out))  # while it runs, too
    process.kill()
    process.communicate()
    page = (out / "summary.md").read_text()
    assert "**`doctor` was running since " in page and "Not started: bench_model." in page
    assert "| build | passed |" in page
    assert {"build.log", "doctor.log", "steps-1.tsv", "summary.json"} <= set(packed(out))


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_stops_its_step_and_says_so(hanging, sent, script):
    process, out = hanging
    process.send_signal(sent)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + sent
    assert f"gpu.sh: stopped by {sent.name} in step doctor" in err
    page = (out / "summary.md").read_text()
    assert f"| doctor | FAILED (the run was stopped by {sent.name}) |" in page
    assert "Not started: bench_model." in page and "was running" not in page
    assert "interrupted, and wrote its rows" in log(script.tree / "build" / "gpu", "doctor")


@pytest.mark.slow
def test_the_folder_out_gets_two_files(script, tmp_path):
    out = tmp_path / "out"
    script("2", "--steps", "build bench_streaming memcheck", SUMMARY="1", OUT=str(out))
    assert {path.name for path in out.iterdir()} == {"summary.md", "results.tar.gz"}
    assert {"steps-2.tsv", "summary.md", "bench_streaming.json", "memcheck.log"} <= set(packed(out))
    assert (script.tree / "build" / "gpu" / "summary.md").exists()


# -- other arguments ------------------------------------------------------------------------------


def test_a_dry_run_runs_the_steps_of_all_parts(script, tmp_path):
    folder = tmp_path / "results"
    assert script("--dry-run", str(folder)).returncode == 0
    ended = steps(folder)
    assert set(ended) == STEPS
    left = {name for name, how in ended.items() if how != "passed"}
    assert left == {
        "racecheck",
        "initcheck",
        "synccheck",
        "tune",
        "bench_temporal_attention_tuned",
        "counters",
        "roofline",
        "report",
        "bench_streaming_compiled",
        "bench_model_compiled",
    }
    asked = {
        "bench_warp_blend": "--toy",
        "canary": "--toy",
        "memcheck": "--dry-run",
        "profile": "--preset tiny",
        "build": "--cuda off",
    }
    for step, flag in asked.items():
        assert flag in log(folder, step), step


@pytest.mark.slow
def test_what_cannot_be_done_is_one_sentence(tmp_path):
    ran = run("benchmarks/gpu.sh", str(tmp_path), PYTHON=sys.executable)
    assert ran.returncode == 2
    assert "gpu.sh: error: torch finds no GPU here; --dry-run runs the steps" in ran.stderr
    for arguments, sentence in {
        ("--fast",): "unknown flag '--fast' "
        "(known: --steps, --minutes, --anyway, --dry-run, --list)",
        ("--minutes", "soon"): "--minutes takes a whole number, got 'soon'",
        ("2", "--steps", "doctor"): f"no step 'doctor' here (steps: {PARTS['2']})",
    }.items():
        assert run("benchmarks/gpu.sh", *arguments).stderr == f"gpu.sh: error: {sentence}\n"
    assert "false cannot use torch" in run("benchmarks/gpu.sh", PYTHON="false").stderr
