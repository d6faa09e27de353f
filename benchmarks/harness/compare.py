"""Compare two recorded runs of the benchmarks on the same machine.

Two medians differ when their distance exceeds the sum of both spreads, and MIN_CHANGE: runs of the
same code drift by that much.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.old_names import VALUES
from benchmarks.harness.table import CASE

ROW = (*CASE, "variant")
MIN_CHANGE = 0.02
UNTUNED = "untuned"  # subfolder of a machine's results with the rows from before tuning


class IncompatibleRuns(Exception):
    """Results that cannot be compared; the text is one sentence with cause and remedy."""


@dataclass(frozen=True)
class Run:
    """One recorded run.

    Attributes:
        path: the folder or file.
        machine: facts that must be equal for times to be comparable, by name.
        noted: facts that may differ and are reported.
        rows: one row per case.
    """

    path: Path
    machine: dict[str, str]
    noted: dict[str, str]
    rows: dict[tuple, dict]


@dataclass(frozen=True)
class Change:
    """Medians of one case in two runs, seconds, and whether they differ beyond the spread."""

    case: tuple
    before: float
    after: float
    differs: bool

    @property
    def speedup(self) -> float:
        return self.before / self.after


def load(path: Path) -> Run:
    """Read a JSON file of the benchmarks, or all of them in a folder.

    Raises:
        IncompatibleRuns: there are none, or they are of a smoke test, of several machines, or have
            a case twice.
    """
    if not path.exists():
        raise IncompatibleRuns(
            f"{path}: no such file or folder; name one that `lift bench --json FOLDER` wrote"
        )
    runs = [run for file in ([path] if path.is_file() else files(path)) if (run := _read(file))]
    if not any(run.rows for run in runs):
        raise IncompatibleRuns(
            f"{path}: no benchmark results; name a folder that `lift bench --json FOLDER` wrote"
        )
    rows: dict[tuple, dict] = {}
    for run in runs:
        if found := _difference(runs[0].machine, run.machine):
            raise IncompatibleRuns(
                f"{path}: results of different machines ({found}); name a folder of one run"
            )
        if twice := rows.keys() & run.rows.keys():
            raise IncompatibleRuns(
                f"{path}: {_named(min(twice, key=str))} occurs twice; name a folder of one run"
            )
        rows |= run.rows
    return Run(path, runs[0].machine, runs[0].noted, rows)


def files(folder: Path) -> list[Path]:
    """The JSON files below a folder, without those from before tuning."""
    return [
        path
        for path in sorted(folder.rglob("*.json"))
        if UNTUNED not in path.relative_to(folder).parts[:-1]
    ]


def _read(path: Path) -> Run | None:
    """None if the file is not one of the benchmarks."""
    try:
        text = json.loads(path.read_text())
        lift = text["machine_info"]["lift"]
        benchmarks = [_current(benchmark["extra_info"]) for benchmark in text["benchmarks"]]
    except (ValueError, KeyError, TypeError):
        return None
    if text.get("toy"):
        raise IncompatibleRuns(
            f"{path} is of a smoke test, whose times mean nothing; "
            "name results that `lift bench` wrote without --toy"
        )
    cpu = text["machine_info"].get("cpu", {})
    machine = {
        "GPU": ", ".join(gpu["name"] for gpu in lift["gpus"]) or "none",
        "CPU": cpu.get("brand_raw") or lift["facts"]["CPU"],
        "processors": str(cpu.get("count")),
        "threads": str(lift["threads"]),
    }
    noted = {name: lift["facts"].get(name, "") for name in ("torch", "triton")}
    noted |= {
        "driver": ", ".join(gpu["driver"] for gpu in lift["gpus"]),
        "commit": lift["commit"],
        "power limit": ", ".join(f"{gpu['power limit']} W" for gpu in lift["gpus"]),
    }
    return Run(
        path,
        machine,
        noted,
        {tuple(str(row.get(name, "")) for name in ROW): row for row in benchmarks},
    )


def _current(row: dict) -> dict:
    """A row with the present names of its variant and direction."""
    new = {key: names.get(row.get(key), row.get(key)) for key, names in VALUES.items()}
    return row | {key: value for key, value in new.items() if value is not None}


def changes(before: Run, after: Run) -> list[Change]:
    """Every case that both runs have, in the order of the first.

    Raises:
        IncompatibleRuns: the runs are of different machines, or have no case in common.
    """
    if found := _difference(before.machine, after.machine):
        raise IncompatibleRuns(
            f"{before.path} and {after.path} are of different machines ({found}); "
            "compare runs of one machine"
        )
    both = [
        (case, row, after.rows[case]) for case, row in before.rows.items() if case in after.rows
    ]
    if not both:
        raise IncompatibleRuns(
            f"{before.path} and {after.path} have no case in common; "
            "run the same benchmarks for both"
        )
    return [
        Change(
            case,
            a["median"],
            b["median"],
            abs(b["median"] / a["median"] - 1) > max(a["spread"] + b["spread"], MIN_CHANGE),
        )
        for case, a, b in both
    ]


def _difference(one: dict[str, str], other: dict[str, str]) -> str:
    return "; ".join(
        f"{name}: {one[name]} and {other[name]}" for name in one if one[name] != other[name]
    )


def _named(case: tuple) -> str:
    return " ".join(filter(None, case))


def text(before: Run, after: Run) -> str:
    """The comparison as text: slower cases, faster cases, and the number of others.

    Raises:
        IncompatibleRuns: as `changes`.
    """
    found = changes(before, after)
    lines = [
        f"{name}: {before.noted[name] or 'unknown'} before, {after.noted[name] or 'unknown'} after"
        for name in before.noted
        if before.noted[name] != after.noted[name]
    ]
    for title, of in (
        ("Slower", [c for c in found if c.differs and c.speedup < 1]),
        ("Faster", [c for c in found if c.differs and c.speedup > 1]),
    ):
        if not of:
            continue
        lines += ["", f"{title} beyond the spread:"]
        width = max(len(_named(change.case)) for change in of)
        lines += [
            f"  {_named(c.case):<{width}}  "
            f"{c.before * 1e3:10.3f} ms -> {c.after * 1e3:10.3f} ms  {c.speedup:.2f}x"
            for c in sorted(of, key=lambda c: c.speedup)
        ]
    same = sum(not change.differs for change in found)
    only_before, only_after = (len(run.rows) - len(found) for run in (before, after))
    lines += [
        "",
        f"{len(found)} cases compared, {same} the same within their spread; "
        f"{only_before} only in {before.path}, {only_after} only in {after.path}.",
    ]
    return "\n".join(lines).strip()
