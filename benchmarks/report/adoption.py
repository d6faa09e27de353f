"""The tables of docs/adoption.md: what `lift.kernels.patch` gains, from its record."""

import json

from benchmarks.harness.table import markdown
from benchmarks.report.results import RESULTS

RECORD = RESULTS / "cpu" / "adoption.json"
HEADS = (
    "forward and backward of",
    "shape",
    "ms, original",
    "patched",
    "speedup",
    "saved MB, original",
    "patched",
    "difference",
    "of gradients",
)


def cells(row: dict) -> tuple[str, ...]:
    """A line of the table."""
    (before, now), (saved, saved_now) = row["ms"], row["saved"]
    return (
        row["name"],
        " x ".join(map(str, row["shape"])),
        f"{before:.1f}",
        f"{now:.1f}",
        f"{before / now:.1f}x",
        f"{saved / 1e6:.2f}",
        f"{saved_now / 1e6:.2f}",
        f"{row['difference']:.0e}",
        f"{row['gradient_difference']:.0e}",
    )


def table() -> str:
    """The machine and every case."""
    record = json.loads(RECORD.read_text())
    facts = (
        f"Commit {record['commit'][:10]}, PyTorch {record['torch']}, one thread, median of "
        f"{record['rounds']} passes.\n{record['processor']}."
    )
    return f"{facts}\n\n{markdown([HEADS, *map(cells, record['rows'])], 2)}"
