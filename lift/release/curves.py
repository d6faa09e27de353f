"""`python -m lift.release.curves RUN [RUN ...] --output curve.png`: plot the curves of runs."""

import sys
from pathlib import Path

from lift.config.flags import Parser
from lift.errors import run
from lift.files import atomic
from lift.visualize.curve_table import read


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
