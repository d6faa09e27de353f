"""`lift bench`: time the kernels, or the whole model, on this machine, each variant checked first;
tell two runs apart; tune the attention.

The benchmarks lie in `benchmarks/` of a checkout, which is not part of an installed LIFT. Each
suite runs in a process of its own, with as many threads as torch would take, each bound to a
processor.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from lift.config.flags import Parser
from lift.config.values import did_you_mean
from lift.errors import LiftError

MODEL = ("model", "streaming")  # suites of the whole model; every other one is of an operation
NEEDS = {"pytest": "pytest", "pytest_benchmark": "pytest-benchmark"}


def main(argv: list[str]) -> int:
    """Run the suites and print their tables; 0, or 1 where a variant is wrong, does not run, or
    nothing was measured.
    """
    parser = Parser(prog="lift bench", description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "what",
        nargs="*",
        help="warp_blend, grid_sample, attention, correlation, or model (default: the operations)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the cases that say most, with fewer rounds: minutes instead of an hour",
    )
    parser.add_argument(
        "--toy",
        action="store_true",
        help="tiny sizes, one round: walks through everything, measures nothing of worth",
    )
    parser.add_argument(
        "--only",
        metavar="WORDS",
        help="cases whose name has these: 'channels_last and smooth and not random'",
    )
    parser.add_argument(
        "--forms",
        metavar="FORMS",
        help="of the model's variants: plain, graph, compiled, with commas (all)",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads on the CPU (default: what torch takes)"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FOLDER",
        help="also write each suite's rows there, bench_<suite>.json",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="what got faster or slower from run A to run B, each a "
        "folder or a file that --json wrote, on one machine",
    )
    parser.add_argument(
        "--tune",
        nargs="?",
        const="measure",
        choices=("measure", "static"),
        help="find this GPU's settings of the attention kernels, or with `static` what a model expects of other cards",
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
        parser.error("--compare, --tune and the names of suites are asked for one at a time")
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
    """The folder of the benchmarks: that of the working directory, else that beside this package.

    Raises:
        LiftError: there is none.
    """
    for root in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (root / "benchmarks" / "harness" / "measure.py").is_file():
            return root / "benchmarks"
    raise LiftError(
        "the benchmarks are not part of an installed LIFT: run `lift bench` in a checkout, the folder with pyproject.toml "
        "and benchmarks/"
    )


def chosen(folder: Path, wanted: list[str]) -> list[Path]:
    """The suites that names stand for: all of the operations where there is no name.

    Raises:
        LiftError: a name that no suite has, or none of the model.
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
                f"no benchmark of '{name}'{did_you_mean(name, named)} (there are {', '.join(operations)} and model)"
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
    """Run a suite in a process of its own; its exit code."""
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
