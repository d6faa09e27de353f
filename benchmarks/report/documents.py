"""Generated parts of documents, between `<!-- report: NAME -->` and `<!-- report: end -->`.

NAME is `machines`, `targets`, `summary`, `projections`, `threads`, `methods`, `adoption`, `cost`
and a part of it, or a folder below `results/` and an operation, as in `cpu warp_blend`.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.harness.registry import OPERATIONS
from benchmarks.harness.table import cell, markdown
from benchmarks.report import adoption, cost, methods, threads
from benchmarks.report.gpus import GPUS
from benchmarks.report.limits import cases, projected, recorded
from benchmarks.report.machine_page import PICTURES, PROJECTED
from benchmarks.report.results import Group, IncompatibleRuns, Measurements
from benchmarks.report.roofline import across
from benchmarks.report.target_table import target_table

MARKED = re.compile(r"(<!-- report: (?!end )([^>]+?) -->\n).*?(<!-- report: end -->)", re.DOTALL)
FACTS = (  # of a machine
    "commit",
    "torch",
    "Triton",
    "CUDA",
    "driver",
    "clock, MHz",
    "memory clock, MHz",
)


# -- parts: (all machines, the document) to text ---------------------------------------------------


def machines(all_found: list[Measurements], document: Path) -> str:
    """Every machine with its report and what its figures depend on."""

    def values(found: Measurements, name: str, length: int | None = None) -> str:
        facts = [source.facts[name] for source in found.sources if name in source.facts]
        return ", ".join(dict.fromkeys(fact[:length] for fact in facts))

    names = [name for name in FACTS if any(values(found, name) for found in all_found)]
    lines = [
        [
            f"[{found.folder.name}]({_link(document, found.folder)}/report.md)",
            found.title,
            values(found, "recorded", 10),
            *(values(found, name) for name in names),
        ]
        for found in all_found
    ]
    return markdown([("measured on", "machine", "recorded", *names), *lines])


def projections(all_found: list[Measurements], document: Path) -> str:
    """Projected times of the cases that the roofline shows without results."""
    shown = set(cases())
    results = [result for found in all_found for result in recorded(found.folder)]
    rows = [
        row
        for row in projected(results, list(GPUS))
        if row.case in shown and row.flow in ("smooth", "biases", "")
    ]
    if not rows:
        return "Nothing is projected: no fused kernel was measured on a GPU."
    return f"{PROJECTED}\n\n{across(rows)}"


def summary(all_found: list[Measurements], document: Path) -> str:
    """The range of speedups of each operation on each machine, and one picture."""
    lines = [
        [found.folder.name, f"`{operation}`, {direction}", _gains(groups), _saved(groups)]
        for found in all_found
        for (operation, direction), groups in _fused(found).items()
    ]
    if not lines:
        return "No speed of a fused kernel is recorded."
    found = next(found for found in all_found if _fused(found))
    folder = _link(document, found.folder)
    heads = ("measured on", "operation", "speedup over", "saved activations, relative")
    return "\n\n".join(
        [
            markdown([heads, *lines]),
            machines(all_found, document),
            f"All cases, spreads, versions and targets: [the report]({folder}/report.md).",
            f"![{PICTURES['speedups']}, by case]({folder}/speedups.png)",
        ]
    )


def targets(all_found: list[Measurements], document: Path) -> str:
    return target_table(all_found)


PARTS: dict[str, Callable[[list[Measurements], Path], str]] = {
    "machines": machines,
    "targets": targets,
    "summary": summary,
    "projections": projections,
    "threads": lambda all_found, _: threads.table(all_found),
    "methods": lambda all_found, _: methods.table(all_found),
    "adoption": lambda *_: adoption.table(),
    "cost counted": lambda *_: cost.counted(),
    "cost by part": lambda *_: cost.by_part(),
    "cost cpu": lambda *_: cost.on_a_cpu(json.loads(cost.TREES.read_text())),
    "cost modelled": lambda *_: cost.modelled(),
    "cost prices": lambda *_: cost.prices(),
    "cost compiled": lambda *_: cost.compiled(),
}


def _fused(found: Measurements) -> dict[tuple[str, str], list[Group]]:
    """Cases with a fused variant and another one, by operation and direction."""
    fused: dict[tuple[str, str], list[Group]] = {}
    for group in found.groups:
        if group.fused and group.others:
            fused.setdefault((group.operation, group.direction), []).append(group)
    return fused


def _gains(groups: list[Group]) -> str:
    """Range and median of the speedups over each other variant."""
    parts = []
    for other in dict.fromkeys(other for group in groups for other in group.others):
        gains = [group.speedup(group.subjects[0], other) for group in groups]
        values = [gain.value for gain in gains if gain]
        low, high = f"{min(values):.1f}x", f"{max(values):.1f}x"
        spread = low if low == high else f"{low} to {high} (median {median(values):.1f}x)"
        parts.append(f"{other} {spread}")
    return ", ".join(parts)


def _saved(groups: list[Group]) -> str:
    """Saved activations of the fused variant over those of the others: smallest and largest."""
    key = "saved_for_backward"
    shares = [
        group.rows[group.subjects[0]][key] / group.rows[other][key]
        for group in groups
        for other in group.others
        if group.rows[other].get(key) and group.rows[group.subjects[0]].get(key) is not None
    ]
    if not shares:
        return ""
    low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
    return low if low == high else f"{low} to {high}"


def by_flow(found: Measurements, operation: str) -> str:
    """Speedups of an operation on a machine: a line per case, a column per flow profile."""
    groups = found.operations[operation]
    others = list(dict.fromkeys(other for group in groups for other in group.others))
    flows = list(dict.fromkeys(group.flow for group in groups))
    lines: dict[tuple, dict[str, str]] = {}
    for group in groups:
        for subject in group.subjects:
            gains = [group.speedup(subject, other) for other in others]
            text = " / ".join(cell(gain and gain.value, "{:.1f}") or "–" for gain in gains)
            key = (str(group.shape), group.layout, group.dtype, group.direction, subject)
            lines.setdefault(key, {})[group.flow] = text
    heads = ["shape", "layout", "dtype", "direction", "variant"]
    kept = [i for i in range(len(heads)) if i in (0, 3) or len({line[i] for line in lines}) > 1]
    cells = [
        [*(line[i] for i in kept), *(found.get(flow, "") for flow in flows)]
        for line, found in lines.items()
    ]
    table = markdown([[*(heads[i] for i in kept), *flows], *cells], len(kept))
    axes = OPERATIONS[operation].axes if operation in OPERATIONS else ""
    caption = f"Speedup over {' / '.join(others)}, measured on {found.title}"
    return f"{caption}{axes and f'; shapes are {axes}'}.\n\n{table}"


def _link(document: Path, folder: Path) -> str:
    """The folder as a link in the document."""
    return Path(os.path.relpath(folder.resolve(), document.resolve().parent)).as_posix()


# -- whole documents -------------------------------------------------------------------------------


def filled(document: Path, all_found: list[Measurements], index: bool = False) -> str:
    """A document with its generated parts up to date.

    Args:
        document: its file.
        all_found: one entry per machine.
        index: add a section for every operation of a GPU that the document has none for.

    Raises:
        IncompatibleRuns: a marker names something that is not recorded.
    """

    def part(found: re.Match) -> str:
        return f"{found[1]}{_part(found[2].strip(), document, all_found)}\n{found[3]}"

    text = document.read_text()
    return MARKED.sub(part, with_sections(text, all_found) if index else text)


def _part(name: str, document: Path, all_found: list[Measurements]) -> str:
    if name in PARTS:
        return PARTS[name](all_found, document)
    folder, _, operation = name.partition(" ")
    for found in all_found:
        if found.folder.name == folder and operation in found.operations:
            return by_flow(found, operation)
    known = [f"{one.folder.name} {operation}" for one in all_found for operation in one.operations]
    raise IncompatibleRuns(
        f"{document}: no results are recorded for the marker {name!r}; "
        f"choose from {', '.join([*PARTS, *known])}"
    )


def with_sections(text: str, all_found: list[Measurements]) -> str:
    """A text with a section for every operation of a GPU, the missing ones added.

    They follow the other sections of their GPU, or are at the end.
    """
    for found in all_found:
        for operation in found.operations if found.device != "cpu" else ():
            marker = f"<!-- report: {found.folder.name} {operation} -->"
            if marker in text:
                continue
            section = f"{marker}\n<!-- report: end -->"
            others = [
                match
                for match in MARKED.finditer(text)
                if match[2].startswith(f"{found.folder.name} ")
            ]
            if others:
                end = others[-1].end()
                text = f"{text[:end]}\n\n{section}{text[end:]}"
            else:
                text = f"{text.rstrip()}\n\n## Measured on {found.device}\n\n{section}\n"
    return text
