"""Recorded results as tables and pictures: every figure about speed and memory that the documents
show comes from here.

    python -m benchmarks.report.build [FOLDER ...] [--check]

Each folder below results/ that holds results gets a `report.md` and pictures. Documents get what
stands between their markers, `<!-- report: NAME -->` and `<!-- report: end -->`; NAME is
`machines`, `targets`, `summary`, `projections`, or a folder and an operation, as in `cpu
warp_blend`. A GPU that benchmarks/README.md has no section for gets one at its end. `--check`
writes nothing and fails where what is committed is not what the results give.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.gpu import counters
from benchmarks.harness import compare
from benchmarks.harness.table import markdown
from benchmarks.report import plots, targets
from benchmarks.report.gpus import CARDS, by_copy, named
from benchmarks.report.results import (
    RESULTS,
    Group,
    Measurements,
    Refused,
    Speedup,
    all_measurements,
    measurements,
)
from benchmarks.report.roofline import (
    OPERATIONS,
    Case,
    Limit,
    across,
    cases,
    limit,
    projected,
    recorded,
)

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (ROOT / "README.md", ROOT / "benchmarks" / "README.md")
MARKED = re.compile(r"(<!-- report: (?!end )([^>]+?) -->\n).*?(<!-- report: end -->)", re.DOTALL)
SHAPES = {
    "warp_blend": "shapes are (B, C, H, W)",
    "grid_sample": "shapes are (B, C, H, W), of input and of the result",
    "temporal_attention": "shapes are (B, Tq, Tk, H, W, heads, d, window)",
    "correlation": "shapes are (B, C, H, W, radius)",
}
PICTURES = {
    "speedups": "How many times as fast as each other variant the fused kernels are",
    "roofline": "Bytes a second that each case reached, and what a copy reaches",
    "memory": "Memory that each variant takes",
}
SETS = {
    "memory": "memory sets",
    "float32": "float32 arithmetic sets",
    "special": "exponentials and the like set",
    "products": "products of matrices set",
}
RATE = "_per_second"  # ends the names of what rows tell of themselves by the second
PROJECTED = """Microseconds, each with a ~: a card's limit over the share that the measured card reached of its own. It is what the card
does if it is used as well."""
READING = """Made by `python -m benchmarks.report.build` from the files named here; what is changed by hand is lost. A + behind a commit: files
differed from it. Times are medians; the spread is the distance of the quartiles as a share of the median; behind a speed-up stands what it
is when both times move by half of their spread. What failed its comparison with the reference has no row."""


# -- a machine's report ----------------------------------------------------------------------------


def report(found: Measurements) -> str:
    """All that was measured on a machine, as a page of Markdown."""
    drawn = plots.pictures(found)
    parts = [
        f"# Measured on {found.title}",
        READING,
        "All figures are **measured** unless a table's title says projected.",
        sources(found),
        "## Targets",
        outcomes([found], owed=False, why=True),
    ]
    parts += [f"![{says}]({name}.png)" for name, says in PICTURES.items() if name in drawn]
    for operation, groups in found.operations.items():
        picture = f"speedups_{operation}"
        parts += [
            f"## {operation}",
            *(
                [f"![Speed-ups of {operation}, case by case]({picture}.png)"]
                if picture in drawn
                else []
            ),
            *operation_report(found, operation, groups),
        ]
    if tuned := _tuning(found.folder):
        parts += [
            "## What tuning changed",
            "The same benchmark before and after this card's settings of the attention were found.",
            tuned,
        ]
    if counted := _counted(found.folder):
        parts += [
            "## Hardware counters",
            "Of the cases that are furthest from their limit, each kernel once, with a cold cache (`ncu`).",
            counters.table(counted),
        ]
    if rows := projected(recorded(found.folder), list(CARDS)):
        parts += ["## Projected, not measured", PROJECTED, across(rows)]
    return "\n\n".join(parts) + "\n"


def sources(found: Measurements) -> str:
    """What the figures depend on, a line a file."""
    names = list(dict.fromkeys(name for source in found.sources for name in source.facts))
    lines = [
        (f"`{source.file}`", *(source.facts.get(name, "") for name in names))
        for source in found.sources
    ]
    return markdown([("file", *names), *lines])


def operation_report(found: Measurements, operation: str, groups: list[Group]) -> list[str]:
    """Speed, memory and what else was found of one operation, in Markdown."""
    fixed = {
        name: getattr(groups[0], name)
        for name in ("dtype", "layout")
        if len({getattr(group, name) for group in groups}) == 1
    }
    others = list(dict.fromkeys(other for group in groups for other in group.others))
    rates = sorted(
        {
            name
            for group in groups
            for row in group.rows.values()
            for name in row
            if name.endswith(RATE)
        }
        - {"gigabytes" + RATE}
    )
    card = named(found.device) if operation in OPERATIONS else None
    columns: dict[str, Callable[[Group, str], str]] = {
        "shape": lambda g, v: str(g.shape),
        "direction": lambda g, v: g.direction,
        "dtype": lambda g, v: g.dtype,
        "layout": lambda g, v: g.layout,
        "case": lambda g, v: g.flow,
        "variant": lambda g, v: v,
        "ms": lambda g, v: _rounded(g.rows[v]["median"] * 1e3),
        "spread": lambda g, v: f"{g.rows[v]['spread']:.0%}",
        "GB/s": lambda g, v: _rounded(g.rows[v].get("gigabytes_per_second")),
        "of copy": lambda g, v: _shown(g.rows[v].get("share_of_copy_bandwidth"), "{:.0%}"),
        **(
            {
                "of limit": lambda g, v: (
                    f"{limit(Case(operation, g.direction, g.dtype, g.shape), card).seconds / g.rows[v]['median']:.0%}"
                )
            }
            if card
            else {}
        ),
        **{
            f"{name.removesuffix(RATE)}/s": lambda g, v, name=name: _rounded(g.rows[v].get(name))
            for name in rates
        },
        **{
            f"over {other}": lambda g, v, other=other: _range(g.speedup(v, other))
            for other in others
        },
    }
    subjects = [(group, subject) for group in groups for subject in group.subjects]
    columns = {
        name: cell
        for name, cell in columns.items()
        if name not in fixed and any(cell(*one) for one in subjects)
    }
    speed = markdown(
        [list(columns), *([cell(*one) for cell in columns.values()] for one in subjects)],
        list(columns).index("ms"),
    )
    caption = "; ".join(filter(None, [SHAPES.get(operation), *fixed.values()]))
    return [
        part
        for part in (
            f"Of every row: {caption}." if caption else "",
            speed,
            _memory(groups),
            _notes(groups),
        )
        if part
    ]


def _tuning(folder: Path) -> str:
    """Every row that was measured before and after tuning and whose time differs, in Markdown; ""
    where nothing was tuned.
    """
    before = folder / compare.UNTUNED
    if not before.is_dir():
        return ""
    changes = [
        change
        for change in compare.changes(compare.load(before), compare.load(folder))
        if change.differs and change.case[-1] == "triton"
    ]
    lines = [
        (
            " ".join(map(str, change.case)),
            f"{change.before * 1e3:.3f}",
            f"{change.after * 1e3:.3f}",
            f"{change.speedup:.2f}x",
        )
        for change in changes
    ]
    return (
        markdown([("case", "before, ms", "after, ms", "times as fast"), *lines], 1)
        if lines
        else "No time differs beyond the spread."
    )


def _counted(folder: Path) -> list[dict]:
    """The cases whose hardware counters were read."""
    path = folder / "counters.json"
    return json.loads(path.read_text())["cases"] if path.is_file() else []


def _memory(groups: list[Group]) -> str:
    """Megabytes that each variant keeps for backward and takes at its peak, a line where they are
    the same for every flow.
    """
    variants = list(dict.fromkeys(name for group in groups for name in group.rows))
    keys = {
        key: says
        for key, says in {"saved_for_backward": "kept", "peak_memory": "peak"}.items()
        if any(row.get(key) is not None for group in groups for row in group.rows.values())
    }
    lines: dict[tuple, list[str]] = {}
    for group in groups:
        cells = [
            _shown(group.rows.get(name, {}).get(key), "{:.1f}", 1e-6)
            for key in keys
            for name in variants
        ]
        if any(cells):
            lines.setdefault(
                (str(group.shape), group.direction, group.dtype, group.layout, *cells), []
            ).append(group.flow)
    if not lines:
        return ""
    heads = [
        "shape",
        "direction",
        "dtype",
        "layout",
        "cases",
        *(f"{name}, {says}" for says in keys.values() for name in variants),
    ]
    cells = [
        [*line[:4], ", ".join(dict.fromkeys(flows)), *line[4:]] for line, flows in lines.items()
    ]
    says = "Memory in MB: kept for backward and, where it was measured, the peak (an operation's without its arguments)."
    return f"{says}\n\n{markdown([heads, *cells], 5)}"


def _notes(groups: list[Group]) -> str:
    """What compiling took at most, and the largest error, of each variant."""
    rows: dict[str, list[dict]] = {}
    for group in groups:
        for name, row in group.rows.items():
            rows.setdefault(name, []).append(row)

    def largest(values, form: str) -> str:
        return _shown(max(values, default=None), form)

    cells = [
        (
            name,
            largest(
                (max(row["first_call"] - row["median"], 0) for row in of if row.get("first_call")),
                "{:.2f}",
            ),
            largest((row["error"] for row in of if row.get("error") is not None), "{:.1e}"),
            largest(
                (
                    row["error"] / row["tolerance"]
                    for row in of
                    if row.get("error") is not None and row.get("tolerance")
                ),
                "{:.0%}",
            ),
        )
        for name, of in rows.items()
    ]
    heads = (
        "variant",
        "first call beyond a usual one, at most, s",
        "largest relative error",
        "at most, of what is allowed",
    )
    return markdown([heads, *cells], 1)


# -- what documents show ---------------------------------------------------------------------------


def outcomes(all_found: list[Measurements], owed: bool = True, why: bool = False) -> str:
    """Every target with what was measured of the case that comes out worst, and whether it is met.

    Args:
        owed: also the targets of which nothing was measured.
        why: also what limits a case that misses its target.
    """
    lines = [
        (found.folder.name, one, limited(found, one))
        for found in all_found
        for one in targets.outcomes(found)
    ]
    lines += (
        [
            ("none yet" if one.target.device == "cpu" else "no GPU yet", one, "")
            for one in targets.owed(all_found)
        ]
        if owed
        else []
    )
    cells = []
    for machine, one, limits in lines:
        worst = one.worst
        case = (
            f"{worst.shape} {worst.layout} {worst.direction} {worst.dtype} {worst.flow}"
            if worst
            else ""
        )
        cells.append(
            (
                machine,
                one.target.operation,
                one.target.says,
                one.target.bound,
                one.target.shown(one.figure) if worst else "",
                case,
                one.verdict,
                *((limits,) if why else ()),
            )
        )
    heads = (
        "machine",
        "operation",
        "what",
        "target",
        "measured, at worst",
        "where",
        "verdict",
        *(("what limits it",) if why else ()),
    )
    return markdown([heads, *cells])


def limited(found: Measurements, outcome: targets.Outcome) -> str:
    """What the recorded figures say of why the worst case misses its target; "" where it is met or
    was not measured.
    """
    group = outcome.worst
    if group is None or outcome.verdict == "met":
        return ""
    row = group.rows[(group.fused or group.subjects)[0]]
    says = []
    if group.operation in OPERATIONS and group.dtype in ("float32", "float16", "bfloat16"):
        bound = _bound(found, group, row)
        says.append(f"at {bound.seconds / row['median']:.0%} of its limit, which {SETS[bound.by]}")
    for case in _counted(found.folder):
        if case["operation"] == group.operation:
            kernel = counters.longest(case["kernels"])
            says.append(
                f"in `{kernel['kernel'][:60]}` warps wait for {counters.waits(kernel) or 'nothing that was counted'}"
                + (
                    f", memory is at {kernel['of DRAM']:.0f}% of its peak"
                    if "of DRAM" in kernel
                    else ""
                )
            )
    if stages := _by_stage(row):
        longest = max(stages, key=stages.get)
        says.append(f"{longest} takes {stages[longest] / sum(stages.values()):.0%}")
    return "; ".join(says) or "no profile of it is recorded"


def _by_stage(row: dict) -> dict[str, float]:
    """Seconds of each stage of the model, of a stream or, forward and backward together, of a
    training step; {} where nobody asked.
    """
    stages: dict[str, float] = {}
    parts = row.get("seconds_by_stage") or {}
    for part in (
        parts.values() if any(isinstance(value, dict) for value in parts.values()) else [parts]
    ):
        for stage, seconds in part.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    return stages if sum(stages.values()) else {}


def _bound(found: Measurements, group: Group, row: dict) -> Limit:
    """The least time of a case on the machine: by its datasheet, else by what a copy reached."""
    card = named(found.device) or by_copy(found.device, row["copy_bandwidth"] * 1e9)
    return limit(Case(group.operation, group.direction, group.dtype, group.shape), card)


FACTS = (
    "commit",
    "torch",
    "Triton",
    "CUDA",
    "driver",
    "clock, MHz",
    "memory clock, MHz",
)  # of a machine, in the documents


def machines(all_found: list[Measurements], document: Path) -> str:
    """Every machine with its report and what its figures depend on."""

    def each(found: Measurements, name: str, length: int | None = None) -> str:
        return ", ".join(
            dict.fromkeys(
                source.facts[name][:length] for source in found.sources if name in source.facts
            )
        )

    there = [name for name in FACTS if any(each(found, name) for found in all_found)]
    lines = [
        [
            f"[{found.folder.name}]({_from(document, found.folder)}/report.md)",
            found.title,
            each(found, "recorded", 10),
            *(each(found, name) for name in there),
        ]
        for found in all_found
    ]
    return markdown([("measured on", "machine", "recorded", *there), *lines])


def projections(all_found: list[Measurements], document: Path) -> str:
    """What cards should do that were not measured, of the cases that the roofline shows without
    results.
    """
    shown, rows = set(cases()), [result for found in all_found for result in recorded(found.folder)]
    rows = [
        row
        for row in projected(rows, list(CARDS))
        if row.case in shown and row.flow in ("smooth", "biases", "")
    ]
    return (
        f"{PROJECTED}\n\n{across(rows)}"
        if rows
        else "Nothing is projected: no fused kernel was measured on a GPU."
    )


def by_flow(found: Measurements, operation: str) -> str:
    """Speed-ups of one operation on one machine: a line a shape, layout and direction, a column a
    flow, the variants in one cell.
    """
    groups = found.operations[operation]
    others = list(dict.fromkeys(other for group in groups for other in group.others))
    flows = list(dict.fromkeys(group.flow for group in groups))
    lines: dict[tuple, dict[str, str]] = {}
    for group in groups:
        for subject in group.subjects:
            cell = " / ".join(
                _shown(gain and gain.value, "{:.1f}") or "–"
                for gain in (group.speedup(subject, other) for other in others)
            )
            key = (str(group.shape), group.layout, group.dtype, group.direction, subject)
            lines.setdefault(key, {})[group.flow] = cell
    heads = ["shape", "layout", "dtype", "direction", "variant"]
    kept = [i for i in range(len(heads)) if i in (0, 3) or len({line[i] for line in lines}) > 1]
    table = markdown(
        [
            [*(heads[i] for i in kept), *flows],
            *(
                [*(line[i] for i in kept), *(cells.get(flow, "") for flow in flows)]
                for line, cells in lines.items()
            ),
        ],
        len(kept),
    )
    said = "; ".join(
        filter(
            None,
            [
                f"Times as fast as {' / '.join(others)}, measured on {found.title}",
                SHAPES.get(operation),
            ],
        )
    )
    return f"{said}.\n\n{table}"


def summary(all_found: list[Measurements], document: Path) -> str:
    """The shortest account: of every machine and operation the speed-ups' range, and one picture."""
    lines = []
    for found in all_found:
        for (operation, direction), groups in _fused(found).items():
            gains = {
                other: [
                    gain.value
                    for group in groups
                    if (gain := group.speedup(group.subjects[0], other))
                ]
                for other in dict.fromkeys(other for group in groups for other in group.others)
            }
            over = ", ".join(
                f"{other} {min(of):.1f} to {max(of):.1f} (median {median(of):.1f})"
                for other, of in gains.items()
            )
            lines.append([found.folder.name, f"`{operation}`, {direction}", over, _saving(groups)])
    if not lines:
        return "No speed of a fused kernel is recorded."
    found = next(found for found in all_found if _fused(found))
    folder = _from(document, found.folder)
    return (
        f"{markdown([('measured on', 'operation', 'times as fast as', 'kept for backward'), *lines])}\n\n"
        + f"{machines(all_found, document)}\n\n"
        + f"All cases, spreads, versions and targets: [the report]({folder}/report.md).\n\n"
        + f"![{PICTURES['speedups']}, case by case]({folder}/speedups.png)"
    )


def _fused(found: Measurements) -> dict[tuple[str, str], list[Group]]:
    """The cases of which a fused variant was measured beside others, by operation and direction."""
    fused: dict[tuple[str, str], list[Group]] = {}
    for group in found.groups:
        if group.fused and group.others:
            fused.setdefault((group.operation, group.direction), []).append(group)
    return fused


def _saving(groups: list[Group]) -> str:
    """Bytes that the fused variant keeps for backward as a share of the least and of the most that
    another one keeps.
    """
    shares = [
        group.rows[group.subjects[0]]["saved_for_backward"]
        / group.rows[other]["saved_for_backward"]
        for group in groups
        for other in group.others
        if group.rows.get(other, {}).get("saved_for_backward")
        and group.rows[group.subjects[0]].get("saved_for_backward") is not None
    ]
    if not shares:
        return ""
    low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
    return f"{low} of theirs" if low == high else f"{low} to {high} of theirs"


def _from(document: Path, folder: Path) -> str:
    """The folder as a link of the document has it."""
    return folder.resolve().relative_to(document.resolve().parent).as_posix()


WRITERS = {"machines": machines, "summary": summary, "projections": projections}


def with_sections(text: str, all_found: list[Measurements]) -> str:
    """A document's text with a section for every operation of a GPU that it has none for, at the
    end of the GPU's or of the text.
    """
    for found in all_found:
        for operation in found.operations if found.device != "cpu" else ():
            if f"<!-- report: {found.folder.name} {operation} -->" in text:
                continue
            section = f"<!-- report: {found.folder.name} {operation} -->\n<!-- report: end -->\n"
            others = [
                match
                for match in MARKED.finditer(text)
                if match[2].startswith(f"{found.folder.name} ")
            ]
            if others:
                text = f"{text[: others[-1].end()]}\n\n{section.rstrip()}{text[others[-1].end() :]}"
            else:
                text = f"{text.rstrip()}\n\n## What was measured on {found.device}\n\n{section}"
    return text


def filled(document: Path, all_found: list[Measurements]) -> str:
    """A document with its generated parts as the results give them; that of the benchmarks with a
    section for every GPU.

    Raises:
        Refused: a marker names what there is not.
    """

    def part(match: re.Match) -> str:
        name = match[2].strip()
        if name in WRITERS:
            text = WRITERS[name](all_found, document)
        elif name == "targets":
            text = outcomes(all_found)
        else:
            folder, _, operation = name.partition(" ")
            found = next((one for one in all_found if one.folder.name == folder), None)
            if found is None or operation not in found.operations:
                raise Refused(
                    f"{document}: no results are recorded for the marker {name!r}; there are {', '.join(WRITERS)}, targets and "
                    + ", ".join(
                        f"{one.folder.name} {operation}"
                        for one in all_found
                        for operation in one.operations
                    )
                )
            text = by_flow(found, operation)
        return f"{match[1]}{text}\n{match[3]}"

    text = document.read_text()
    return MARKED.sub(part, with_sections(text, all_found) if document == DOCUMENTS[-1] else text)


# -- cells -----------------------------------------------------------------------------------------


def _rounded(value: float | None) -> str:
    """To three figures, written out."""
    return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def _shown(value: float | None, form: str, scale: float = 1.0) -> str:
    return "" if value is None else form.format(value * scale)


def _range(gain: Speedup | None) -> str:
    return "" if gain is None else f"{gain.value:.2f} ({gain.low:.2f} to {gain.high:.2f})"


# -- the command -----------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Write the reports, the pictures and the documents' generated parts, or check them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report.build",
        description="Tables and pictures of the recorded results.",
    )
    parser.add_argument(
        "folder", nargs="*", type=Path, help="a machine's results (default: all, and the documents)"
    )
    parser.add_argument(
        "--documents",
        action="store_true",
        help="with a folder that lies below results/: the documents too",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; fail where what is committed is not what the results give",
    )
    arguments = parser.parse_args(argv)
    try:
        if arguments.documents and all(
            folder.resolve().parent == RESULTS.resolve() for folder in arguments.folder
        ):
            arguments.folder = []
        all_found = [measurements(folder) for folder in arguments.folder] or all_measurements(
            RESULTS
        )
        texts = {found.folder / "report.md": report(found) for found in all_found}
        texts |= (
            {}
            if arguments.folder
            else {document: filled(document, all_found) for document in DOCUMENTS}
        )
    except Refused as refused:
        print(f"report: error: {refused}", file=sys.stderr)
        return 1
    if arguments.check:
        return _check(all_found, texts)
    for path, text in texts.items():
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {path}")
    for found in all_found:
        if _outdated(found):
            for path in plots.draw(found, found.folder):
                print(f"drew {path}")
        for path in _left_over(found):
            path.unlink()
            print(f"removed {path}")
    return 0


def _check(all_found: list[Measurements], texts: dict[Path, str]) -> int:
    wrong = [path for path, text in texts.items() if not path.is_file() or path.read_text() != text]
    wrong += [path for found in all_found for path in _outdated(found) + _left_over(found)]
    for path in wrong:
        print(
            f"report: error: {path} is not what the recorded results give; run `make report` and commit it",
            file=sys.stderr,
        )
    return 1 if wrong else 0


def _outdated(found: Measurements) -> list[Path]:
    """Pictures that were drawn from other rows, or not at all."""
    paths = [found.folder / f"{name}.png" for name in plots.pictures(found)]
    return [path for path in paths if plots.drawn_from(path) != plots.digest(found)]


def _left_over(found: Measurements) -> list[Path]:
    """Pictures that were once drawn, of what is not recorded any more."""
    drawn = plots.pictures(found)
    return [
        path
        for path in sorted(found.folder.glob("*.png"))
        if path.stem not in drawn and plots.drawn_from(path)
    ]


if __name__ == "__main__":
    sys.exit(main())
