"""A lock on the folder of a run, so that two processes never write one run."""

import contextlib
import os
import socket
from pathlib import Path

from lift.errors import LiftError
from lift.files import check_folder

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing is locked
    fcntl = None

NAME = "lock"


class RunLock:
    """The lock of a run's folder, held until `release` or until the process ends, however it ends.

    It is a record lock, which loading processes do not inherit: after a kill they live for some
    seconds, and the run may be resumed at once. A file system without locks locks nothing.

    Args:
        output: the run's folder.
    """

    def __init__(self, output: Path):
        self.path = output / NAME
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, if the folder exists.

        Raises:
            LiftError: another process has it, whose number and machine the sentence names; or the
                folder can never be written.
        """
        check_folder(self.path.parent)
        if self._file is not None or fcntl is None or not self.path.parent.is_dir():
            return
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # a folder that is read-only, or full: the run itself finds out
            return
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            owner = os.pread(file, 200, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(file)
            raise LiftError(
                f"{self.path.parent} is the output of a run that is in progress ({owner}): "
                "wait for it, stop it, or choose another --output"
            ) from None
        except OSError:  # locks are not supported there
            os.close(file)
            return
        self._file = file

    def name_owner(self) -> None:
        """Write into the file which process has the lock; the folder is created if need be."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self.acquire()
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Let other processes write the run."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
