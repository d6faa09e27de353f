"""`benchmarks/gpu.sh`: every step whatever fails, in its time, with what a GPU machine has."""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.gpu import summary

ROOT = Path(__file__).resolve().parents[2]
PARTS = {
    "1": "build canary doctor tests tests_large bench_grid_sample bench_model",
    "2": "build bench_streaming profile convergence convergence_bf16 bench_warp_blend "
    "bench_correlation memcheck racecheck initcheck synccheck",
    "3": "build bench_attention tune bench_attention_tuned counters roofline "
    "bench_streaming_compiled bench_model_compiled report",
}
SECONDS_OF_A_PART = 540


def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, cwd=ROOT, env=_environment(environment), capture_output=True, text=True
    )


def _environment(changes: dict[str, str]) -> dict[str, str]:
    found = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **changes}
    found.pop("PYTEST_XDIST_WORKER", None)
    return found


# -- the script ------------------------------------------------------------------------------------

STUB = """#!/bin/sh
case "$*" in
  *benchmarks.gpu.summary*) [ -z "$SUMMARY" ] || exec {python} "$@"; exit 0 ;;
  "-c import os, sys, torch"*) echo "card test_card 3"; echo "a warning" >&2; exit 0 ;;
  "-c "*) exit 0 ;;
esac
echo "$@"
case "$*" in
  $FAIL) echo "FAILED tests/test_one.py::test_it - the reason"; exit 3 ;;
  $HANG) exec {python} -c '
import time
try:
    print("begun", flush=True)
    time.sleep(120)
except KeyboardInterrupt:
    print("interrupted, and wrote its rows", flush=True)' "$0" ;;
  *benchmarks.gpu.counters*) echo "no counters here"; exit 6 ;;
esac
for word; do [ "$before" != --benchmark-json ] || echo "$*" > "$word"; before="$word"; done
"""


@pytest.fixture
def script(tmp_path):
    """Run the script with a Python that only says what it is asked, in a copy of what it touches.

    FAIL and HANG are patterns of calls that fail and that never end; with SUMMARY the real summary
    is written.
    """
    tree, stub = tmp_path / "tree", tmp_path / "python"
    (tree / "benchmarks").mkdir(parents=True)
    (tree / "kernels" / "ops" / "temporal_attention").mkdir(parents=True)
    (tree / "kernels" / "ops" / "temporal_attention" / "configs.json").write_text("{}")
    (tree / "tests").symlink_to(ROOT / "tests")
    command = tree / "benchmarks" / "gpu.sh"
    command.write_bytes((ROOT / "benchmarks" / "gpu.sh").read_bytes())
    stub.write_text(STUB.format(python=sys.executable))
    for program in (command, stub):
        program.chmod(0o755)

    def begin(*arguments: str, **environment: str) -> subprocess.Popen:
        changes = {
            "PYTHON": str(stub),
            "PYTHONPATH": str(ROOT),
            "REFRESH": "1",
            "OUT": "",
            "FAIL": "",
            "HANG": "",
            "SUMMARY": "",
            **environment,
        }
        return subprocess.Popen(
            [str(command), *arguments],
            cwd=tree,
            env=_environment(changes),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        process = begin(*arguments, **environment)
        out, err = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    call.begin, call.tree = begin, tree
    return call


def steps(folder: Path) -> dict[str, str]:
    """How each step of the latest run ended, in their order."""
    (path,) = folder.glob("steps*.tsv")
    return dict(line.split("\t")[:2] for line in path.read_text().splitlines())


def said(folder: Path, step: str) -> str:
    return (folder / f"{step}.log").read_text()


def budget(folder: Path, step: str) -> int:
    return int(re.search(r"--budget (\d+)", said(folder, step))[1])


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("it never came")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_has_its_steps_and_ends_in_time(part):
    table = run("benchmarks/gpu.sh", "--list", part).stdout
    rows = [line.split("\t") for line in table.splitlines()]
    assert [name for _, name, _, _ in rows] == PARTS[part].split()
    assert sum(int(seconds.rstrip("+")) for _, _, seconds, _ in rows) <= SECONDS_OF_A_PART


def test_every_suite_is_in_a_part():
    table = run("benchmarks/gpu.sh", "--list").stdout
    for path in (ROOT / "benchmarks" / "suites").glob("bench_*.py"):
        assert f"suite {path.stem}" in table
    assert len(re.findall(r"--forms plain,graph|--forms compiled", table)) == 4


def test_a_part_runs_every_step_whatever_fails(script, tmp_path):
    folder = tmp_path / "results"
    ran = script("1", str(folder), FAIL="*benchmark-disable*")
    ended = steps(folder)
    assert list(ended) == PARTS["1"].split() and ran.returncode == 1
    assert {name: how for name, how in ended.items() if how != "passed"} == {
        "tests": "FAILED (exit code 3)",
        "tests_large": "FAILED (exit code 3)",
    }
    asked = said(folder, "tests")
    assert all(name in asked for name in marked()) and "-n 3" in asked
    assert "-m (gpu or native) and not large" in asked
    assert "-m (gpu or native) and large" in said(folder, "tests_large")
    assert "-n " not in said(folder, "tests_large")  # one at a time
    assert "--cuda required" in said(folder, "build")
    assert f"--json {folder}/canary.json" in said(folder, "canary")
    assert "--quick --forms plain,graph" in said(folder, "bench_model")


def test_time_that_a_step_leaves_goes_to_those_that_may_take_more(script, tmp_path):
    folder = tmp_path / "results"
    script("1", str(folder))
    assert 0.8 * 240 < budget(folder, "tests") <= 0.8 * 330  # and what others left
    assert 0.8 * 450 < budget(folder, "bench_model") <= 0.8 * 540
    script("3", str(folder))
    assert budget(folder, "bench_attention") == 80  # and no more than it has
    assert budget(folder, "bench_streaming_compiled") > 0.8 * 300


def test_parts_add_to_one_folder_and_the_first_starts_anew(script, tmp_path):
    folder = tmp_path / "results"
    for part in PARTS:
        script(part, str(folder))
    assert {path.name for path in folder.glob("steps*")} == {f"steps-{part}.tsv" for part in PARTS}
    assert (folder / "bench_model.json").exists() and (folder / "bench_streaming.json").exists()
    script("1", str(folder))
    assert not (folder / "bench_streaming.json").exists()
    assert list(steps(folder)) == PARTS["1"].split()


def test_a_whole_run_tunes_counts_and_reports(script, tmp_path):
    folder = tmp_path / "results"
    assert script(str(folder)).returncode == 0
    ended = steps(folder)
    assert set(ended) == {name for part in PARTS.values() for name in part.split()}
    assert {name: how for name, how in ended.items() if how != "passed"} == {
        "counters": "left out, no counters here"
    }
    assert (folder / "untuned" / "bench_attention.json").exists()
    assert (folder / "bench_attention.json").exists() and (folder / "tuned.json").exists()
    assert "--quick" not in said(folder, "bench_attention")
    assert f"-m benchmarks.report.build {folder} --documents" in said(folder, "report")


def test_some_steps_keep_what_others_found(script, tmp_path):
    folder = tmp_path / "results"
    script(str(folder))
    ran = script("--minutes", "9", "--steps", "doctor tune bench_attention_tuned", str(folder))
    ended = steps(folder)
    assert ran.returncode == 0 and (folder / "bench_warp_blend.json").exists()
    assert list(ended)[-3:] == ["doctor", "tune", "bench_attention_tuned"]
    assert ended["tests"] == "passed"
    assert 400 <= budget(folder, "bench_attention_tuned") <= 0.8 * 540


# -- what is wrong stops figures, not the run ------------------------------------------------------


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
        assert ended[name].startswith(f"left out, {named} failed: ")
        assert not (folder / f"{name}.json").exists()
        assert f"- {name}: left out, {named} failed" in page
    assert f"failed: {named.removeprefix('the ')}." in page
    assert "why it failed" in page and "test_it - the reason" in page
    assert steps_with(script, folder, "1", "--anyway", FAIL=broken)["bench_model"] == "passed"


def steps_with(script, folder: Path, *arguments: str, **environment: str) -> dict[str, str]:
    script(*arguments, str(folder), **environment)
    return steps(folder)


# -- a run that is stopped leaves what it has ------------------------------------------------------


@pytest.fixture
def hanging(script, tmp_path):
    """A part whose second step never ends, with the folder that results are fetched from."""
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
    assert "**`doctor` was running since " in page and "Not begun: bench_model." in page
    assert "| build | passed |" in page
    assert {"build.log", "doctor.log", "steps-1.tsv", "summary.json"} <= set(packed(out))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_stops_its_step_and_says_so(hanging, sent, script):
    process, out = hanging
    process.send_signal(sent)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + sent
    assert f"gpu.sh: stopped by {sent.name} in step doctor" in err
    page = (out / "summary.md").read_text()
    assert f"| doctor | FAILED (the run was stopped by {sent.name}) |" in page
    assert "Not begun: bench_model." in page and "was running" not in page
    assert "interrupted, and wrote its rows" in said(script.tree / "build" / "gpu", "doctor")


def test_where_results_are_fetched_from_there_are_two_files(script, tmp_path):
    out = tmp_path / "out"
    script("2", "--steps", "build bench_streaming memcheck", SUMMARY="1", OUT=str(out))
    assert {path.name for path in out.iterdir()} == {"summary.md", "results.tar.gz"}
    assert {"steps-2.tsv", "summary.md", "bench_streaming.json", "memcheck.log"} <= set(packed(out))
    assert (script.tree / "build" / "gpu" / "summary.md").exists()


# -- other ways to call it -------------------------------------------------------------------------


def test_a_dry_run_walks_through_the_steps_of_all_parts(script, tmp_path):
    folder = tmp_path / "results"
    assert script("--dry-run", str(folder)).returncode == 0
    ended = steps(folder)
    assert set(ended) == {name for part in PARTS.values() for name in part.split()}
    left = {name for name, how in ended.items() if how != "passed"}
    assert left == {
        "racecheck",
        "initcheck",
        "synccheck",
        "tune",
        "bench_attention_tuned",
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
        assert flag in said(folder, step), step


def test_what_cannot_be_done_is_one_sentence(tmp_path):
    ran = run("benchmarks/gpu.sh", str(tmp_path), PYTHON=sys.executable)
    assert ran.returncode == 2
    assert "gpu.sh: error: torch finds no GPU here; --dry-run walks through" in ran.stderr
    for arguments, sentence in {
        ("--fast",): "unknown flag '--fast' (there are --steps, --minutes, --anyway, --dry-run and "
        "--list)",
        ("--minutes", "soon"): "--minutes takes a whole number, got 'soon'",
        ("2", "--steps", "doctor"): f"no step 'doctor' here (there are {PARTS['2']})",
    }.items():
        assert run("benchmarks/gpu.sh", *arguments).stderr == f"gpu.sh: error: {sentence}\n"
    assert "false cannot use torch" in run("benchmarks/gpu.sh", PYTHON="false").stderr


def marked(without: str = "no such marker") -> list[str]:
    """Files of tests that compute on a GPU, as the script finds them."""
    texts = {path: path.read_text() for path in ROOT.glob("tests/*/test_*.py")}
    return [
        str(path.relative_to(ROOT))
        for path, text in texts.items()
        if re.search(r"mark\.(gpu|native)\b", text) and f"mark.{without}" not in text
    ]


def test_a_test_that_asks_for_a_gpu_has_a_marker(tmp_path):
    """Or it ends with an error, on any machine without a GPU: so what the script runs is all that a
    GPU changes.
    """
    (tmp_path / "test_asking.py").write_text(
        "import pytest\nfrom lift.devices import choose_device\n\n"
        "def test_plain():\n    choose_device('auto')\n\n"
        "@pytest.mark.native\ndef test_marked():\n    choose_device('auto')\n"
    )
    ran = run(
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
        str(tmp_path),
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    )
    assert "2 passed" in ran.stdout and "1 error" in ran.stdout, ran.stdout
    assert (
        "test_plain" in ran.stdout
        and "asked whether there is a GPU (lift/devices.py choose_device)" in ran.stdout
    )
    assert {
        "tests/model/test_model_gpu.py",
        "tests/kernels/test_correlation_gpu.py",
        "tests/kernels/test_temporal_attention_gpu.py",
        "tests/kernels/test_warp_blend_gpu.py",
        "tests/kernels/test_grid_sample_native.py",
        "tests/video/test_cuda_graphs.py",
        "tests/kernels/test_warp_blend_parity.py",
    } <= set(marked())


def test_nothing_on_its_way_needs_what_decodes_videos_or_trains(tmp_path):
    """Neither the tests nor the benchmarks."""
    absent = [
        "av",
        "cv2",
        "scenedetect",
        "safetensors",
        "torchmetrics",
        "tensorboard",
        "tqdm",
        "matplotlib",
        "skimage",
        "pybind11",
    ]
    (tmp_path / "absent.py").write_text(
        f"import sys\nfor name in {absent}:\n    sys.modules[name] = None\n"
    )
    modules = [
        "benchmarks.gpu.canary",
        "benchmarks.gpu.convergence",
        "benchmarks.gpu.profile_step",
        "benchmarks.gpu.summary",
        "benchmarks.gpu.tune_attention",
        "lift.commands.doctor",
    ]
    ran = run(
        sys.executable,
        "-c",
        "import absent; " + "; ".join(f"import {name}" for name in modules),
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
    )
    assert ran.returncode == 0, ran.stderr
    suites = [str(path) for path in ROOT.glob("benchmarks/suites/bench_*.py")]
    ran = run(
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "absent",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=",
        "-q",
        "--collect-only",
        "--toy",
        *marked(without="videos"),
        *suites,
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
    )
    assert ran.returncode == 0, ran.stdout[-2000:]


# -- its helpers -----------------------------------------------------------------------------------


def test_what_no_time_is_left_for_is_skipped_and_told(tmp_path):
    (tmp_path / "test_slow.py").write_text(
        "import time, pytest\n"
        "@pytest.mark.parametrize('i', range(4))\ndef test_one(i):\n    time.sleep(0.5 * (i == 1))\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "benchmarks.harness.budget",
        str(tmp_path / "test_slow.py"),
    ]
    ran = run(*command, "--budget", "0.4")
    assert (
        ran.returncode == 0
        and "2 passed, 2 skipped" in ran.stdout
        and "left out, no time was left: 2 of 4" in ran.stdout
    )
    assert "4 passed" in run(*command).stdout


def test_every_test_has_its_first_case_before_any_has_its_second(tmp_path):
    (tmp_path / "test_cases.py").write_text(
        "import pytest\nevery = pytest.mark.parametrize('i', range(2))\n"
        "@every\ndef test_one(i): ...\n@every\ndef test_other(i): ...\ndef test_alone(): ...\n"
    )
    ran = run(
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "benchmarks.harness.budget",
        "--in-turn",
        "-v",
        str(tmp_path),
    )
    assert re.findall(r"::test_(\S+)", ran.stdout) == [
        "one[0]",
        "other[0]",
        "alone",
        "one[1]",
        "other[1]",
    ]


def test_the_summary_holds_steps_machine_and_figures(tmp_path):
    (tmp_path / "steps.tsv").write_text(
        "build\tpassed\t3\ntests\tFAILED (exit code 1)\t9\nmemcheck\tleft out, no time was left\t0\n"
    )
    (tmp_path / "tests.log").write_text(
        "left out, no time was left: 7 of 9\n2 failed | 7 skipped\n\n"
    )
    (tmp_path / "convergence.log").write_text("the losses stay within\n")
    row = {
        "operation": "warp_blend",
        "device": "cuda",
        "direction": "forward",
        "dtype": "float32",
        "layout": "contiguous",
        "shape": [1, 3, 8, 12],
        "flow": "smooth",
        "variant": "triton",
        "fused": True,
        "median": 2e-3,
        "spread": 0.01,
        "gigabytes_per_second": 900.0,
        "share_of_copy_bandwidth": 0.9,
        "peak_memory": 2_000_000,
        "saved_for_backward": None,
        "compile_time": 1.5,
        "error": 1e-7,
    }
    gpu = {"name": "One GPU", "clock": 1980}
    (tmp_path / "bench_warp_blend.json").write_text(
        json.dumps(
            {
                "machine_info": {
                    "lift": {
                        "facts": {"torch": "2.11"},
                        "commit": "abc",
                        "sources": "def",
                        "gpus": [gpu],
                    }
                },
                "gpus_after": [gpu],
                "benchmarks": [
                    {"extra_info": row},
                    {"extra_info": row | {"variant": "eager", "fused": False, "median": 4e-3}},
                ],
            }
        )
    )
    (tmp_path / "bench_attention.json").write_text("")  # stopped while it wrote
    assert summary.main([str(tmp_path)]) == 0
    page, data = (
        (tmp_path / "summary.md").read_text(),
        json.loads((tmp_path / "summary.json").read_text()),
    )
    for part in (
        "failed: tests.",
        "| tests | FAILED (exit code 1) | 9 | 2 failed \\| 7 skipped |",
        "- tests: left out, no time was left: 7 of 9",
        "- memcheck: left out, no time was left",
        "- commit: abc, sources def",
        "- GPU before: name One GPU, clock 1980",
        "| triton | 2.000 | 1% | 900.0 | 90% | 2 | - | 1.5 | 1.0e-07 | eager x2.00 |",
        "the losses stay within",
    ):
        assert part in page, part
    assert (
        "dry run" not in page
        and data["failed"] == ["tests"]
        and data["rows"]["bench_warp_blend"][0]["variant"] == "triton"
    )


def test_the_summary_of_a_run_that_goes_on_says_where_it_is(tmp_path):
    (tmp_path / "steps-1.tsv").write_text("build\tpassed\t3\ntests\tFAILED (exit code 1)\t9\n")
    running = "running since 12:00:05 UTC, for 60 s at most"
    (tmp_path / "steps-2.tsv").write_text(
        f"build\tpassed\t1\nbench_warp_blend\t{running}\t0\nprofile\tnot begun\t0\n"
    )
    failures = [f"FAILED tests/test_it.py::test_{i} - wrong" for i in range(60)]
    (tmp_path / "tests.log").write_text("\n".join([*failures, *["the end"] * 12]))
    row = {
        "operation": "warp_blend",
        "device": "cuda",
        "direction": "forward",
        "dtype": "float32",
        "layout": "contiguous",
        "shape": [1, 3, 8, 12],
        "flow": "smooth",
        "variant": "triton",
        "fused": True,
        "median": 2e-3,
        "spread": 0.01,
        "gigabytes_per_second": 900.0,
        "share_of_copy_bandwidth": 0.9,
        "peak_memory": 2_000_000,
        "saved_for_backward": None,
        "compile_time": 1.5,
        "error": 1e-7,
    }
    written = json.dumps(row) + '\n{"operation": "wa'
    (tmp_path / "bench_warp_blend.json.rows.jsonl").write_text(written)
    (tmp_path / "counters.json").write_text('{"cases": [')  # killed while it wrote
    assert summary.main([str(tmp_path)]) == 0
    page = (tmp_path / "summary.md").read_text()
    data = json.loads((tmp_path / "summary.json").read_text())
    assert f"**`bench_warp_blend` was {running} when this page was written: if the run is" in page
    assert "Not begun: profile." in page and "| build | passed | 1 |" in page
    assert page.count("- wrong") == 40 and "... and 20 more" in page
    assert "| triton | 2.000 |" in page and data["rows"]["bench_warp_blend"] == [row]
    assert data["running"] == ["bench_warp_blend"] and data["not begun"] == ["profile"]


def test_the_summary_does_not_wait_for_torch():
    """It is made at every step, in seconds that the card is held for."""
    ran = run(
        sys.executable,
        "-c",
        "import sys; sys.modules['torch'] = None; import benchmarks.gpu.summary",
    )
    assert ran.returncode == 0, ran.stderr
