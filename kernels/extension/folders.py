"""Where the compiled kernels are: beside the package, or in the folder that LIFT_BUILD_DIR names.

`setup.py` runs this file where PyTorch may be missing, so it imports nothing but the standard
library.
"""

import csv
import importlib.metadata
import io
import os
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lift.kernels.extension.requirements import BuildError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# kernels/ of a checkout, lift/kernels/ of an installed LIFT
PACKAGE = Path(__file__).resolve().parent.parent
SOURCES = PACKAGE.parent / "csrc"
MODULE = PACKAGE / ("_C" + sysconfig.get_config_var("EXT_SUFFIX"))
DISTRIBUTION = "lift-vfi"


def build_dir() -> Path | None:
    """The folder that LIFT_BUILD_DIR names, or None."""
    named = os.environ.get("LIFT_BUILD_DIR", "").strip()
    return Path(named).expanduser().absolute() if named else None


def destination(path: Path, fingerprint: Callable[[], str]) -> Path:
    """Where a file of the package is built: in LIFT_BUILD_DIR if that is set, else at its place.

    Args:
        path: its place in the package.
        fingerprint: of its sources. It names a folder in LIFT_BUILD_DIR, which several versions of
            LIFT can share.
    """
    folder = build_dir()
    return path if folder is None else folder / fingerprint() / path.name


def existing(path: Path, fingerprint: Callable[[], str]) -> Path:
    """The file to load: the one in LIFT_BUILD_DIR if there is one, else that of the package."""
    built = destination(path, fingerprint)
    return built if built.is_file() else path


def check_writable(folder: Path) -> None:
    """Make sure, before anything is compiled, that files can be written in a folder.

    Raises:
        BuildError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # a mode says nothing of a read-only file system
            pass
    except OSError as error:
        named = build_dir()
        if named is not None and folder.is_relative_to(named):
            remedy = "LIFT_BUILD_DIR must name a folder that can"
        else:
            remedy = "set LIFT_BUILD_DIR to a folder that can, here and where LIFT runs"
        raise BuildError(f"{folder} cannot be written ({error.strerror}); {remedy}") from None


@contextmanager
def build_folder(name: str = "extension") -> Iterator[Path]:
    """The folder for objects, for one build at a time.

    It is in LIFT_BUILD_DIR, else in build/ of a checkout, and is kept for the next build. Without
    either, or in a checkout that cannot be written, it is a temporary one.

    Raises:
        BuildError: LIFT_BUILD_DIR cannot be written.
    """
    base = build_dir()
    if base is not None:
        check_writable(base)
    elif (SOURCES.parent / "setup.py").is_file():
        with suppress(BuildError):
            check_writable(SOURCES.parent / "build")
            base = SOURCES.parent / "build"
    if base is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    folder = base / f"{name}-{sysconfig.get_config_var('SOABI')}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        _wait_for(lock, folder)
        yield folder


def _wait_for(lock: io.TextIOBase, folder: Path) -> None:
    """Take a lock, which the system releases when this process ends, however it ends."""
    if fcntl is None:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"lift: another build uses {folder}; this one waits for it", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        pass


def record_as_installed(*paths: Path) -> None:
    """Add files that were built in an installed LIFT to its RECORD, so that pip uninstalls them.

    Nothing happens in a checkout, or where the installation cannot be changed.
    """
    with suppress(importlib.metadata.PackageNotFoundError, OSError):
        distribution = importlib.metadata.distribution(DISTRIBUTION)
        files = distribution.files or []
        record = next((file for file in files if file.name == "RECORD"), None)
        root = Path(distribution.locate_file("")).resolve()
        if record is None or PACKAGE != root / "lift" / "kernels":
            return
        names = [path.relative_to(root).as_posix() for path in paths if path.is_relative_to(root)]
        known = {file.as_posix() for file in files}
        added = io.StringIO()
        rows = [(name, "", "") for name in names if name not in known]
        csv.writer(added, lineterminator="\n").writerows(rows)
        if rows:
            record = Path(record.locate())
            text = record.read_text(encoding="utf-8").rstrip("\n") + "\n" + added.getvalue()
            replace(record, text.encode())


def replace(path: Path, content: bytes) -> None:
    """Write a file at once: processes that have the old one open keep it.

    Raises:
        OSError: it cannot be written; the old one is unchanged.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
