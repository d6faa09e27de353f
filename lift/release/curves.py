"""`python -m lift.release.curves RUN [RUN ...] --output curve.png`: plot the curves of runs."""

import csv
import sys
from pathlib import Path

from lift.config.flags import Parser
from lift.errors import LiftError, run
from lift.files import atomic


def main(argv: list[str]) -> None:
    """Plot training loss and the PSNR of training and validation over the steps."""
    parser = Parser(prog="python -m lift.release.curves", description=__doc__)
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder of a run, or its curve.csv; several are plotted as phases of one training",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("curve.png"),
        metavar="FILE",
        help="the picture (default curve.png)",
    )
    args = parser.parse_args(argv)
    draw([read(path) for path in args.runs], args.output)
    print(f"written: {args.output}")


def read(path: Path) -> list[dict[str, float]]:
    """Rows of a run's curve.csv, without the columns that are empty in a row.

    Raises:
        LiftError: there is no such file, or it is not the table of a run.
    """
    path = path / "curve.csv" if path.is_dir() else path
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [
                {name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        raise LiftError(f"{path}: no such file; give the output folder of a training run") from None
    except (ValueError, UnicodeDecodeError, TypeError, AttributeError):
        rows = []
    if not rows or not all("step" in row for row in rows):
        raise LiftError(
            f"{path}: not the curve.csv of a training run; give the run's output folder"
        )
    return rows


def read_phases(path: Path) -> list[list[dict[str, float]]]:
    """Rows as `read` gives them, of each phase in a table with the column `phase`, in order."""
    phases: dict[str, list[dict[str, float]]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = {
                name: float(value) for name, value in row.items() if value and name != "phase"
            }
            phases.setdefault(row["phase"], []).append(values)
    return list(phases.values())


def draw(phases: list[list[dict[str, float]]], output: Path) -> None:
    """Plot phases side by side on one axis of steps, separated by dotted lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    loss, psnr = figure.subplots(2, sharex=True)
    start = 0.0
    for phase in phases:
        for axis, name, style, color, label in (
            (loss, "loss", "-", "C0", "training loss"),
            (loss, "val_loss", "o-", "C1", "validation clips (EMA weights)"),
            (psnr, "psnr", "-", "C2", "training batches"),
            (psnr, "val_psnr", "o-", "C1", "validation clips (EMA weights)"),
        ):
            points = [(start + row["step"], row[name]) for row in phase if name in row]
            if points:
                axis.plot(
                    *zip(*points, strict=True),
                    style,
                    color=color,
                    label=label if not start else None,
                    markersize=3,
                    linewidth=1,
                )
        start += max(row["step"] for row in phase)
        if phase is not phases[-1]:
            loss.axvline(start, linestyle=":", color="grey")
            psnr.axvline(start, linestyle=":", color="grey")
    loss.set(ylabel="loss", yscale="log")
    psnr.set(ylabel="PSNR, dB", xlabel="step")
    for axis in (loss, psnr):
        axis.grid(alpha=0.3)
        axis.legend(loc="best")
    with atomic(output) as part:
        figure.savefig(part, dpi=110)


if __name__ == "__main__":
    sys.exit(run(main))
