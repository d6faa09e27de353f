"""What a build of the kernels needs of this machine: compiler, ninja, PyTorch's headers, memory.

`setup.py` runs this file where PyTorch may be missing, so it imports nothing but the standard
library.
"""

import importlib.machinery
import importlib.util
import os
import platform
import re
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

OLDEST_TORCH = (2, 11)
MEMORY_PER_JOB = 2**30  # bytes; the largest source takes 0.45 of it

# The x86-64 levels, each with the flags that it adds in /proc/cpuinfo. All sources are compiled for
# a level but bindings.cpp, which must run on any machine.
LEVELS = {
    "x86-64": set(),
    "x86-64-v2": {"cx16", "popcnt", "sse4_2", "ssse3"},
    "x86-64-v3": {"abm", "avx2", "bmi1", "bmi2", "f16c", "fma"},
    "x86-64-v4": {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"},
}


class BuildError(Exception):
    """The extension cannot be built; the text is one sentence with cause and remedy."""


@dataclass(frozen=True)
class Requirements:
    """The commands and folders that a build needs."""

    compiler: list[str]
    ninja: list[str]
    torch: Path
    pybind11: Path


def requirements(more: Sequence[str] = ()) -> Requirements:
    """The commands and folders of this machine.

    Args:
        more: folders to look for packages in after those of sys.path.

    Raises:
        BuildError: one is missing or too old.
    """
    torch, pybind11 = _package("torch", "PyTorch", more), _package("pybind11", "pybind11", more)
    _check_torch(torch)
    ninja = (
        [sys.executable, "-m", "ninja"]
        if importlib.util.find_spec("ninja")
        else [shutil.which("ninja")]
    )
    if ninja[0] is None:
        raise BuildError("ninja was not found; install it: pip install ninja")
    compiler = _compiler()
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.is_file():
        raise BuildError(
            f"{header} was not found; install the headers of Python "
            "(Debian and Ubuntu: sudo apt install python3-dev)"
        )
    return Requirements(compiler, ninja, torch, pybind11)


def _compiler() -> list[str]:
    named = os.environ.get("CXX")
    for candidate in [named] if named else ["c++", "g++", "clang++"]:
        command = shlex.split(candidate)
        if command and shutil.which(command[0]):
            return command
    if named:
        raise BuildError(f"the C++ compiler that CXX names was not found: {named}")
    raise BuildError(
        "no C++ compiler was found; install one (Debian and Ubuntu: sudo apt install g++)"
    )


def _package(name: str, title: str, more: Sequence[str]) -> Path:
    spec = importlib.util.find_spec(name)  # an import would take seconds
    if spec is None and more:
        spec = importlib.machinery.PathFinder.find_spec(name, list(more))
    if spec is None or not spec.submodule_search_locations:
        raise BuildError(
            f"{title} is not installed for {sys.executable}; install it first: pip install {name}"
        )
    return Path(list(spec.submodule_search_locations)[0])


def _check_torch(torch: Path) -> None:
    version = re.search(
        r"^__version__\s*=\s*['\"]((\d+)\.(\d+)[^'\"]*)",
        (torch / "version.py").read_text() if (torch / "version.py").is_file() else "",
        re.MULTILINE,
    )
    if version and (int(version[2]), int(version[3])) < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise BuildError(
            f"PyTorch {version[1]} is too old, LIFT needs {oldest} or newer: "
            f'pip install "torch>={oldest}"'
        )
    header = torch / "include" / "torch" / "csrc" / "stable" / "library.h"
    if not header.is_file():
        raise BuildError(
            f"PyTorch in {torch} has no C++ headers; install a complete one: pip install torch"
        )


# -- jobs ------------------------------------------------------------------------------------------


def jobs() -> int:
    """How many compilers may run at once: MAX_JOBS, else what cores and free memory allow.

    Raises:
        BuildError: MAX_JOBS is no positive integer.
    """
    named = os.environ.get("MAX_JOBS", "").strip()
    if named:
        if not (named.isdecimal() and int(named) > 0):
            raise BuildError(f"MAX_JOBS must be a positive integer, got {named!r}")
        return int(named)
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, _free_memory() // MEMORY_PER_JOB))


def _free_memory() -> int:
    """Bytes that this machine, or the container, has to spare."""
    meminfo = _text("/proc/meminfo")
    available = re.search(r"^MemAvailable:\s*(\d+) kB", meminfo, re.MULTILINE)
    free = 1024 * int(available[1]) if available else sys.maxsize
    limit = _text("/sys/fs/cgroup/memory.max").strip()
    used = _text("/sys/fs/cgroup/memory.current").strip()
    if limit.isdecimal() and used.isdecimal():
        free = min(free, int(limit) - int(used))
    return free


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


# -- the processor ---------------------------------------------------------------------------------


def target_level() -> str | None:
    """The x86-64 level to compile for; None for other processors.

    It is the one that LIFT_CPU names, else the newest that this processor supports.

    Raises:
        BuildError: LIFT_CPU names no level.
    """
    named = os.environ.get("LIFT_CPU")
    if named is not None and named not in LEVELS:
        raise BuildError(f"LIFT_CPU must be one of {', '.join(LEVELS)}, got {named!r}")
    if named is not None or platform.machine() not in ("x86_64", "AMD64"):
        return named
    flags, newest = _processor_flags(), "x86-64"
    for level, added in LEVELS.items():
        if not added <= flags:
            break
        newest = level
    return newest


def _processor_flags() -> set[str]:
    lines = _text("/proc/cpuinfo").splitlines()
    flags = (line.split(":", 1)[1] for line in lines if line.startswith("flags"))
    return set(next(flags, "").split())
