"""`benchmarks/gpu.sh`: one command that runs every step whatever fails, in its time, with nothing but what a GPU machine has."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import summary

ROOT = Path(__file__).resolve().parent.parent
OF_MODEL = ("bench_model", "bench_streaming")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **environment}
    environment.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


# -- the script --------------------------------------------------------------------------------------------------------------

@pytest.fixture
def programs(tmp_path):
    """In the place of Python and compute-sanitizer, programs that say what they are asked. Python fails at the native tests, has no
    counters, and writes a file where rows are asked for."""
    endings = """case "$*" in *benchmark-disable*) exit 3 ;; *benchmarks.counters*) echo "no counters here"; exit 6 ;; esac
for word; do [ "$before" = --benchmark-json ] && echo "$*" > "$word"; before="$word"; done; true"""
    for name, ending in (("python", endings), ("sanitizer", "")):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$@"\n{ending}\n')
        (tmp_path / name).chmod(0o755)
    return {"PYTHON": str(tmp_path / "python"), "COMPUTE_SANITIZER": str(tmp_path / "sanitizer")}


def steps(folder: Path) -> dict[str, str]:
    return dict(line.split("\t")[:2] for line in (folder / "steps.tsv").read_text().splitlines())


def test_it_runs_every_step_whatever_fails(tmp_path, programs):
    ran = run("benchmarks/gpu.sh", "--quick", str(tmp_path / "out"), **programs)
    suites = [path.stem for path in sorted((ROOT / "benchmarks").glob("bench_*.py"))]
    operations, model = ([name for name in suites if (name in OF_MODEL) == of_model] for of_model in (False, True))
    ended = steps(tmp_path / "out")
    assert list(ended) == ["build", "doctor", "tests", "memcheck", "racecheck", *operations, "convergence",
                           "convergence_bf16", "profile", *model]
    assert ran.returncode == 1 and {name for name, how in ended.items() if how != "passed"} == {"tests"}
    assert ended["tests"] == "FAILED (exit code 3)"

    def said(step):
        return (tmp_path / "out" / f"{step}.log").read_text()
    assert all(name in said("tests") for name in marked()) and "-m gpu or native" in said("tests")
    for tool in ("memcheck", "racecheck"):
        assert f"--tool {tool} " in said(tool)
    assert "--quick" in said("bench_grid_sample") and f"--json {tmp_path}/out/convergence.json" in said("convergence")
    assert "cases beyond --quick" in (tmp_path / "out" / "left_out.txt").read_text()


def test_a_whole_run_tunes_counts_and_reports(tmp_path, programs):
    folder = tmp_path / "out"
    assert run("benchmarks/gpu.sh", str(folder), **programs).returncode == 1
    ended = steps(folder)
    assert list(ended)[-5:] == ["tune", "bench_attention_tuned", "counters", "roofline", "report"]
    assert {name: how for name, how in ended.items() if how != "passed"} == {"tests": "FAILED (exit code 3)",
                                                                             "counters": "left out, no counters here"}
    assert (folder / "untuned" / "bench_attention.json").exists() and (folder / "bench_attention.json").exists()
    assert (folder / "tuned.json").read_text() == (ROOT / "kernels" / "attention" / "tuned.json").read_text()
    assert f"-m benchmarks.report {folder} --documents" in (folder / "report.log").read_text()


def test_some_steps_keep_what_others_found(tmp_path, programs):
    folder = tmp_path / "out"
    run("benchmarks/gpu.sh", "--quick", str(folder), **programs)
    ran = run("benchmarks/gpu.sh", "--minutes", "9", "--steps", "doctor tune counters", str(folder), **programs)
    ended = steps(folder)
    assert ran.returncode == 0 and (folder / "bench_warp_blend.json").exists()
    assert list(ended)[-4:] == ["doctor", "tune", "bench_attention_tuned", "counters"] and list(ended).count("doctor") == 1
    budget = re.search(r"--budget (\d+)", (folder / "bench_attention_tuned.log").read_text())
    assert 190 <= int(budget[1]) <= 0.8 * 0.5 * 540             # its part of what is left: as much as the counters get
    assert run("benchmarks/gpu.sh", "--quick", "--steps", "dance", str(folder), **programs).stderr.startswith(
        "gpu.sh: error: no step 'dance' here (there are build doctor tests ")
    assert run("benchmarks/gpu.sh", "--minutes", "soon").stderr == "gpu.sh: error: --minutes takes a whole number, got 'soon'\n"


def test_a_dry_run_walks_through_the_same_steps(tmp_path, programs):
    assert run("benchmarks/gpu.sh", "--dry-run", str(tmp_path / "out"), **programs).returncode == 1
    ended = steps(tmp_path / "out")
    assert {"build", "doctor", "tests", "bench_warp_blend", "convergence", "profile"} <= ended.keys()
    assert ended["memcheck"] == ended["racecheck"] == "left out, a dry run"
    assert "--toy" in (tmp_path / "out" / "bench_warp_blend.log").read_text()


def test_what_cannot_be_done_is_one_sentence(tmp_path):
    ran = run("benchmarks/gpu.sh", str(tmp_path), PYTHON=sys.executable)
    assert ran.returncode == 2 and "gpu.sh: error: torch finds no GPU here; --dry-run walks through the steps without one" in ran.stderr
    assert run("benchmarks/gpu.sh", "--fast").stderr == ("gpu.sh: error: unknown flag '--fast' "
                                                         "(there are --quick, --minutes, --steps and --dry-run)\n")
    assert "false has no torch; make env makes an environment" in run("benchmarks/gpu.sh", PYTHON="false").stderr


def marked(without: str = "no such marker") -> list[str]:
    """Files of tests that compute on a GPU, as the script finds them."""
    texts = {path: path.read_text() for path in ROOT.glob("tests/test_*.py")}
    return [str(path.relative_to(ROOT)) for path, text in texts.items()
            if re.search(r"mark\.(gpu|native)\b", text) and f"mark.{without}" not in text]


def test_a_test_that_asks_for_a_gpu_has_a_marker(tmp_path):
    """Or it ends with an error, on any machine without a GPU: so what the script runs is all that a GPU changes."""
    (tmp_path / "test_asking.py").write_text("import pytest\nfrom lift.training.processes import join\n\n"
                                             "def test_plain():\n    join('auto').__enter__()\n\n"
                                             "@pytest.mark.native\ndef test_marked():\n    join('auto').__enter__()\n")
    ran = run(sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", str(tmp_path),
              PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    assert "2 passed" in ran.stdout and "1 error" in ran.stdout, ran.stdout
    assert "test_plain" in ran.stdout and "asked whether there is a GPU (lift/training/processes.py join)" in ran.stdout
    assert {"tests/test_model_gpu.py", "tests/test_correlation_gpu.py", "tests/test_attention_gpu.py", "tests/test_warp_blend_gpu.py",
            "tests/test_grid_sample_native.py", "tests/test_graphs.py", "tests/test_warp_blend_parity.py"} <= set(marked())


SANITIZED = ["test_grid_sample_native", "test_warp_blend_gpu", "test_attention_gpu", "test_attention_gpu", "test_correlation_gpu"]


def test_nothing_on_its_way_needs_what_decodes_videos_or_trains(tmp_path):
    """Neither the tests nor the benchmarks; and what the sanitizer runs is there."""
    absent = ["av", "cv2", "scenedetect", "safetensors", "torchmetrics", "tensorboard", "tqdm", "matplotlib", "skimage", "pybind11"]
    (tmp_path / "absent.py").write_text(f"import sys\nfor name in {absent}:\n    sys.modules[name] = None\n")
    modules = ["benchmarks.convergence", "benchmarks.profile_step", "benchmarks.summary", "benchmarks.tune_attention", "lift.doctor"]
    ran = run(sys.executable, "-c", "import absent; " + "; ".join(f"import {name}" for name in modules),
              PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert ran.returncode == 0, ran.stderr
    script = (ROOT / "benchmarks" / "gpu.sh").read_text()
    few = [line.strip().strip('"') for line in script.split("few=(")[1].split(")\n")[0].splitlines()]
    assert [name.split("::")[0] for name in few] == [f"tests/{name}.py" for name in SANITIZED]
    suites = [str(path) for path in ROOT.glob("benchmarks/bench_*.py")]
    ran = run(sys.executable, "-m", "pytest", "-p", "absent", "-p", "no:cacheprovider", "-o", "addopts=", "-q", "--collect-only", "--toy",
              *marked(without="videos"), *suites, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert all(f"\n{name}" in ran.stdout for name in few)


# -- its parts ---------------------------------------------------------------------------------------------------------------

def test_what_no_time_is_left_for_is_skipped_and_told(tmp_path):
    (tmp_path / "test_slow.py").write_text("import time, pytest\n"
                                           "@pytest.mark.parametrize('i', range(4))\ndef test_one(i):\n    time.sleep(0.5 * (i == 1))\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "benchmarks.budget", str(tmp_path / "test_slow.py")]
    ran = run(*command, "--budget", "0.4")
    assert ran.returncode == 0 and "2 passed, 2 skipped" in ran.stdout and "left out, no time was left: 2 of 4" in ran.stdout
    assert "4 passed" in run(*command).stdout


def test_every_test_has_its_first_case_before_any_has_its_second(tmp_path):
    (tmp_path / "test_cases.py").write_text("import pytest\nevery = pytest.mark.parametrize('i', range(2))\n"
                                            "@every\ndef test_one(i): ...\n@every\ndef test_other(i): ...\ndef test_alone(): ...\n")
    ran = run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "benchmarks.budget", "--in-turn", "-v", str(tmp_path))
    assert re.findall(r"::test_(\S+)", ran.stdout) == ["one[0]", "other[0]", "alone", "one[1]", "other[1]"]


def test_the_summary_holds_steps_machine_and_figures(tmp_path):
    (tmp_path / "steps.tsv").write_text("build\tpassed\t3\ntests\tFAILED (exit code 1)\t9\nmemcheck\tleft out, no time was left\t0\n")
    (tmp_path / "tests.log").write_text("left out, no time was left: 7 of 9\n2 failed | 7 skipped\n\n")
    (tmp_path / "convergence.log").write_text("the losses stay within\n")
    row = {"operation": "warp_blend", "device": "cuda", "direction": "forward", "dtype": "float32", "layout": "contiguous",
           "shape": [1, 3, 8, 12], "flow": "smooth", "variant": "triton", "fused": True, "median": 2e-3,
           "spread": 0.01, "gigabytes_per_second": 900.0,
           "share_of_copy_bandwidth": 0.9, "peak_memory": 2_000_000, "saved_for_backward": None, "compile_time": 1.5, "error": 1e-7}
    gpu = {"name": "One GPU", "clock": 1980}
    (tmp_path / "bench_warp_blend.json").write_text(json.dumps(
        {"machine_info": {"lift": {"facts": {"torch": "2.11"}, "commit": "abc", "sources": "def", "gpus": [gpu]}}, "gpus_after": [gpu],
         "benchmarks": [{"extra_info": row}, {"extra_info": row | {"variant": "eager", "fused": False, "median": 4e-3}}]}))
    (tmp_path / "bench_attention.json").write_text("")               # stopped while it wrote
    assert summary.main([str(tmp_path)]) == 0
    page, data = (tmp_path / "summary.md").read_text(), json.loads((tmp_path / "summary.json").read_text())
    for part in ("failed: tests.", "| tests | FAILED (exit code 1) | 9 | 2 failed \\| 7 skipped |",
                 "- tests: left out, no time was left: 7 of 9", "- memcheck: left out, no time was left",
                 "- commit: abc, sources def", "- GPU before: name One GPU, clock 1980",
                 "| triton | 2.000 | 1% | 900.0 | 90% | 2 | - | 1.5 | 1.0e-07 | eager x2.00 |", "the losses stay within"):
        assert part in page, part
    assert "dry run" not in page and data["failed"] == ["tests"] and data["rows"]["bench_warp_blend"][0]["variant"] == "triton"
