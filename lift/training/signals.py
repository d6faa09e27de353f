"""Asking a run to stop between two steps: a signal or a time limit."""

import signal
import time


class StopRequest:
    """While entered, SIGTERM and SIGINT are noted instead of ending the process; a second one of a
    kind ends it at once.

    Args:
        max_minutes: the limit, counted from the making of this object; 0 for none.
    """

    def __init__(self, max_minutes: float = 0.0):
        self.deadline = time.monotonic() + 60 * max_minutes if max_minutes else float("inf")
        self.signal: int | None = None

    def __enter__(self) -> "StopRequest":
        self._former = {
            number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame) -> None:
        self.signal = number
        signal.signal(number, self._former[number])

    @property
    def wanted(self) -> bool:
        return self.signal is not None or time.monotonic() >= self.deadline

    @property
    def cause(self) -> str:
        return signal.Signals(self.signal).name if self.signal is not None else "the time limit"
