"""Runs of `benchmarks/gpu.sh` and other commands, for its tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = {
    "1": "build canary doctor tests tests_large bench_grid_sample bench_model",
    "2": "build bench_streaming profile convergence convergence_bf16 bench_warp_blend "
    "bench_correlation bench_lucas_kanade memcheck racecheck initcheck synccheck",
    "3": "build bench_frame_ops bench_temporal_attention tune bench_temporal_attention_tuned "
    "counters roofline bench_streaming_compiled bench_model_compiled report",
}
STEPS = {name for steps in PARTS.values() for name in steps.split()}

# Stands for Python: prints its arguments, and writes the file of --benchmark-json.
STUB = """#!/bin/sh
case "$*" in
  *benchmarks.gpu.summary*) [ -z "$SUMMARY" ] || exec {python} "$@"; exit 0 ;;
  "-c import os, sys, torch"*) echo "gpu test_gpu 3"; echo "a warning" >&2; exit 0 ;;
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


def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a command in the checkout, without a GPU."""
    return subprocess.run(
        command, cwd=ROOT, env=changed(environment), capture_output=True, text=True
    )


def pytest_of(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run pytest in a process of its own."""
    return run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments, **environment)


def changed(changes: dict[str, str]) -> dict[str, str]:
    """This environment with changes, without a GPU and outside pytest-xdist."""
    found = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **changes}
    found.pop("PYTEST_XDIST_WORKER", None)
    return found


class Script:
    """`benchmarks/gpu.sh` in a copy of the files that it touches, with STUB as its Python.

    FAIL and HANG are patterns of calls that fail and that never end; with SUMMARY=1 the real
    summary is written.
    """

    def __init__(self, folder: Path):
        self.folder, self.tree = folder, folder / "tree"
        self.stub = folder / "python"
        command = self.tree / "benchmarks" / "gpu.sh"
        configs = self.tree / "kernels" / "ops" / "temporal_attention" / "configs.json"
        for file in (command, configs):
            file.parent.mkdir(parents=True)
        configs.write_text("{}")
        (self.tree / "tests").symlink_to(ROOT / "tests")
        command.write_bytes((ROOT / "benchmarks" / "gpu.sh").read_bytes())
        self.stub.write_text(STUB.format(python=sys.executable))
        for program in (command, self.stub):
            program.chmod(0o755)
        self.command = command

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen:
        defaults = {"REFRESH": "1", "OUT": "", "FAIL": "", "HANG": "", "SUMMARY": ""}
        given = {"PYTHON": str(self.stub), "PYTHONPATH": str(ROOT), **defaults, **environment}
        return subprocess.Popen(
            [str(self.command), *arguments],
            cwd=self.tree,
            env=changed(given),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        process = self.begin(*arguments, **environment)
        out, err = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def steps(folder: Path) -> dict[str, str]:
    """The state of each step of the latest run, in order."""
    (path,) = folder.glob("steps*.tsv")
    return dict(line.split("\t")[:2] for line in path.read_text().splitlines())


def log(folder: Path, step: str) -> str:
    return (folder / f"{step}.log").read_text()


def budget(folder: Path, step: str) -> int:
    """Seconds that pytest was given."""
    return int(re.search(r"--budget (\d+)", log(folder, step))[1])


def marked(without: str = "no such marker") -> list[str]:
    """Test files that compute on a GPU, as the script finds them."""
    texts = {path: path.read_text() for path in ROOT.glob("tests/*/test_*.py")}
    return [
        str(path.relative_to(ROOT))
        for path, text in texts.items()
        if re.search(r"mark\.(gpu|native)\b", text) and f"mark.{without}" not in text
    ]
