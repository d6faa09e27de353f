"""How far a run is: a bar for people, or lines of JSON for programs."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from lift.errors import discard

INTERVAL = 0.5  # seconds between lines of JSON


class Progress:
    """Counts output frames; a context manager.

    Args:
        form: "bar", "json" (one object a line) or "none".
        name: of the input, for the bar.
        stream: where it is written; stderr for the bar and stdout for JSON where None.
    """

    def __init__(self, form: str = "none", name: str = "", stream: TextIO | None = None):
        self.form, self.name = form, name
        self._stream = stream or (sys.stdout if form == "json" else sys.stderr)
        if self._stream is None:  # closed when the process began
            self.form = "none"
        self.total: int | None = None
        self.count = self._finished_before = 0
        self._bar = None

    def start(self, total: int | None, finished: int = 0) -> None:
        """Begin.

        Args:
            total: expected number of output frames, or None.
            finished: frames that an earlier run has made.
        """
        self.total, self.count, self._finished_before = total, finished, finished
        self._began = self._last = time.monotonic()
        if self.form == "bar":
            from tqdm import tqdm

            with self._unless_closed():
                self._bar = tqdm(
                    total=total, initial=finished, desc=self.name, unit="frame", file=self._stream
                )

    def update(self, frames: int = 1) -> None:
        """Count frames."""
        self.count += frames
        if self._bar is not None:
            with self._unless_closed():
                self._bar.update(frames)
        elif self.form == "json" and time.monotonic() - self._last >= INTERVAL:
            self._last = time.monotonic()
            self.event("progress", **self._state())

    def go_back(self, finished: int) -> None:
        """Some frames have to be made again; `finished` are there."""
        self.count = finished
        if self._bar is not None:
            with self._unless_closed():
                self._bar.n = finished
                self._bar.refresh()

    def event(self, kind: str, **values) -> None:
        """A line of JSON, where that is the form."""
        if self.form == "json":
            with self._unless_closed():
                print(json.dumps({"event": kind, **values}), file=self._stream, flush=True)

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """The line of the bar is free for text in this block."""
        if self._bar is None:
            yield
            return
        with self._unless_closed():
            self._bar.clear()
        yield
        with self._unless_closed():
            self._bar.refresh()

    @contextmanager
    def _unless_closed(self) -> Iterator[None]:
        """Write; where the program that reads has ended, nothing is written from then on."""
        try:
            yield
        except (BrokenPipeError, ValueError):
            self.form, self._bar = "none", None
            discard(self._stream)

    def _state(self) -> dict:
        seconds = time.monotonic() - self._began
        rate = (self.count - self._finished_before) / seconds if seconds else 0.0
        left = None
        if self.total is not None and rate:
            left = round(max(self.total - self.count, 0) / rate, 1)
        return {
            "input": self.name,
            "frame": self.count,
            "total": self.total,
            "frames_per_second": round(rate, 3),
            "seconds_left": left,
        }

    def finish(self) -> None:
        """Show that all frames are made."""
        self.total = self.count  # what was known before was an estimate
        if self._bar is not None:
            with self._unless_closed():
                self._bar.total = self.count
                self._bar.refresh()
        elif self.form == "json":
            self.event("progress", **self._state())

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            with self._unless_closed():
                bar.close()
