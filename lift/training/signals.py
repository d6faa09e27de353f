"""Stopping a run between two steps: on a signal or at a time limit."""

import os
import signal
import time


class StoppedAtOnce(BaseException):
    """A signal came while nothing could be lost; see `StopRequest.at_once`."""


class StopRequest:
    """Records SIGTERM and SIGINT instead of ending the process, while it is entered.

    A second signal of the same kind ends the process at once.

    Args:
        max_minutes: the time limit, counted from construction; 0 for none.

    Attributes:
        at_once: whether a signal also raises `StoppedAtOnce`, because there is no step whose work
            would be lost. Looking through videos and compiling a model can take minutes.
    """

    def __init__(self, max_minutes: float = 0.0):
        self.deadline = time.monotonic() + 60 * max_minutes if max_minutes else float("inf")
        self.signal: int | None = None
        self.at_once = False
        self._process = os.getpid()  # loading processes inherit the handlers

    def __enter__(self) -> "StopRequest":
        self._former = {
            number: signal.signal(number, self._record)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _record(self, number: int, _frame) -> None:
        self.signal = number
        signal.signal(number, self._former[number])
        if self.at_once and os.getpid() == self._process:
            raise StoppedAtOnce

    @property
    def wanted(self) -> bool:
        """Whether the run should stop after the current step."""
        return self.signal is not None or time.monotonic() >= self.deadline

    @property
    def cause(self) -> str:
        """The signal's name, or the time limit."""
        return signal.Signals(self.signal).name if self.signal is not None else "the time limit"
