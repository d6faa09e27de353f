"""A file that only grows, and that a full disk neither truncates nor leaves half a record in."""

import os
from collections.abc import Callable
from pathlib import Path

from lift.files import write_error

MOST_WAITING = 2**25  # bytes in memory while the disk is full; further records are dropped


class AppendFile:
    """Appends records; one that cannot be written waits in memory for the next attempt.

    Args:
        path: the file, which is created when the first record is written.
        warn: called with a sentence when writing fails for the first time, and again after it
            has worked in between.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]):
        self.path, self._warn = path, warn
        self._file, self._waiting, self._failing = None, b"", False

    def append(self, record: bytes) -> None:
        """Write a record behind the earlier ones, now or as soon as the disk allows it."""
        if len(self._waiting) + len(record) <= MOST_WAITING:
            self._waiting += record
        try:
            self._write()
            self._failing = False
        except OSError as error:
            if not self._failing:
                self._failing = True
                self._warn(
                    f"{write_error(self.path, error)}; training goes on, and writes it later"
                )

    def _write(self) -> None:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115  it stays open
        size = os.fstat(self._file.fileno()).st_size
        rest = memoryview(self._waiting)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            os.ftruncate(self._file.fileno(), size)  # half a record is none
            raise
        self._waiting = b""

    def close(self) -> None:
        """Try once more what is waiting, and close the file."""
        if self._waiting:
            self.append(b"")
        if self._file is not None:
            self._file.close()
