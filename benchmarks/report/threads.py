"""The table of whole files: output frames per second, and how long each thread was at work."""

from benchmarks.harness.table import markdown
from benchmarks.report.results import Measurements

STAGES = ("reader", "model", "transfer", "writer", "rest")
HEADS = ("measured on", "frames", "kernels", "frames/s", *STAGES)
NOT_RECORDED = "Not recorded yet ([the command](gpu-validation.md#speed-and-memory))."


def table(all_found: list[Measurements]) -> str:
    """A line for each recorded file and variant; what is missing where there is none.

    Threads work at the same time, so their shares of the run may add up to more than 100 %.
    """
    lines = [
        (found.folder.name, _size(group.shape), name, f"{row['frames_per_second']:.2f}", *shares)
        for found in all_found
        for group in found.operations.get("file", [])
        for name, row in group.rows.items()
        if (shares := _shares(row))
    ]
    return markdown([HEADS, *lines], texts=3) if lines else NOT_RECORDED


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[-1]} × {shape[-2]}"


def _shares(row: dict) -> list[str]:
    """Shares of the whole run; empty where they were not recorded."""
    seconds = row.get("seconds_by_thread")
    return [f"{seconds[stage] / row['median']:.0%}" for stage in STAGES] if seconds else []
