"""Hardware counters that `benchmarks.gpu.counters` recorded, as a table."""

import json
from pathlib import Path

from benchmarks.harness.table import markdown

STALL = "waits for "  # prefix of the counters of stalled warps


def counted(folder: Path) -> list[dict]:
    """The cases of a machine whose hardware counters were recorded."""
    path = folder / "counters.json"
    return json.loads(path.read_text())["cases"] if path.is_file() else []


def longest(kernels: list[dict]) -> dict:
    """The kernel that takes most of the time."""
    return max(kernels, key=lambda kernel: kernel.get("seconds", 0.0))


def stall_reason(kernel: dict) -> str:
    """What the warps of a kernel wait for most; "" if it was not counted."""
    stalls = {
        key.removeprefix(STALL): value for key, value in kernel.items() if key.startswith(STALL)
    }
    return max(stalls, key=stalls.get) if stalls else ""


def table(cases: list[dict]) -> str:
    """One line per kernel, in Markdown."""
    heads = (
        "case",
        "% of roofline",
        "kernel",
        "us",
        "DRAM, MB",
        "DRAM, % of peak",
        "L2 hits",
        "atomic sectors in L2, thousands",
        "L1 requests, thousands",
        "SM, % of peak",
        "occupancy",
        "registers",
        "stall reason",
    )
    lines = [
        (case["case"], f"{case['share']:.0%}", *_cells(kernel))
        for case in cases
        for kernel in case["kernels"]
    ]
    return markdown([heads, *lines], 3)


def _cells(kernel: dict) -> tuple[str, ...]:
    def cell(key: str, form: str, scale: float = 1.0) -> str:
        return form.format(kernel[key] * scale) if key in kernel else ""

    moved = kernel.get("read", 0) + kernel.get("written", 0)
    return (
        f"`{kernel['kernel'][:60]}`",
        cell("seconds", "{:.1f}", 1e6),
        f"{moved * 1e-6:.1f}",
        cell("of DRAM", "{:.0f}%"),
        cell("L2 hits", "{:.0f}%"),
        cell("added in L2", "{:.1f}", 1e-3),
        cell("L1 requests", "{:.1f}", 1e-3),
        cell("of multiprocessors", "{:.0f}%"),
        cell("occupancy", "{:.0f}%"),
        cell("registers", "{:.0f}"),
        stall_reason(kernel),
    )
