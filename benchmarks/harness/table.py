"""The figures of benchmarks as a table for a person."""

import itertools
from collections.abc import Sequence

CASE = (
    "operation",
    "device",
    "direction",
    "dtype",
    "layout",
    "shape",
    "flow",
)  # the facts that say what was timed
HEAD = (
    "case",
    "variant",
    "ms",
    "spread",
    "GB/s",
    "of copy",
    "peak MB",
    "saved MB",
    "compile s",
    "error",
    "times as fast as",
)


def table(rows: list[dict]) -> list[tuple[str, ...]]:
    """HEAD and a line a row, each case's variants together, with how many times as fast as the
    others each fused one is.
    """
    lines = [HEAD]
    for case, group in itertools.groupby(rows, key=lambda row: " ".join(str(row[k]) for k in CASE)):
        group = list(group)
        for row in group:
            medians = {other["variant"]: other["median"] for other in group if other is not row}
            if beside := row.get("in_turn_with"):
                medians[beside["variant"]] = beside["median"]
            others = [f"{name} x{median / row['median']:.2f}" for name, median in medians.items()]
            lines.append(
                (
                    case,
                    row["variant"],
                    f"{row['median'] * 1e3:.3f}",
                    f"{row['spread']:.0%}",
                    _shown(row["gigabytes_per_second"], ".1f"),
                    _shown(row["share_of_copy_bandwidth"], ".0%"),
                    _shown(row["peak_memory"], ".3g", 1e6),
                    _shown(row["saved_for_backward"], ".3g", 1e6),
                    _shown(row.get("compile_time"), ".1f"),
                    f"{row['error']:.1e}",
                    ", ".join(others) if row["fused"] else "",
                )
            )
    return lines


def _shown(value: float | None, form: str, unit: float = 1) -> str:
    return "-" if value is None else format(value / unit, form)


def aligned(lines: list[tuple[str, ...]]) -> list[str]:
    """For a terminal."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def markdown(lines: Sequence[Sequence[str]], texts: int | None = None) -> str:
    """For a page; the first line heads the columns, of which all but the first `texts` (None: none)
    go to the right.
    """
    texts = len(lines[0]) if texts is None else texts
    rule = ["---"] * texts + ["--:"] * (len(lines[0]) - texts)
    return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:]))
