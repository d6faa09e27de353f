"""How far a run is: a bar for people, or lines of JSON for programs."""

import json
import sys
import time
from typing import TextIO

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

            self._bar = tqdm(
                total=total, initial=finished, desc=self.name, unit="frame", file=self._stream
            )

    def update(self, frames: int = 1) -> None:
        """Count frames."""
        self.count += frames
        if self._bar is not None:
            self._bar.update(frames)
        elif self.form == "json" and time.monotonic() - self._last >= INTERVAL:
            self._last = time.monotonic()
            self.event("progress", **self._state())

    def event(self, kind: str, **values) -> None:
        """A line of JSON, where that is the form."""
        if self.form == "json":
            print(json.dumps({"event": kind, **values}), file=self._stream, flush=True)

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
        if self._bar is not None:
            if self.total is not None and self.count != self.total:
                self._bar.total = self.count  # the total was an estimate
                self._bar.refresh()
        elif self.form == "json":
            self.event("progress", **self._state())

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()
