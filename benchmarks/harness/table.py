"""Rows of benchmarks as text tables."""

import itertools
from collections.abc import Sequence

# The facts that identify a case.
CASE = ("operation", "device", "direction", "dtype", "layout", "shape", "flow")
HEAD = (
    "case",
    "variant",
    "ms",
    "spread",
    "GB/s",
    "% of copy",
    "peak memory, MB",
    "saved activations, MB",
    "compile, s",
    "error",
    "speedup over",
)


def table(rows: list[dict]) -> list[tuple[str, ...]]:
    """HEAD and one line per row, the variants of a case together.

    Fused variants have their speedup over the others.
    """
    lines = [HEAD]
    for case, group in itertools.groupby(rows, key=lambda row: " ".join(str(row[k]) for k in CASE)):
        group = list(group)
        for row in group:
            medians = {other["variant"]: other["median"] for other in group if other is not row}
            if baseline := row.get("in_turn_with"):
                medians[baseline["variant"]] = baseline["median"]
            others = [f"{name} {median / row['median']:.2f}x" for name, median in medians.items()]
            lines.append(
                (
                    case,
                    row["variant"],
                    f"{row['median'] * 1e3:.3f}",
                    f"{row['spread']:.0%}",
                    _cell(row["gigabytes_per_second"], ".1f"),
                    _cell(row["share_of_copy_bandwidth"], ".0%"),
                    _cell(row["peak_memory"], ".3g", 1e6),
                    _cell(row["saved_for_backward"], ".3g", 1e6),
                    _cell(row.get("compile_time"), ".1f"),
                    f"{row['error']:.1e}",
                    ", ".join(others) if row["fused"] else "",
                )
            )
    return lines


def _cell(value: float | None, form: str, unit: float = 1) -> str:
    return "-" if value is None else format(value / unit, form)


def aligned(lines: list[tuple[str, ...]]) -> list[str]:
    """A table for a terminal."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def markdown(lines: Sequence[Sequence[str]], texts: int | None = None) -> str:
    """A Markdown table; the first line is the header.

    Args:
        lines: cells.
        texts: columns before the first one that is right-aligned; None: none is.
    """
    texts = len(lines[0]) if texts is None else texts
    rule = ["---"] * texts + ["--:"] * (len(lines[0]) - texts)
    return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:]))


# -- cells -----------------------------------------------------------------------------------------


def cell(value: float | None, form: str, scale: float = 1.0) -> str:
    """A number in a format; "" for None."""
    return "" if value is None else form.format(value * scale)


def significant(value: float | None) -> str:
    """Three significant figures without an exponent; "" for None."""
    return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:#.3g}"
