"""A figure of an ablation: the gain of each variant over the first one, with the spread.

The control is left out: its loss is so large that nothing else would be seen.
"""

from pathlib import Path

from lift.ablation.results import MEAN, rows
from lift.files import atomic

WIDTH, ROW_HEIGHT, MARGIN = 6.4, 0.32, 1.1  # inches


def draw_gains(results: dict, paths: list[Path]) -> bool:
    """Draw a bar for each variant in files, by their suffixes .png and .pdf.

    Args:
        results: what `results.collect` returned.
        paths: of the files.

    Returns:
        Whether there was anything to draw: two variants at least, the first of them trained.
    """
    found = [
        row
        for row in rows(results)
        if row.gains[MEAN] is not None and not row.baseline and not row.shuffled
    ]
    if not found:
        return False
    from matplotlib.figure import Figure

    first = next(e["variant"] for e in results["methods"] if e["trained"])
    figure = Figure((WIDTH, MARGIN + ROW_HEIGHT * len(found)), layout="constrained")
    axes = figure.subplots()
    gains = [row.gains[MEAN] for row in found]
    has_spread = all(gain.spread is not None for gain in gains)
    axes.barh(
        [f"{row.variant} ({row.context_frames})" for row in found],
        [gain.mean for gain in gains],
        xerr=[gain.spread for gain in gains] if has_spread else None,
        color=["C0" if row.seeds else "C1" for row in found],
        error_kw={"capsize": 3, "elinewidth": 1},
    )
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)
    spread = "; lines: half the range over seeds" if has_spread else ""
    axes.set_xlabel(f"PSNR gain over {first}, dB{spread}")
    for path in paths:
        with atomic(path) as part:
            figure.savefig(part, dpi=150, format=path.suffix.removeprefix("."))
    return True
