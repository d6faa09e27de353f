"""`python -m benchmarks`: list the suites, run them, compare two runs; `lift bench` is the same.

Each suite runs in its own process, with OpenMP threads bound to cores.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import compare, old_names
from benchmarks.harness.registry import GROUPS, OPERATIONS, SUITES
from lift.config.flags import Parser
from lift.config.values import did_you_mean
from lift.errors import LiftError, run

ROOT = Path(__file__).resolve().parents[1]
NEEDS = {"pytest": "pytest", "pytest_benchmark": "pytest-benchmark"}
EXAMPLES = """examples:
  lift bench --quick                         the operations, minutes
  lift bench warp_blend --json runs/before   and again with runs/after once something has changed
  lift bench --compare runs/before runs/after
  lift bench model                           training and streaming
  lift bench --count                         launches and bytes of a frame on a GPU, without one
"""


def main(argv: list[str]) -> int:
    """List the suites without arguments, else do what they ask for.

    Returns:
        0, or 1 where a variant is wrong, does not run, or nothing was measured.
    """
    if not argv:
        print(listing())
        return 0
    arguments = parser().parse_args(argv)
    if arguments.threads is not None and arguments.threads < 1:
        parser().error(f"--threads must be at least 1, got {arguments.threads}")
    asked = (arguments.what, arguments.compare, arguments.tune, arguments.count)
    if sum(map(bool, asked)) > 1:
        parser().error("--compare, --count, --tune and names of suites exclude each other")
    if arguments.count:
        from benchmarks import count  # needs torch and the model, which no other option does here

        return count.main([])
    if arguments.compare:
        return _compare(*arguments.compare)
    if arguments.tune:
        command = ["-m", "benchmarks.gpu.tune_temporal_attention", f"--{arguments.tune}"]
        return subprocess.run([sys.executable, *command], cwd=ROOT).returncode
    names = chosen(arguments.what or ["ops"])
    missing = [title for name, title in NEEDS.items() if importlib.util.find_spec(name) is None]
    if missing:
        raise LiftError(
            f"the benchmarks need {' and '.join(missing)}: pip install {' '.join(missing)}"
        )
    return max([_run(SUITES[name].module, arguments) for name in names])


def listing() -> str:
    """One line per suite, for a terminal."""
    width = max(map(len, SUITES))
    lines = [f"  {name:<{width}}  {suite.help}" for name, suite in SUITES.items()]
    groups = [f"  {name:<{width}}  {', '.join(of)}" for name, of in GROUPS.items()]
    return "\n".join(["suites:", *lines, "groups:", *groups, "", EXAMPLES.rstrip()])


def parser() -> Parser:
    """The command line."""
    found = Parser(
        prog="lift bench",
        description="benchmark the kernels; compare two runs",
        epilog=EXAMPLES,
    )
    found.add_argument(
        "what",
        nargs="*",
        help=f"{', '.join(OPERATIONS)}, or model (default: the operations)",
    )
    found.add_argument(
        "--quick",
        action="store_true",
        help="the most informative cases with fewer rounds: minutes instead of an hour",
    )
    found.add_argument("--toy", action="store_true", help="smoke test: tiny sizes, one round")
    found.add_argument(
        "--only",
        metavar="WORDS",
        help="cases whose name has these words: 'channels_last and smooth and not random'",
    )
    found.add_argument(
        "--forms",
        metavar="FORMS",
        help="forms of the model's variants: plain, graph, compiled, comma-separated (all)",
    )
    found.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads (default: torch's own choice)"
    )
    found.add_argument(
        "--json",
        type=Path,
        metavar="FOLDER",
        help="also write the rows of each suite there, as bench_<suite>.json",
    )
    found.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="what changed from run A to run B of one machine; each a folder or file of --json",
    )
    found.add_argument(
        "--count",
        action="store_true",
        help="launches, bytes and FLOPs of a frame and of a training step; needs no GPU",
    )
    found.add_argument(
        "--tune",
        nargs="?",
        const="measure",
        choices=("measure", "static"),
        help="tune the temporal_attention kernels for this GPU; `static`: by a model, without one",
    )
    return found


def chosen(wanted: list[str]) -> list[str]:
    """The suites that names and groups stand for, each once.

    Raises:
        LiftError: there is no such suite.
    """
    found: list[str] = []
    for name in wanted:
        name = old_names.SUITES.get(name, name)
        if name not in SUITES and name not in GROUPS:
            known = [*OPERATIONS, *GROUPS, *SUITES, *old_names.SUITES]
            raise LiftError(
                f"no benchmark '{name}'{did_you_mean(name, known)} "
                f"(choose from {', '.join(OPERATIONS)} and model)"
            )
        found += [one for one in GROUPS.get(name, (name,)) if one not in found]
    return found


def _run(module: str, arguments) -> int:
    """Run a suite in its own process; the exit code of pytest."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += [f"benchmarks/suites/{module}.py", "--benchmark-quiet"]
    command += ["--quick"] if arguments.quick else []
    command += ["--toy"] if arguments.toy else []
    command += ["-k", arguments.only] if arguments.only else []
    command += ["--forms", arguments.forms] if arguments.forms else []
    if arguments.json:
        arguments.json.mkdir(parents=True, exist_ok=True)
        command += ["--benchmark-json", str(arguments.json.resolve() / f"{module}.json")]
    environment = {"OMP_PROC_BIND": "close", **os.environ}
    if arguments.threads:
        command += ["--threads", str(arguments.threads)]
        environment["OMP_NUM_THREADS"] = str(arguments.threads)
    print(f"{module}:", flush=True)
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


def _compare(before: Path, after: Path) -> int:
    try:
        print(compare.text(compare.load(before), compare.load(after)))
    except compare.IncompatibleRuns as error:
        raise LiftError(str(error)) from None
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
