"""Rows of an unfinished evaluation, on disk: one JSON line a sample, whoever scores it.

A folder holds `evaluation.json`, what the rows are of, and a file of rows for each process. A
process appends to its own file, flushes each row, and reads all files; so a killed evaluation
resumes with any number of processes, on any machines that share the folder.
"""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from lift.errors import LiftError
from lift.files import atomic, write_error

IDENTITY = "evaluation.json"


class RowStore:
    """The rows of one evaluation.

    Args:
        folder: made with the first row.
        identity: what rows depend on, JSON-able; see `lift.evaluation.summary.identity`.
        part: name of this process's file; two processes at one time need two.
    """

    def __init__(self, folder: str | Path, identity: dict, part: str = "1-of-1"):
        self.folder, self.identity = Path(folder), identity
        self._path, self._file = self.folder / f"rows-{part}.jsonl", None

    def exists(self) -> bool:
        """Whether an evaluation has begun and is not finished."""
        return (self.folder / IDENTITY).is_file()

    def check(self) -> None:
        """Make sure that rows which are there belong to this evaluation.

        Raises:
            LiftError: they are of another one.
        """
        try:
            stored = json.loads((self.folder / IDENTITY).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except ValueError:
            stored = {}
        check_identity(self.folder, stored, self.identity)

    def read(self) -> dict[str, dict]:
        """The rows of all processes by the name of the sample; torn lines are left out."""
        rows = {}
        for path in sorted(self.folder.glob("rows-*.jsonl")):
            try:
                lines = path.read_bytes().splitlines()
            except FileNotFoundError:  # another process has just finished the evaluation
                continue
            for line in lines:
                try:
                    row = json.loads(line)
                    rows.setdefault(row["sample"], row)
                except (ValueError, TypeError, KeyError):  # the process was killed as it wrote
                    continue
        return rows

    def append(self, row: dict) -> None:
        """Write a row to the disk.

        Raises:
            LiftError: it cannot be written; the rows before it are kept.
        """
        try:
            if self._file is None:
                self._open()
            self._file.write(json.dumps(row).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise write_error(self._path, error) from None

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / IDENTITY).is_file():
            with atomic(self.folder / IDENTITY) as part:
                part.write_text(json.dumps(self.identity, indent=1) + "\n", encoding="utf-8")
        self._file = open(self._path, "ab")  # noqa: SIM115  it stays open from row to row
        with open(self._path, "rb") as written:
            if written.seek(0, os.SEEK_END):
                written.seek(-1, os.SEEK_END)
                if written.read(1) != b"\n":  # a torn line stays alone
                    self._file.write(b"\n")

    def close(self) -> None:
        """Close the file of this process; a row that could not be written is given up."""
        if self._file is not None:
            with suppress(OSError):  # it writes that row again, and the disk is full
                self._file.close()
            self._file = None

    def remove(self) -> None:
        """Remove the rows of all processes."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def check_identity(path: Path, stored: dict, identity: dict) -> None:
    """Make sure that what is at `path` is of this evaluation.

    Raises:
        LiftError: it is of another one.
    """
    others = [name for name in identity if stored.get(name) != identity[name]]
    if others:
        what = f"of an evaluation with other {', '.join(others)}" if stored else "something else"
        raise LiftError(f"{path} is {what}; give another --output, or --restart to replace it")
