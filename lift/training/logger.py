"""Logging of a run: TensorBoard, curve.csv for plots, a progress bar."""

import csv
import sys
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

COLUMNS = (
    "step",
    "epoch",
    "lr",
    "loss",
    "laplacian",
    "census",
    "coarse",
    "cascade",
    "flow",
    "visibility",
    "psnr",
    "gradient_norm",
    "samples_per_second",
    "elapsed_seconds",
    "val_psnr",
    "val_ssim",
)


class RunLogger:
    """Writes curve.csv and TensorBoard files below `output`, and a progress bar on stderr.

    Args:
        output: the run's folder.
        step: where the run starts; entries of later steps, left by a killed run, are dropped.
        total_steps: for the progress bar.
    """

    def __init__(self, output: Path, step: int, total_steps: int):
        output.mkdir(parents=True, exist_ok=True)
        self.path = output / "curve.csv"
        rows = self._rows_up_to(step)
        self.file = open(self.path, "w", newline="", encoding="utf-8")
        self.table = csv.DictWriter(self.file, COLUMNS, restval="", extrasaction="ignore")
        self.table.writeheader()
        self.table.writerows(rows)
        self.file.flush()
        self.board = SummaryWriter(str(output / "tensorboard"), purge_step=step + 1)
        self.bar = tqdm(
            total=total_steps,
            initial=step,
            unit="step",
            dynamic_ncols=True,
            smoothing=0.05,
            mininterval=0.5 if sys.stderr.isatty() else 30,
        )  # in a log file every refresh is a line

    def _rows_up_to(self, step: int) -> list[dict]:
        if not self.path.is_file() or step == 0:
            return []
        with open(self.path, newline="", encoding="utf-8") as file:
            return [
                row
                for row in csv.DictReader(file)
                if (row.get("step") or "").isdigit()
                and int(row["step"]) <= step
                and set(row) <= set(COLUMNS)
            ]

    def advance(self, loss: float, psnr: float) -> None:
        """One more step on the progress bar."""
        self.bar.set_postfix(loss=f"{loss:.4f}", psnr=f"{psnr:.2f}", refresh=False)
        self.bar.update()

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """One row of the table and one point of each curve."""
        row = {name: f"{value:.10g}" for name, value in scalars.items() if name in COLUMNS}
        self.table.writerow({**row, "step": step})
        self.file.flush()
        for name, value in scalars.items():
            group = "validation/" if name.startswith("val_") else "" if "/" in name else "train/"
            self.board.add_scalar(group + name.removeprefix("val_"), value, step)

    def message(self, line: str) -> None:
        """Print a line above the progress bar."""
        tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        self.bar.close()
        self.board.close()
        self.file.close()


class NullLogger:
    """Logger of the processes that write nothing."""

    def advance(self, loss: float, psnr: float) -> None: ...
    def write(self, step: int, scalars: dict[str, float]) -> None: ...
    def message(self, line: str) -> None: ...
    def close(self) -> None: ...
