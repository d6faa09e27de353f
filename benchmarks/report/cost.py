"""What a frame and a training step cost: counts before and after, and a model of frames per second.

The counts are those of `benchmarks.count`; "before" is commit eaa7ba6, when the fused ops were
warps, attention, correlation and Lucas-Kanade. Only the times on a CPU are measured.
"""

import json
from pathlib import Path

from benchmarks.harness.table import markdown
from benchmarks.report.gpus import GPUS, RTX_3060, Gpu
from benchmarks.report.results import RESULTS

BEFORE, NOW = RESULTS / "cost_before.json", RESULTS / "cost.json"
PRICES = RESULTS / "prices.json"
TREES = RESULTS / "cpu" / "trees.json"
COMPILED = RESULTS / "compiled.json"
LAUNCH = 2e-6  # seconds that a launch is assumed to take at least, in a CUDA graph
MODELLED = ("H100 SXM", "RTX 4090", "RTX 4080")

Row = tuple[str, str, int, int, int]  # part, op, launches, bytes, FLOPs


def recorded(path: Path) -> dict[str, list[Row]]:
    """The rows of each case of a recorded count."""
    return {row["case"]: [tuple(op) for op in row["ops"]] for row in json.loads(path.read_text())}


def totals(rows: list[Row]) -> tuple[int, int, int]:
    """Launches, bytes and FLOPs of a case."""
    return tuple(sum(row[k] for row in rows) for k in (2, 3, 4))


def seconds(rows: list[Row], gpu: Gpu) -> float:
    """The least time of a case on a GPU at its peak rates.

    Each row, the launches of an op in a part of the model, takes the longest of: its bytes at the
    memory's bandwidth, its FLOPs at the rate of the tensor cores, `LAUNCH` for each launch.
    """
    return sum(
        max(launches * LAUNCH, size / gpu.bandwidth, flops / gpu.tensor)
        for _, _, launches, size, flops in rows
    )


def counted() -> str:
    """A table of launches and bytes of every case, before and now."""
    before, now = recorded(BEFORE), recorded(NOW)
    heads = ("case", "launches before", "now", "GB before", "now", "GFLOP now")
    lines = []
    for case, rows in now.items():
        first, last = totals(before[case]), totals(rows)
        lines.append(
            (
                case,
                f"{first[0]:,}",
                f"{last[0]:,}",
                f"{first[1] / 1e9:.2f}",
                f"{last[1] / 1e9:.2f}",
                f"{last[2] / 1e9:.0f}",
            )
        )
    return markdown([heads, *lines])


def by_part() -> str:
    """A table of launches and gigabytes of every part of every case."""
    lines = []
    for case, rows in recorded(NOW).items():
        for part in dict.fromkeys(row[0] for row in rows):
            own = [row for row in rows if row[0] == part]
            launches, size, _ = totals(own)
            lines.append((case, part, f"{launches:,}", f"{size / 1e9:.2f}"))
    return markdown([("case", "part", "launches", "GB"), *lines])


def modelled() -> str:
    """Output frames per second of a stream that doubles the rate, modelled, before and now."""
    gpus = [next(gpu for gpu in GPUS if gpu.name == name) for name in MODELLED] + [RTX_3060]
    before, now = recorded(BEFORE), recorded(NOW)
    lines = [
        [case, *(f"{2 / seconds(before[case], g):.0f} → {2 / seconds(rows, g):.0f}" for g in gpus)]
        for case, rows in now.items()
        if case.startswith("frame")
    ]
    return markdown([("case", *(gpu.name for gpu in gpus)), *lines])


def prices() -> str:
    """What each op saves against plain PyTorch in its place, and its lines of code."""
    found = json.loads(PRICES.read_text())
    heads = ["op", "lines", *(f"{case}: launches, GB" for case in found["cases"])]
    lines = [
        [
            f"`{name}`",
            str(row["lines"]),
            *(f"{n:,}, {size / 1e9:.2f}" if n or size else "–" for n, size in row["saved"]),
        ]
        for name, row in found["ops"].items()
    ]
    return markdown([heads, *lines])


def compiled(found: dict[str, dict[str, dict[str, list[int]]]] | None = None) -> str:
    """A table of launches and bytes with torch.compile and without, of all launches and by kind.

    Args:
        found: counts of `benchmarks.compiled`; None for those that are recorded.
    """
    if found is None:
        found = json.loads(COMPILED.read_text())
    kinds = ("generated", "library", "own")
    lines = [
        [
            case,
            name,
            f"{counts['all'][0]:,}",
            f"{counts['all'][1] / 1e9:.2f}",
            *(f"{counts[kind][0]:,}" if kind in counts else "–" for kind in kinds),
        ]
        for case, variants in found.items()
        for name, counts in variants.items()
    ]
    heads = ("case", "kernels", "launches", "GB", "of Inductor", "of libraries", "of LIFT")
    return markdown([heads, *lines])


def on_a_cpu(record: dict) -> str:
    """What was compared where, and the least milliseconds before and now, as a table.

    The least, since other programs may run on the machine meanwhile.
    """
    lines = [
        (
            row["work"],
            *(f"{1000 * min(row[tree]):,.0f}" for tree in ("before", "now")),
            f"{min(row['before']) / min(row['now']):.2f}x",
        )
        for row in record["rows"]
    ]
    heads = ("milliseconds, at least", "before", "now", "speedup")
    what = (
        f"Commits {record['before']} and {record['now']}, {record['rounds']} rounds, "
        f"{record['threads']} threads.\n{record['processor']}"
    )
    return f"{what}\n\n{markdown([heads, *lines])}"
