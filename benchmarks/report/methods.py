"""The table of methods: the time of one frame between two, each with its spread."""

from benchmarks.harness.table import markdown, significant
from benchmarks.report.results import Measurements

HEADS = ("measured on", "size", "method", "ms", "spread", "frames/s", "time of LIFT, 2 frames")
FILE = "bench_methods.json"  # of the suite run by itself
BASIS = "LIFT, 2 frames"
NOT_RECORDED = "Not recorded yet (`lift bench methods`)."


def table(all_found: list[Measurements]) -> str:
    """What was measured on, and a line for each machine, size and method."""
    lines, machines = [], []
    for found in all_found:
        for group in found.operations.get("methods", []):
            basis = group.rows.get(BASIS)
            size = f"{group.shape[-1]} × {group.shape[-2]}"
            lines += [_line(found.folder.name, size, *item, basis) for item in group.rows.items()]
        if "methods" in found.operations:
            facts = next((s.facts for s in found.sources if s.file == FILE), {})
            names = [name for name in ("recorded", "torch", "commit") if name in facts]
            details = ", ".join(f"{name} {facts[name]}" for name in names)
            machines.append(f"{found.folder.name}: {found.title},\n{details}.")
    if not lines:
        return NOT_RECORDED
    return "\n\n".join([*machines, markdown([HEADS, *lines], 3)])


def _line(machine: str, size: str, name: str, row: dict, basis: dict | None) -> tuple[str, ...]:
    return (
        machine,
        size,
        name,
        significant(row["median"] * 1e3),
        f"{row['spread']:.0%}",
        f"{1 / row['median']:.2f}",
        f"{row['median'] / basis['median']:.2f} ×" if basis else "",
    )
