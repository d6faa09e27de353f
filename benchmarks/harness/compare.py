"""What got faster or slower from one recorded run of the benchmarks to another on the same machine.

Two medians differ when they lie farther apart than both runs' spreads together, and by more than
LEAST, by which runs of one code drift.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.table import CASE

ROW = (*CASE, "variant")
LEAST = 0.02
UNTUNED = "untuned"  # the folder, among a machine's results, of rows from before tuning


class Refused(Exception):
    """Two results that cannot be compared; the text is one sentence with the cause and the remedy."""


@dataclass(frozen=True)
class Run:
    """One recorded run.

    Attributes:
        path: the folder or file it was read from.
        machine: what must be the same where times are compared, by name.
        noted: what may differ, and is told.
        rows: each case's row.
    """

    path: Path
    machine: dict[str, str]
    noted: dict[str, str]
    rows: dict[tuple, dict]


@dataclass(frozen=True)
class Change:
    """Of one case, from the first run to the second: times in seconds, and whether they differ
    beyond the spread.
    """

    case: tuple
    before: float
    after: float
    differs: bool

    @property
    def speedup(self) -> float:
        return self.before / self.after


def load(path: Path) -> Run:
    """Read a JSON file that the benchmarks wrote, or all of those in a folder.

    Raises:
        Refused: nothing of that kind is there, or it is of a dry run, of several machines, or holds
            a case twice.
    """
    if not path.exists():
        raise Refused(f"{path}: no such file or folder; name what `lift bench --json FOLDER` wrote")
    runs = [run for file in ([path] if path.is_file() else files(path)) if (run := _read(file))]
    if not any(run.rows for run in runs):
        raise Refused(
            f"{path}: no results of benchmarks; name what `lift bench --json FOLDER` wrote"
        )
    rows: dict[tuple, dict] = {}
    for run in runs:
        if found := _difference(runs[0].machine, run.machine):
            raise Refused(
                f"{path}: holds results of different machines ({found}); name a folder of one run"
            )
        if twice := rows.keys() & run.rows.keys():
            raise Refused(
                f"{path}: holds {_named(min(twice, key=str))} twice; name a folder of one run"
            )
        rows |= run.rows
    return Run(path, runs[0].machine, runs[0].noted, rows)


def files(folder: Path) -> list[Path]:
    """The JSON files below a folder, less those of what was measured again."""
    return [
        path
        for path in sorted(folder.rglob("*.json"))
        if UNTUNED not in path.relative_to(folder).parts[:-1]
    ]


def _read(path: Path) -> Run | None:
    """None where the file is something else than what the benchmarks write."""
    try:
        text = json.loads(path.read_text())
        lift = text["machine_info"]["lift"]
        benchmarks = [benchmark["extra_info"] for benchmark in text["benchmarks"]]
    except (ValueError, KeyError, TypeError):
        return None
    if text.get("toy"):
        raise Refused(
            f"{path} is of a dry run, whose times mean nothing; name results that `lift bench` wrote without --toy"
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


def changes(before: Run, after: Run) -> list[Change]:
    """Of every case that both runs have, in the order of the first.

    Raises:
        Refused: the runs are of different machines, or have no case in common.
    """
    if found := _difference(before.machine, after.machine):
        raise Refused(
            f"{before.path} and {after.path} are of different machines ({found}), so their times say nothing of each other; "
            "compare runs of one machine"
        )
    both = [
        (case, row, after.rows[case]) for case, row in before.rows.items() if case in after.rows
    ]
    if not both:
        raise Refused(
            f"{before.path} and {after.path} have no case in common; run the same benchmarks for both"
        )
    return [
        Change(
            case,
            a["median"],
            b["median"],
            abs(b["median"] / a["median"] - 1) > max(a["spread"] + b["spread"], LEAST),
        )
        for case, a, b in both
    ]


def _difference(one: dict[str, str], other: dict[str, str]) -> str:
    return "; ".join(
        f"{name}: {one[name]} against {other[name]}" for name in one if one[name] != other[name]
    )


def _named(case: tuple) -> str:
    return " ".join(filter(None, case))


def text(before: Run, after: Run) -> str:
    """The comparison for a person: what got slower, what got faster, and how much else there was.

    Raises:
        Refused: as `changes`.
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
            f"  {_named(c.case):<{width}}  {c.before * 1e3:10.3f} ms -> {c.after * 1e3:10.3f} ms  x{c.speedup:.2f}"
            for c in sorted(of, key=lambda c: c.speedup)
        ]
    same, gone, new = (
        sum(not c.differs for c in found),
        len(before.rows) - len(found),
        len(after.rows) - len(found),
    )
    lines += [
        "",
        f"{len(found)} cases compared, {same} the same within their spread; "
        f"{gone} only in {before.path}, {new} only in {after.path}.",
    ]
    return "\n".join(lines).strip()
