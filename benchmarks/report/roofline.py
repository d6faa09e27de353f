"""Print the roofline: least times on GPUs, measured shares of them, and projections.

    python -m benchmarks.report.roofline [--gpu "RTX 4090"] [--measure] [--results FOLDER]
                                         [--json FILE] [operation ...]

A projection is marked with ~ and assumes that the GPU is used as well as the measured one.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness.old_names import GPU_FLAGS
from benchmarks.harness.registry import OPERATIONS
from benchmarks.harness.table import markdown
from benchmarks.report.gpus import GPUS, Gpu, at_hand, find_gpu
from benchmarks.report.limits import (
    RESULTS,
    Row,
    cases,
    limits,
    measured,
    projected,
    recorded,
)


def across(rows: list[Row]) -> str:
    """Limits or projections in microseconds, one column per GPU.

    A limit that is not bound by memory names what it is bound by; ~ marks a projection.
    """
    gpus = list(dict.fromkeys(row.gpu for row in rows))
    projections = rows[0].kind == "projected"
    lines: dict[tuple, dict[str, str]] = {}
    for row in rows:
        if projections:
            head = (str(row.case), _variant(row), f"{row.basis}, {row.share:.0%}")
            cell = f"~{_microseconds(row.seconds)}"
        else:
            head = (str(row.case), f"{row.case.bytes / 1e6:.3g}")
            cell = _microseconds(row.limit) + ("" if row.by == "memory" else f" ({row.by})")
        lines.setdefault(head, {})[row.gpu] = cell
    heads = ("case", "variant", "projected from, % of roofline") if projections else ("case", "MB")
    cells = [
        [*head, *(found.get(gpu, "measured") for gpu in gpus)] for head, found in lines.items()
    ]
    return markdown([(*heads, *gpus), *cells], len(heads))


def table(rows: list[Row]) -> str:
    """Measured rows, one per line."""
    heads = (
        "case",
        "variant",
        "GPU",
        "bound by",
        "limit, us",
        "measured, us",
        "% of roofline",
        "% of copy",
    )
    cells = [
        (
            str(row.case),
            _variant(row),
            row.gpu,
            row.by,
            _microseconds(row.limit),
            _microseconds(row.seconds),
            f"{row.share:.0%}",
            f"{row.of_copy:.0%}",
        )
        for row in rows
    ]
    return markdown([heads, *cells], 4)


def _variant(row: Row) -> str:
    return " ".join(filter(None, (row.variant, row.layout, row.flow)))


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.3g}" if seconds < 1e-4 else f"{seconds * 1e6:.0f}"


def datasheets(gpus: list[Gpu]) -> str:
    """What each GPU does at most, with its source."""
    heads = (
        "GPU",
        "source",
        "memory, GB/s",
        "float32, TFLOPS",
        "16-bit products",
        "TF32 products",
        "not confirmed",
    )
    cells = [
        (
            gpu.name,
            gpu.source,
            f"{gpu.bandwidth / 1e9:.0f}",
            f"{gpu.fp32 / 1e12:.4g}",
            f"{gpu.tensor / 1e12:.4g}",
            f"{gpu.tf32 / 1e12:.4g}",
            ", ".join(gpu.unchecked),
        )
        for gpu in gpus
    ]
    return markdown([heads, *cells], 2)


# -- the command -----------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Print the limits, the measured rows, and the projections."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report.roofline",
        description="The least time of operations on GPUs.",
    )
    parser.add_argument(
        "operation", nargs="*", help=f"one of {', '.join(OPERATIONS)} (default: all)"
    )
    parser.add_argument(
        "--gpu",
        *GPU_FLAGS,
        action="append",
        help=f"one of {', '.join(gpu.name for gpu in GPUS)}; may be repeated (default: all)",
    )
    parser.add_argument(
        "--measure", action="store_true", help="measure this machine and show it beside the GPUs"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        help="folder of recorded results (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.operation if name not in OPERATIONS]:
        parser.error(f"unknown operation {unknown[0]!r}; choose from {', '.join(OPERATIONS)}")
    if unknown := [name for name in arguments.gpu or [] if find_gpu(name) is None]:
        names = ", ".join(gpu.name for gpu in GPUS)
        parser.error(f"unknown GPU {unknown[0]!r}; choose from {names}")
    gpus = [find_gpu(name) for name in arguments.gpu] if arguments.gpu else list(GPUS)
    rows = _print(arguments, gpus)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0


def _print(arguments, gpus: list[Gpu]) -> list[Row]:
    """Print every table; the rows of all of them."""
    operations = arguments.operation or list(OPERATIONS)
    results = [one for one in recorded(arguments.results) if one.case.operation in operations]
    shown = [*gpus, at_hand()] if arguments.measure else gpus
    print(f"GPUs:\n\n{datasheets(shown)}")
    rows = limits([case for case in cases() if case.operation in operations], shown)
    print(f"\nThe least time, microseconds:\n\n{across(rows)}")
    names = {gpu.name for gpu in gpus}
    found = [row for row in measured(results) if not arguments.gpu or row.gpu in names]
    if found:
        print(f"\nMeasured:\n\n{table(found)}")
    if projections := projected(results, gpus):
        print(
            "\nProjected, not measured (the limit of a GPU over the share of its own limit "
            f"that a measured GPU reached), microseconds:\n\n{across(projections)}"
        )
    else:
        print("\nNothing is projected: no result of a fused kernel on a known GPU is recorded.")
    return rows + found + projections


if __name__ == "__main__":
    sys.exit(main())
