"""Writing files atomically, saying why a file could not be written, and hashing one."""

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lift.errors import LiftError

USUAL_NAME = 40  # bytes that any file system allows in a name

CAUSES = {
    errno.ENOSPC: "the disk is full; free some space or choose another disk",
    errno.EDQUOT: "your quota on this disk is used up; free some space or choose another disk",
    errno.EFBIG: "the file would be larger than this disk allows; free some space "
    "or choose another disk",
    errno.EACCES: "you have no permission to write there; choose another folder",
    errno.EPERM: "you have no permission to write there; choose another folder",
    errno.EROFS: "this place is read-only; choose another folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ENOENT: "its folder cannot be made; choose another folder",
    errno.EEXIST: "a part of the path is a file, not a folder; choose another path",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it on success and deleted after an exception.

    The temporary name keeps the suffix, by which PyAV and OpenCV choose a format, and is no longer
    than the name of `path` unless that is short.

    Raises:
        OSError: the folder cannot be created, or the disk is full; `path` is then unchanged. A
            full disk's error has `path` as its file name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(part_name(path))
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        # write() names no file; errors of PyAV, another class, have theirs
        if type(error) is OSError and error.errno in FULL and error.filename in (None, str(part)):
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def check_folder(path: str | Path) -> None:
    """Raise a LiftError if a folder, which need not exist, can never be written.

    A file is in its place or above it, or there is no permission. A full disk passes.
    """
    path = Path(path)
    existing = next(part for part in (path, *path.absolute().parents) if part.exists())
    if not existing.is_dir():
        raise write_error(path, NotADirectoryError(errno.ENOTDIR, ""))
    if not os.access(existing, os.W_OK | os.X_OK):
        raise write_error(path, PermissionError(errno.EACCES, ""))


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def part_name(path: Path) -> str:
    """A hidden name for an unfinished `path`, unique, with its suffix."""
    end = f".{uuid.uuid4().hex[:8]}.part{path.suffix}"
    room = max(len(os.fsencode(path.name)), USUAL_NAME) - len(os.fsencode(end)) - 1
    stem = os.fsencode(path.stem)[: max(room, 0)]
    return f".{stem.decode('utf-8', 'ignore')}{end}"


def write_error(path: str | Path, error: Exception) -> LiftError:
    """The error, as a sentence with cause and remedy, that `path` could not be written."""
    cause = CAUSES.get(getattr(error, "errno", None))
    if cause is None:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        cause = f"{text}; choose another place, or another container such as .mkv"
    return LiftError(f"{path}: could not be written: {cause}")
