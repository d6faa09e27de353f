"""`lift bench`: benchmark the kernels or the model; compare two runs; tune the attention.

Each variant is verified before it is timed. The benchmarks are in `benchmarks/` of a checkout and
not part of an installed LIFT. Each suite runs in its own process, with as many threads as torch
uses, each bound to a processor.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from lift.config.flags import Parser
from lift.config.values import did_you_mean
from lift.errors import LiftError

MODEL = ("model", "streaming")  # suites of the whole model; each other suite is of an op
NEEDS = {"pytest": "pytest", "pytest_benchmark": "pytest-benchmark"}


def main(argv: list[str]) -> int:
    """Run the suites and print their tables.

    Returns:
        0, or 1 if a variant is wrong or does not run, or nothing was measured.
    """
    parser = Parser(prog="lift bench", description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "what",
        nargs="*",
        help="warp_blend, grid_sample, attention, correlation, or model (default: all ops)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the most informative cases, with fewer rounds: minutes instead of an hour",
    )
    parser.add_argument(
        "--toy",
        action="store_true",
        help="smoke test: tiny sizes, one round",
    )
    parser.add_argument(
        "--only",
        metavar="WORDS",
        help="cases whose name matches, such as 'channels_last and smooth and not random'",
    )
    parser.add_argument(
        "--forms",
        metavar="FORMS",
        help="variants of the model: plain, graph, compiled, separated by commas (default all)",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads (default: as many as torch uses)"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FOLDER",
        help="also write each suite's rows to FOLDER/bench_<suite>.json",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="compare run B with run A: folders or files written by --json on one machine",
    )
    parser.add_argument(
        "--tune",
        nargs="?",
        const="measure",
        choices=("measure", "static"),
        help="tune the configs of the attention kernels for this GPU; `static` estimates them for "
        "other GPUs",
    )
    arguments = parser.parse_args(argv)
    if arguments.threads is not None and arguments.threads < 1:
        parser.error(f"--threads must be at least 1, got {arguments.threads}")
    if (
        arguments.compare
        and arguments.tune
        or arguments.what
        and (arguments.compare or arguments.tune)
    ):
        parser.error("--compare, --tune and names of suites exclude each other")
    folder = benchmarks()
    if arguments.compare:
        return _compare(folder, *arguments.compare)
    if arguments.tune:
        return subprocess.run(
            [sys.executable, "-m", "benchmarks.gpu.tune_attention", f"--{arguments.tune}"],
            cwd=folder.parent,
        ).returncode
    suites = chosen(folder, arguments.what)
    if missing := [
        title for module, title in NEEDS.items() if importlib.util.find_spec(module) is None
    ]:
        raise LiftError(
            f"the benchmarks need {' and '.join(missing)}: pip install {' '.join(missing)}"
        )
    return max([_run(suite, arguments) for suite in suites])


def benchmarks() -> Path:
    """The folder of the benchmarks, in the working directory or beside this package.

    Raises:
        LiftError: there is none.
    """
    for root in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (root / "benchmarks" / "harness" / "measure.py").is_file():
            return root / "benchmarks"
    raise LiftError(
        "the benchmarks are not part of an installed LIFT: run `lift bench` in a checkout, the "
        "folder with pyproject.toml and benchmarks/"
    )


def chosen(folder: Path, wanted: list[str]) -> list[Path]:
    """The suites with these names; those of all ops if there is no name.

    Raises:
        LiftError: no suite has such a name, or the model has none.
    """
    there = {
        path.stem.removeprefix("bench_"): path
        for path in sorted((folder / "suites").glob("bench_*.py"))
    }
    operations = {name: path for name, path in there.items() if name not in MODEL}
    named = there | {"temporal_attention": there.get("attention"), "op": None, "model": None}
    for name in wanted:
        if name not in named:
            raise LiftError(
                f"no benchmark of '{name}'{did_you_mean(name, named)} "
                f"(there are {', '.join(operations)} and model)"
            )
    groups = {
        "op": list(operations.values()),
        "model": [there[name] for name in MODEL if name in there],
    }
    suites: list[Path] = []
    for name in wanted or ["op"]:
        found = groups[name] if name in groups else [named[name]]
        if not found:
            raise LiftError(
                f"no benchmark of the model is in {folder}; there are {', '.join(operations)}"
            )
        suites += [path for path in found if path not in suites]
    return suites


def _run(suite: Path, arguments) -> int:
    """Run a suite in its own process; returns the exit code."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        f"benchmarks/suites/{suite.name}",
        "--benchmark-quiet",
    ]
    command += [
        flag for flag, given in (("--quick", arguments.quick), ("--toy", arguments.toy)) if given
    ]
    command += ["-k", arguments.only] if arguments.only else []
    command += ["--forms", arguments.forms] if arguments.forms else []
    if arguments.json:
        arguments.json.mkdir(parents=True, exist_ok=True)
        command += ["--benchmark-json", str(arguments.json.resolve() / f"{suite.stem}.json")]
    environment = {"OMP_PROC_BIND": "close", **os.environ}
    if arguments.threads:
        command += ["--threads", str(arguments.threads)]
        environment["OMP_NUM_THREADS"] = str(arguments.threads)
    print(f"{suite.stem}:", flush=True)
    return subprocess.run(command, cwd=suite.parents[2], env=environment).returncode


def _compare(folder: Path, before: Path, after: Path) -> int:
    sys.path.insert(0, str(folder.parent))
    from benchmarks.harness import compare

    try:
        print(compare.text(compare.load(before), compare.load(after)))
    except compare.Refused as refused:
        raise LiftError(str(refused)) from None
    return 0


EXAMPLES = """examples:
  lift bench --quick                         the operations, minutes
  lift bench warp_blend --json runs/before   and again with runs/after once something has changed
  lift bench --compare runs/before runs/after
  lift bench model                           training and streaming
"""

if __name__ == "__main__":
    from lift.errors import run

    sys.exit(run(main))
