"""Logging of a run: TensorBoard, curve.csv for plots, train.log, and progress on stderr.

A log that cannot be written costs no step: training goes on with one warning, and what waits is
written when the disk allows it.
"""

import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from lift.config import Config, values
from lift.training.append_file import AppendFile
from lift.training.curve_file import CurveFile
from lift.training.event_file import EventFile
from lift.training.wandb_run import WandbRun

if TYPE_CHECKING:
    from lift.training.validate import Validation

NAMES = ("loss", "psnr", "lr")  # of the plain lines
SILENCE = 30.0  # seconds, after which there is a line before the next log entry


class RunLogger:
    """Writes the logs of a run, and shows its progress on stderr: a bar in a terminal, else lines.

    Args:
        output: the run's folder.
        step: where the run starts; entries of later steps, left by a killed run, are dropped.
        total_steps: for the progress.
        config: of the run, for TensorBoard and Weights & Biases; neither gets it if None.
    """

    def __init__(self, output: Path, step: int, total_steps: int, config: Config | None = None):
        self.total_steps, self._step = total_steps, step
        self._logged = step, time.monotonic()  # the last line
        self._paced_from = self._logged
        self.bar = tqdm(
            total=total_steps,
            initial=step,
            unit="step",
            dynamic_ncols=True,
            smoothing=0.05,
            mininterval=0.5,
            disable=not sys.stderr.isatty(),
        )
        self._log = AppendFile(output / "train.log", self._warn)
        self._curve = CurveFile(output / "curve.csv", step, self.message)
        self._board = EventFile(output / "tensorboard", step, self.message)
        self._wandb = None
        if config is not None and config.train.wandb:
            self._wandb = WandbRun(config.train.wandb, output, config)
        if config is not None and step == 0:
            self._board.settings("config", *_as_table(config))

    def advance(self, step: int, scalars: dict[str, float]) -> None:
        """Show that a step has ended: on the progress bar, or as a line after a long silence."""
        shown = {"loss": f"{scalars['loss']:.4f}", "psnr": f"{scalars['psnr']:.2f}"}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(step - self._step)
        self._step = step
        if self.bar.disable and time.monotonic() > self._logged[1] + SILENCE:
            self._plain_line(step, scalars)

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """One row of the table and one point of each curve."""
        self._curve.write(step, scalars)
        points = {_tag(name): value for name, value in scalars.items()}
        for name, value in points.items():
            self._board.scalar(name, value, step)
        if self._wandb:
            self._wandb.log(points, step)
        if "loss" in scalars:
            self._plain_line(step, scalars)

    def process_memory(self, gigabytes: float, step: int) -> None:
        """Memory of the process, which differs from run to run: for TensorBoard alone."""
        self._board.scalar("train/process_memory_gb", gigabytes, step)

    def validation(self, step: int, validation: "Validation") -> None:
        """Pictures and the distribution of attention of a validation."""
        for number, picture in validation.pictures:
            self._board.image(f"validation/clip_{number}", picture, step)
            if self._wandb:
                self._wandb.picture(f"validation/clip_{number}", picture, step)
        for offset, weights in sorted(validation.attention.items()):
            self._board.histogram(f"attention_weights/{offset:+d}", weights, step)

    def _plain_line(self, step: int, scalars: dict[str, float]) -> None:
        now = time.monotonic()
        # Two lines can come at once: the step before is read late. They have one pace.
        if step > self._logged[0] + 1 or now > self._logged[1] + 1:
            self._paced_from = self._logged
        before, then = self._paced_from
        self._logged = step, now
        pace = (now - then) / max(1, step - before)
        shown = "  ".join(f"{n} {scalars[n]:.4g}" for n in NAMES if n in scalars)
        left = timedelta(seconds=round(pace * (self.total_steps - step)))
        line = f"step {step} of {self.total_steps}  {shown}  {pace:.3g} s/step  ETA {left}"
        self._write_line(line)
        if self.bar.disable:
            print(line, file=sys.stderr, flush=True)

    def message(self, line: str) -> None:
        """A line on stderr, above the progress bar, and in train.log."""
        self._write_line(line)
        self._warn(line)

    def _write_line(self, line: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        self._log.append(f"{stamp}  {line}\n".encode())

    def _warn(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        self.bar.close()
        self._board.close()
        self._curve.close()
        self._log.close()
        if self._wandb:
            self._wandb.close()


class NullLogger:
    """Logger of the processes that write nothing."""

    def advance(self, step: int, scalars: dict[str, float]) -> None: ...
    def write(self, step: int, scalars: dict[str, float]) -> None: ...
    def process_memory(self, gigabytes: float, step: int) -> None: ...
    def validation(self, step: int, validation: "Validation") -> None: ...
    def message(self, line: str) -> None: ...
    def close(self) -> None: ...


def _tag(name: str) -> str:
    group = "validation/" if name.startswith("val_") else "" if "/" in name else "train/"
    return group + name.removeprefix("val_")


def _as_table(config: Config) -> tuple[dict[str, object], str]:
    """All settings by name, and the same as a table in Markdown."""
    plain = values.to_plain(config)
    flat = {"kernels": plain.pop("kernels")}
    for section, settings in plain.items():
        flat |= {f"{section}.{name}": value for name, value in settings.items()}
    rows = [f"| {name} | {value} |" for name, value in flat.items()]
    return flat, "\n".join(["| setting | value |", "|---|---|", *rows])
