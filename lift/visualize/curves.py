"""The curves of training runs side by side."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lift.errors import LiftError
from lift.visualize.curve_table import read, read_phases
from lift.visualize.sheet import PAGE, Draw, Row, figure_of, plain_text

POINTS = 50  # of a smoothed curve that are independent, about


@dataclass(frozen=True)
class Panel:
    """A plot of one column of curve.csv.

    Attributes:
        column: its name.
        label: of the axis, with the unit.
        log: whether the axis is logarithmic.
        smooth: whether a moving mean is drawn over the values.
    """

    column: str
    label: str
    log: bool = False
    smooth: bool = True


PANELS = (
    Panel("loss", "training loss", log=True),
    Panel("psnr", "PSNR of training batches, dB"),
    Panel("val_loss", "validation loss", log=True, smooth=False),
    Panel("val_psnr", "validation PSNR, dB", smooth=False),
    Panel("val_ssim", "validation SSIM", smooth=False),
    Panel("gradient_norm", "gradient norm", log=True),
    Panel("lr", "learning rate", log=True, smooth=False),
    Panel("samples_per_second", "samples per second"),
)


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
        label: unique among the runs.
        columns: (steps (n,), values (n,)) of each column that has values.
    """

    label: str
    columns: dict[str, tuple[np.ndarray, np.ndarray]]


def read_runs(paths: list[Path], labels: list[str] | None = None) -> list[Run]:
    """The curves of runs.

    Args:
        paths: output folders of training runs, or tables like their curve.csv; those with a column
            `phase` hold several runs that followed one another.
        labels: as many; by default as much of each path as sets it apart from the others.

    Raises:
        LiftError: a table cannot be read, or there are not as many labels as runs.
    """
    labels = labels or distinct_labels(paths)
    if len(labels) != len(paths):
        raise LiftError(
            f"--labels has {len(labels)} names for {len(paths)} runs; give one for each of --runs"
        )
    return [Run(label, _columns(path)) for path, label in zip(paths, labels, strict=True)]


def distinct_labels(paths: list[Path]) -> list[str]:
    """The last parts of paths, as many as are needed to tell them apart; a number where none do."""
    parts = [(path.parent if path.name == "curve.csv" else path).resolve().parts for path in paths]
    for count in range(1, max(map(len, parts), default=1) + 1):
        labels = ["/".join(part[-count:]) for part in parts]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{path.name} ({i})" for i, path in enumerate(paths, 1)]


def _columns(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    table = path / "curve.csv" if path.is_dir() else path
    rows, start = [], 0.0
    for phase in read_phases(table) if _has_phases(table) else [read(path)]:
        rows += [{**row, "step": start + row["step"]} for row in phase]
        start = rows[-1]["step"]
    names = dict.fromkeys(name for row in rows for name in row if name != "step")
    return {
        name: tuple(np.array([(row["step"], row[name]) for row in rows if name in row]).T)
        for name in names
    }


def _has_phases(table: Path) -> bool:
    try:
        with open(table, newline="", encoding="utf-8", errors="replace") as file:
            return "phase" in next(csv.reader(file), [])
    except (OSError, csv.Error):
        return False


def moving_mean(values: np.ndarray, count: int) -> np.ndarray:
    """Mean of the `count` (odd) values around each; of fewer at the ends, without NaN."""
    known = np.isfinite(values)
    kernel = np.ones(count)
    total = np.convolve(np.where(known, values, 0), kernel, "full")
    number = np.convolve(known, kernel, "full")
    middle = slice(count // 2, count // 2 + len(values))
    with np.errstate(invalid="ignore"):
        return total[middle] / number[middle]


def smoothing(rows: int) -> int:
    """How many values a moving mean spans: odd, 1 for short runs."""
    return rows // POINTS // 2 * 2 + 1


def curves_figure(runs: list[Run]):
    """All columns of `PANELS` that a run has, one plot each, and the legend above.

    Raises:
        LiftError: no run has any of them.
    """
    panels = [p for p in PANELS if any(p.column in run.columns for run in runs)]
    if not panels:
        raise LiftError(
            f"the curves of {', '.join(run.label for run in runs)} have none of the columns "
            f"{', '.join(p.column for p in PANELS)}; give the output folders of training runs"
        )
    legend_lines = -(-len(runs) // 2)
    rows = [Row([_legend(runs)], height=0.16 * legend_lines, above=0.02)]
    for i in range(0, len(panels), 2):
        cells = [_plot(panel, runs) for panel in panels[i : i + 2]]
        rows.append(Row(cells, columns=2, height=1.45, above=0.1, below=0.34, left=0.5, gap=0.6))
    return figure_of(rows, PAGE)


def _style(number: int) -> dict:
    return {"color": f"C{number % 10}", "linestyle": ("-", "--", ":")[number // 10 % 3]}


def _legend(runs: list[Run]) -> Draw:
    def draw(axes) -> None:
        axes.set_axis_off()
        lines = [axes.plot([], [], **_style(i))[0] for i in range(len(runs))]
        labels = [plain_text(run.label) for run in runs]
        axes.legend(lines, labels, loc="center", ncols=min(2, len(runs)), frameon=False)

    return draw


def _plot(panel: Panel, runs: list[Run]) -> Draw:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    def draw(axes) -> None:
        positive = True
        for number, run in enumerate(runs):
            if panel.column not in run.columns:
                continue
            steps, values = run.columns[panel.column]
            positive &= bool((values[np.isfinite(values)] > 0).all())
            count = smoothing(len(values)) if panel.smooth else 1
            marker = "o" if not panel.smooth and len(values) <= POINTS else None
            if count > 1:
                axes.plot(steps, values, **_style(number), alpha=0.25, linewidth=0.5)
            mean = moving_mean(values, count)
            axes.plot(steps, mean, **_style(number), marker=marker, markersize=2.5)
        if panel.log and positive:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("step")
        axes.set_ylabel(panel.label)
        axes.grid(alpha=0.3, linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)

    return draw


def curves_caption(runs: list[Run]) -> str:
    """What the figure shows, with the smoothing of each run."""
    spans = []
    for run in runs:
        steps, values = run.columns.get("loss") or next(iter(run.columns.values()))
        count = smoothing(len(values))
        every = (steps[-1] - steps[0]) / max(len(steps) - 1, 1)
        spans.append(
            f"{run.label}: {count} values, about {count * every:.0f} steps"
            if count > 1
            else f"{run.label}: not smoothed"
        )
    return (
        "Curves of the runs over optimiser steps. Lines are moving means of the training columns, "
        "with the values themselves behind them; validation and learning rate are not smoothed. "
        f"Span of the mean: {'; '.join(spans)}."
    )
