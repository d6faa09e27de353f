"""Steps that are skipped: loss or gradient not finite, or a gradient that explodes.

A skipped step leaves weights and optimiser as they are. One bad batch costs one step; after many
in a row the run stops, because then it is the weights that are bad.
"""

import math
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from lift.config import TrainConfig
from lift.errors import LiftError

WINDOW = 64  # gradient norms whose median is the usual one
ENOUGH = 16  # of them, before a gradient can be called exploding
LAG = 2  # a step's norm is known when the step after the next is launched


class StepGuard:
    """Judges gradient norms by the last ones, and counts skipped steps.

    Everything follows from the numbers of earlier steps, and is part of a checkpoint, so a resumed
    run skips the same steps.

    Args:
        ratio: a gradient explodes if its norm exceeds the median by this factor; 0: never.

    Attributes:
        skipped: steps skipped in the whole run.
        first: the first of those skipped in a row up to now; 0 if the last step was not skipped.
        in_a_row: their number.
        cause: why the last of them was skipped.
    """

    def __init__(self, ratio: float):
        self.ratio, self.cause = ratio, ""
        self.skipped = self.first = self.in_a_row = 0
        self._norms: list[list[float]] = []  # step and norm

    def limit(self, step: int) -> float:
        """The largest gradient norm that the step of this number may have."""
        known = [norm for number, norm in self._norms if number <= step - LAG][-WINDOW:]
        limit = self.ratio * median(known) if len(known) >= ENOUGH else 0.0
        return float(np.float32(limit)) if limit else math.inf  # as the device compares it

    def record(self, step: int, losses: list[float], norm: float, skipped: bool) -> None:
        """Record a step that has ended, in the order of steps."""
        if not skipped:
            self.first = self.in_a_row = 0
            self._norms = [*self._norms[-(WINDOW + LAG) :], [step, norm]]
            return
        self.skipped += 1
        self.in_a_row += 1
        self.first = self.first or step
        if not all(map(math.isfinite, losses)):
            self.cause = "the loss is not finite"
        elif not math.isfinite(norm):
            self.cause = "the gradient is not finite"
        else:
            self.cause = f"the gradient explodes (norm {norm:.3g}, see --spike_ratio)"

    def error(
        self, settings: TrainConfig, autocast: torch.dtype | None, saved: list[Path]
    ) -> LiftError:
        """Why the run stops, and how it may go on.

        Args:
            settings: of the run.
            autocast: dtype of mixed precision, None for full precision.
            saved: its checkpoints, oldest first.
        """
        # The weights before the first skipped step may be what is bad.
        good = [path for path in saved if int(path.name.rpartition("-")[2]) < self.first - 1]
        usual, rate = TrainConfig.lr, settings.lr
        flags = f"--lr {usual if rate > usual else rate / 3:.1g}"
        remedy = f"start again with {flags} and another --output"
        if good:
            remedy = f"resume from the last good checkpoint with --resume {good[-1]} {flags}"
        amp = ", half precision overflowed (--amp off)" if autocast else ""
        return LiftError(
            f"step {self.first} and all since were skipped, {self.in_a_row} in a row: "
            f"{self.cause}, so the learning rate of {rate:g} is too high{amp} or the data has "
            f"broken frames; {remedy}"
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "skipped": self.skipped,
            "first": self.first,
            "in_a_row": self.in_a_row,
            "norms": self._norms,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.skipped, self.first = state["skipped"], state["first"]
        self.in_a_row = state["in_a_row"]
        self._norms = [list(pair) for pair in state["norms"]]
