"""curve.csv: a row of scalars for every log entry and every validation of a run."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from lift.files import atomic, write_error
from lift.training.append_file import AppendFile

COLUMNS = (
    "step",
    "epoch",
    "lr",
    "loss",
    "laplacian",
    "psnr_loss",
    "census",
    "coarse",
    "cascade",
    "flow",
    "visibility",
    "psnr",
    "gradient_norm",
    "skipped_steps",
    "skipped_samples",
    "samples_per_second",
    "data_wait_per_second",
    "memory_gb",
    "elapsed_seconds",
    "val_loss",
    "val_psnr",
    "val_ssim",
)


class CurveFile:
    """Rows of curve.csv, which are appended to those that are there.

    Args:
        path: of the file.
        step: where the run starts; rows of later steps, left by a killed run, are dropped.
        warn: called with a sentence where the file cannot be written; the rows then wait in memory.
    """

    def __init__(self, path: Path, step: int, warn: Callable[[str], None]):
        self.path, self._warn = path, warn
        self._file = AppendFile(path, warn)
        content = path.read_bytes() if path.is_file() else b""
        kept = _render(_rows_up_to(content, step))
        # While this is not None the file still has to be replaced by it.
        self._replacement: bytes | None = None if content == kept else kept
        if self._replacement is not None:
            self._replace(warned=False)

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Append a row; scalars without a column are left out."""
        row = {name: f"{value:.10g}" for name, value in scalars.items() if name in COLUMNS}
        line = _render([{**row, "step": step}], header=False)
        if self._replacement is None:
            self._file.append(line)
        else:
            self._replacement += line
            self._replace(warned=True)

    def _replace(self, warned: bool) -> None:
        try:
            with atomic(self.path) as part:
                part.write_bytes(self._replacement)
            self._replacement = None
        except OSError as error:
            if not warned:
                self._warn(
                    f"{write_error(self.path, error)}; training goes on, and writes it later"
                )

    def close(self) -> None:
        """Write what is still waiting, if the disk allows it."""
        if self._replacement is not None:
            self._replace(warned=True)
        self._file.close()


def _rows_up_to(content: bytes, step: int) -> list[dict]:
    lines = content.decode("utf-8", "replace").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()  # a kill while it was written
    return [
        row
        for row in csv.DictReader(lines)
        if (row.get("step") or "").isdigit() and int(row["step"]) <= step and None not in row
    ]


def _render(rows: list[dict], header: bool = True) -> bytes:
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, "", extrasaction="ignore", lineterminator="\n")
    if header:
        table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()
