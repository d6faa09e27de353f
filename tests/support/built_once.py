"""Files that are slow to make: the workers of one run make them once."""

import os
from collections.abc import Callable
from pathlib import Path


def built_once(tmp_path_factory, name: str, build: Callable[[Path], object]) -> Path:
    """The folder that `build` filled, by the first worker that asks for this name.

    Args:
        tmp_path_factory: pytest's fixture.
        name: of the folder; one build, one name.
        build: gets the empty folder; if it raises, the next worker tries again.
    """
    import fcntl  # not on Windows

    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # each worker has a folder of its own below it
    folder, complete = base / name, base / f"{name}.complete"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            folder.mkdir(exist_ok=True)
            build(folder)
            complete.touch()
    return folder
