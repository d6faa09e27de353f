"""Thousands of random calls of every op, each compared with its definition in float64.

    python -m benchmarks.sweep --seed 0 --cases 10000 [--log FILE]
    python -m benchmarks.sweep --seed 0 --case 4711       # one of them again, in full
    python -m benchmarks.sweep --seed 0 --cases 300 --interpret  # Triton's kernels, on the CPU

Ops, dtypes, layouts, shapes, parameters and values are drawn from the seed and the number of the
case alone. What is outside the tolerance is printed with the command that replays it, and the exit
code is 1. `--log` keeps a summary as JSON; a run with the same log goes on where the last stopped.
"""

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

EVERY = 500  # cases between two writes of the log


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=10000, help="cases 0 to N - 1")
    parser.add_argument("--case", type=int, help="one case, with what was drawn")
    parser.add_argument("--backend", action="append", help="compare this one only; repeatable")
    parser.add_argument("--interpret", action="store_true", help="Triton's interpreter, tiny maps")
    parser.add_argument("--log", type=Path, help="the summary, JSON")
    options = parser.parse_args(arguments)
    if options.interpret:
        os.environ["TRITON_INTERPRET"] = "1"  # before the kernels are imported
        options.backend = options.backend or ["triton"]
    if options.case is not None:
        return _replay(options)
    return _sweep(options)


def _replay(options: argparse.Namespace) -> int:
    from benchmarks.sweep.check import check_case

    drawn, results = check_case(options.seed, options.case, options.interpret, options.backend)
    print(f"case {options.case}: {drawn.op}")
    for name, value in drawn.notes.items():
        print(f"  {name}: {value}")
    for result in results:
        print(f"{result.backend}: {_verdict(result)}")
    return int(any(result.fault for result in results))


def _verdict(result) -> str:
    if result.reason is not None:
        return f"not supported: {result.reason}"
    if result.fault is not None:
        return f"outside the tolerance: {result.fault}"
    return f"right, {result.ratio:.2g} of the tolerance"


def _sweep(options: argparse.Namespace) -> int:
    from benchmarks.sweep.check import check_case

    log, rows = _begin(options)
    start, before = time.monotonic(), log["seconds"]
    for number in range(log["done"], options.cases):
        for result in check_case(options.seed, number, options.interpret, options.backend)[1]:
            _count(rows[result.op, result.backend, result.dtype], result)
            if result.fault is not None:
                log["faults"].append({"case": number, "op": result.op, "fault": result.fault})
                print(f"{result.op} {result.backend} {result.dtype}: {result.fault}")
                print(f"  {_command(options, number)}", flush=True)
        log["done"], log["seconds"] = number + 1, round(before + time.monotonic() - start, 1)
        if log["done"] % EVERY == 0:
            _write(options.log, log, rows)
    _write(options.log, log, rows)
    _print(log, rows)
    return int(bool(log["faults"]))


def _command(options: argparse.Namespace, number: int) -> str:
    interpret = " --interpret" * options.interpret
    return f"python -m benchmarks.sweep --seed {options.seed} --case {number}{interpret}"


# -- the log ---------------------------------------------------------------------------------------


def _begin(options: argparse.Namespace) -> tuple[dict, dict]:
    """A new log and its rows, or those of the file of the same run."""
    from benchmarks.harness import machine

    log = {
        "seed": options.seed,
        "interpret": options.interpret,
        "backends": options.backend,
        "done": 0,
        "seconds": 0.0,
        "faults": [],
        "machine": machine.describe(),
        "rows": [],
    }
    rows = defaultdict(lambda: dict.fromkeys(("right", "by neighbours", "refused", "wrong"), 0))
    if options.log is not None and options.log.is_file():
        old = json.loads(options.log.read_text(encoding="utf-8"))
        same = ("seed", "interpret", "backends")
        sources = old["machine"]["sources"] == log["machine"]["sources"]
        if sources and all(old[name] == log[name] for name in same):
            log = old
            for row in old["rows"]:
                rows[row.pop("op"), row.pop("backend"), row.pop("dtype")].update(row)
    return log, rows


def _count(row: dict, result) -> None:
    if result.reason is not None:
        row["refused"] += 1
        return
    row["wrong" if result.fault else "by neighbours" if result.by_neighbours else "right"] += 1
    row["gradients"] = row.get("gradients", 0) + result.gradient
    row["worst"] = max(row.get("worst", 0.0), round(result.ratio, 3))


def _write(path: Path | None, log: dict, rows: dict) -> None:
    from lift.files import atomic

    if path is None:
        return
    names = ("op", "backend", "dtype")
    log["rows"] = [dict(zip(names, key, strict=True)) | rows[key] for key in sorted(rows)]
    lines = [json.dumps(row) for row in log["rows"]]  # a line each
    text = json.dumps({**log, "rows": "ROWS"}, indent=1)
    text = text.replace('"ROWS"', "[\n  " + ",\n  ".join(lines) + "\n ]")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        Path(temporary).write_text(text + "\n", encoding="utf-8")


def _print(log: dict, rows: dict) -> None:
    from benchmarks.harness.table import aligned

    titles = ["op", "backend", "dtype", "right", "by neighbours", "wrong", "gradients", "worst"]
    table = [
        [*key, *(str(row.get(title, 0)) for title in titles[3:])]
        for key, row in sorted(rows.items())
        if row["right"] + row["by neighbours"] + row["wrong"]
    ]
    print("\n".join(aligned([titles, *table])))
    print(f"{log['done']} cases in {log['seconds']:.0f} s, {len(log['faults'])} wrong")


if __name__ == "__main__":
    sys.exit(main())
