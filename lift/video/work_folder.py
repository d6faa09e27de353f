"""The hidden folder beside an output where a run keeps its finished parts until they are joined.

It is locked while a process works in it, so that what a killed run left behind is told from the
work of a run that goes on: the system releases the lock when a process ends, however it ends.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from pathlib import Path

from lift.errors import LiftError
from lift.files import atomic, write_error

PREFIX = ".lift-"
NAME = re.compile(r"\.lift-[0-9a-f]{16}")  # of work folders; others belong to somebody else
WAIT, POLL = 1.0, 0.02  # seconds for which a run that looks for leftovers may hold a lock
JOB = "job.json"
LOCK = "lock"


class WorkFolder:
    """The work folder of one output; a context manager.

    When the block ends without an exception the folder is deleted. After one it is deleted too,
    unless the run may be resumed.

    Args:
        target: the output.
        job: what must be equal for finished parts to be used again: the source, the settings, the
            weights. Plain JSON values.
        resume: use the finished parts of an earlier run with an equal job, and keep those of this
            run when it is interrupted.

    Attributes:
        path: the folder.
        notes: sentences on what an earlier run left behind.
        resumed: whether an earlier run's folder is used.

    Raises:
        LiftError: another process works on the same output, or the folder cannot be written.
    """

    def __init__(self, target: Path, job: dict, *, resume: bool = False):
        self.target, self.job, self.resume = target, job, resume
        self.path = folder_of(target)
        self.notes: list[str] = []
        self.resumed = False
        self._lock: int | None = None
        self._made: list[Path] = []  # folders above the output, which did not exist

    def __enter__(self) -> "WorkFolder":
        parent = self.target.parent
        self._made = [each for each in (parent, *parent.parents) if not each.exists()]
        try:
            parent.mkdir(parents=True, exist_ok=True)
            clear_leftovers(parent, but=self.path)
            self._lock = make_locked(self.path)
            if self._lock is None:
                raise LiftError(
                    f"{self.target}: another run is writing this output; wait for it, or choose "
                    "another name"
                )
            self._take_over()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            if isinstance(error, OSError):
                raise write_error(self.target, error) from error
            raise
        return self

    def _take_over(self) -> None:
        """Use what an earlier run left, or delete it."""
        stored = read_job(self.path)
        wanted = json.loads(json.dumps(self.job))
        self.resumed = stored is not None and self.resume and stored["job"] == wanted
        if not self.resumed:
            if stored is not None and self.resume:
                self.notes.append(
                    "an unfinished run with another source or other settings was found; "
                    "this run starts from the beginning"
                )
            self._clear()
        state = {"target": self.target.name, "keep": self.resume, "job": self.job}
        with atomic(self.path / JOB) as part:
            part.write_text(json.dumps(state, indent=1))

    def _clear(self) -> None:
        for file in self.path.iterdir():
            if file.is_dir():
                shutil.rmtree(file)
            elif file.name != LOCK:
                file.unlink()

    def __exit__(self, kind, error, trace) -> None:
        try:
            is_useless = self.path.is_dir() and not any(self.path.glob("part*"))
            if self._lock is not None and (kind is None or not self.resume or is_useless):
                _delete(self.path)
        finally:
            if self._lock is not None:
                os.close(self._lock)
            for folder in (self.path, *self._made):
                with contextlib.suppress(OSError):  # it is used, or another run's
                    folder.rmdir()


def folder_of(target: Path) -> Path:
    """The work folder of an output: hidden, beside it, with a name of fixed length."""
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.with_name(PREFIX + name)


def make_locked(folder: Path) -> int | None:
    """Make a work folder, where it does not exist, and lock it; None where a run has it."""
    end = time.monotonic() + WAIT
    while True:
        with contextlib.suppress(FileExistsError):  # exist_ok fails if it is deleted meanwhile
            folder.mkdir()
        with contextlib.suppress(FileNotFoundError):  # another run deletes it as a leftover
            descriptor = lock(folder)
            if descriptor is not None or time.monotonic() > end:
                return descriptor
        time.sleep(POLL)


def lock(folder: Path) -> int | None:
    """Lock a work folder; the descriptor holds the lock. None where another process has it."""
    path = folder / LOCK
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise FileNotFoundError  # it was deleted in the meantime, and made anew
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def _delete(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:  # a signal; another one is ignored for a while
        shutil.rmtree(folder, ignore_errors=True)
        raise


def read_job(folder: Path) -> dict | None:
    """What the run that made the folder wrote; None where it did not get so far."""
    try:
        state = json.loads((folder / JOB).read_text())
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) and {"job", "keep"} <= state.keys() else None


def clear_leftovers(folder: Path, but: Path | None = None, finished: Path | None = None) -> None:
    """Delete the work folders of killed runs in `folder` that nobody meant to resume.

    Args:
        folder: where outputs stand.
        but: a work folder to leave alone.
        finished: an output that is there, so that its parts are needed no more.
    """
    useless = None if finished is None else folder_of(finished)
    for leftover in folder.glob(PREFIX + "*"):
        if leftover == but or not NAME.fullmatch(leftover.name) or not leftover.is_dir():
            continue
        with contextlib.suppress(OSError):
            descriptor = lock(leftover)
            if descriptor is None:
                continue
            state = read_job(leftover)
            if state is None or not state["keep"] or leftover == useless:
                shutil.rmtree(leftover, ignore_errors=True)
            os.close(descriptor)
