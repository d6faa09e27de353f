"""Steps and epochs of a run, whose epochs may change their length when it is resumed."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class Timeline:
    """Which epoch a step belongs to.

    Attributes:
        epochs: of the whole run.
        epoch_steps: steps of an epoch from `start` on.
        start: the step from which epochs have this length.
        done: epochs before that step, the begun one in part.
    """

    epochs: int
    epoch_steps: int
    start: int = 0
    done: Fraction = Fraction(0)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, at least those before `start`."""
        return self.start + max(0, math.ceil((self.epochs - self.done) * self.epoch_steps))

    def epochs_before(self, step: int) -> int:
        """Whole epochs in the first `step` steps: the number, from 0, of the next step's epoch."""
        return math.floor(self.done + Fraction(step - self.start, self.epoch_steps))

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch ends with the step of this number, counted from 1."""
        return step > 0 and self.epochs_before(step) > self.epochs_before(step - 1)

    def resumed(self, step: int, epochs: int, epoch_steps: int) -> "Timeline":
        """The timeline of a run that goes on after `step` with these settings."""
        if epoch_steps == self.epoch_steps:
            return Timeline(epochs, epoch_steps, self.start, self.done)
        done = self.done + Fraction(step - self.start, self.epoch_steps)
        return Timeline(epochs, epoch_steps, step, done)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers that a checkpoint stores."""
        return {
            "epochs": self.epochs,
            "epoch_steps": self.epoch_steps,
            "start": self.start,
            "done": [self.done.numerator, self.done.denominator],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Timeline":
        """The inverse of `state_dict`."""
        return cls(**{**state, "done": Fraction(*state["done"])})
