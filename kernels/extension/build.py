"""Compiles `csrc/` into the module `lift.kernels._C`, with ninja, against the torch that is
installed.

Stands alone, so that `setup.py` can run it where LIFT cannot be imported yet. One build serves
every torch from 2.11 on, and this Python
and this kind of processor: the kernels are compiled for the newest level of the x86-64 family that
this machine has (LIFT_CPU names another, such as x86-64-v2 for a package that must run everywhere).
Only what changed is compiled again.
"""

import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PACKAGE = (
    Path(__file__).resolve().parent.parent
)  # kernels/ of a checkout, lift/kernels/ of an installed LIFT
SOURCES = PACKAGE.parent / "csrc"
MODULE = PACKAGE / ("_C" + sysconfig.get_config_var("EXT_SUFFIX"))
REMEDY = "build it with `python -m lift.kernels.extension`"

# Everything but bindings.cpp, which is asked on any machine, is compiled for a level; each with
# what it adds, in /proc/cpuinfo's words.
LEVELS = {
    "x86-64": set(),
    "x86-64-v2": {"cx16", "popcnt", "sse4_2", "ssse3"},
    "x86-64-v3": {"abm", "avx2", "bmi1", "bmi2", "f16c", "fma"},
    "x86-64-v4": {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"},
}
FLAGS = [
    "-std=c++20",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-fopenmp-simd",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wall",
    "-Wextra",
]
TORCH_TARGET = "0x020b000000000000"  # the oldest torch that the module must work with: 2.11


class BuildError(Exception):
    """The extension cannot be built here; the text is one sentence with the cause and the remedy."""


def fingerprint() -> str:
    """A hash of what the module is built from, as it lies in csrc/."""
    digest = hashlib.sha256(TORCH_TARGET.encode())
    for path in sorted(SOURCES.iterdir()):
        if path.suffix in (".h", ".cpp"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def build(module: Path = MODULE, verbose: bool = False) -> Path:
    """Compile and link what changed since the last build.

    Args:
        module: the file to make.
        verbose: show every command.

    Returns:
        `module`.

    Raises:
        BuildError: no compiler, no torch, no ninja, or the compiler fails; `module` stays as it
            was.
    """
    needed = requirements()
    with workplace() as folder:
        made_by_ninja(
            module,
            folder,
            needed,
            _rules(needed, folder / module.name),
            verbose,
            f"the C++ extension could not be compiled with {shlex.join(needed.compiler)}",
        )
    return module


def made_by_ninja(
    file: Path, folder: Path, needed: "Requirements", rules: str, verbose: bool, failure: str
) -> None:
    """Follow `rules`, which make a file of this name in `folder`, and put it in place.

    What the compiler prints goes to build.log in `folder`, unless `verbose` shows it.

    Raises:
        BuildError: `failure`, with what the compiler said; `file` stays as it was.
    """
    (folder / "build.ninja").write_text(rules)
    command = [*needed.ninja, "-C", str(folder), "-v" if verbose else "--quiet"]
    pipes = {} if verbose else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    ran = subprocess.run(command, text=True, **pipes)
    if ran.stdout:  # else the log of the last compilation stays
        (folder / "build.log").write_text(ran.stdout)
    if ran.returncode:
        said = "" if verbose else ", which said:\n" + _without_report(ran.stdout)
        raise BuildError(failure + said)
    part = file.with_suffix(f".{os.getpid()}.part")
    shutil.copyfile(folder / file.name, part)
    os.replace(part, file)  # a process that has loaded the old one keeps it


def _without_report(said: str) -> str:
    """What a compiler said, but for what nvcc reports of kernels that it did compile."""
    report = re.compile(r"ptxas info|\s+\d+ bytes (stack frame|spill)")
    return "\n".join(line for line in said.splitlines() if not report.match(line)).strip()


# -- what is needed --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Requirements:
    """Commands and folders that a build uses."""

    compiler: list[str]
    ninja: list[str]
    torch: Path
    pybind11: Path


def requirements() -> Requirements:
    """What is found here to build with.

    Raises:
        BuildError: something is missing.
    """
    torch, pybind11 = _package("torch", "PyTorch"), _package("pybind11", "pybind11")
    ninja = (
        [sys.executable, "-m", "ninja"]
        if importlib.util.find_spec("ninja")
        else [shutil.which("ninja")]
    )
    if ninja[0] is None:
        raise BuildError("ninja was not found; install it: pip install ninja")
    return Requirements(_compiler(), ninja, torch, pybind11)


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


def _package(name: str, title: str) -> Path:
    spec = importlib.util.find_spec(name)  # found, not imported: that takes seconds
    if spec is None or not spec.submodule_search_locations:
        raise BuildError(
            f"{title} is not installed for {sys.executable}; install it first: pip install {name}"
        )
    return Path(spec.submodule_search_locations[0])


@contextmanager
def workplace(name: str = "extension") -> Iterator[Path]:
    """Where objects lie: build/ of a checkout, to compile only what changed the next time; a
    temporary folder elsewhere.
    """
    if (SOURCES.parent / "setup.py").is_file():
        folder = SOURCES.parent / "build" / f"{name}-{sysconfig.get_config_var('SOABI')}"
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "lock", "w") as lock:
            if fcntl is not None:
                fcntl.flock(
                    lock, fcntl.LOCK_EX
                )  # one build at a time; the system ends the lock with its process
            yield folder
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


# -- the processor ---------------------------------------------------------------------------------


def level() -> str | None:
    """The level to compile for: what LIFT_CPU names, else the newest that this processor has; None
    beside the x86-64 family.

    Raises:
        BuildError: LIFT_CPU names no level.
    """
    wanted = os.environ.get("LIFT_CPU")
    if wanted is not None and wanted not in LEVELS:
        raise BuildError(f"LIFT_CPU must be one of {', '.join(LEVELS)}, got {wanted!r}")
    if wanted is not None or platform.machine() not in ("x86_64", "AMD64"):
        return wanted
    has, found = _processor_flags(), "x86-64"
    for name, added in LEVELS.items():
        if not added <= has:
            break
        found = name
    return found


def _processor_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    return set(
        next(
            (line.split(":", 1)[1] for line in text.splitlines() if line.startswith("flags")), ""
        ).split()
    )


# -- ninja -----------------------------------------------------------------------------------------


def _rules(needed: Requirements, made: Path) -> str:
    """The text of build.ninja."""
    chosen = level()
    tuned = (
        []
        if chosen is None
        else [f"-march={chosen}"] + (["-mprefer-vector-width=512"] if chosen == "x86-64-v4" else [])
    )
    flags = [
        *FLAGS,
        f"-DTORCH_TARGET_VERSION={TORCH_TARGET}",
        "-isystem",
        str(needed.torch / "include"),
    ]
    # Ahead of torch's folder, which holds a pybind11 of its own: torch 2.11 refuses that one to
    # code for the stable ABI.
    python = [
        "-isystem",
        sysconfig.get_paths()["include"],
        "-isystem",
        str(needed.pybind11 / "include"),
        f'-DLIFT_SOURCES="{fingerprint()}"',
        f'-DLIFT_FLAGS="{" ".join([*FLAGS, *tuned])}"',
    ]
    libraries = [
        f"-L{needed.torch / 'lib'}",
        "-ltorch_cpu",
        "-ltorch",
    ]  # no path is recorded: torch has loaded them when the module is
    lines = [
        "ninja_required_version = 1.5",
        "",
        f"compiler = {quoted(needed.compiler)}",
        f"flags = {quoted(flags)}",
        f"libraries = {quoted(libraries)}",
        "",
        "rule compile",
        "  command = $compiler $more $flags -MMD -MF $out.d -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "  description = compile $in",
        "",
        "rule link",
        "  command = $compiler -shared $in $libraries -o $out",
        "  description = link $out",
        "",
    ]
    objects = []
    # The bindings first: where an inline function is in several objects the linker takes the first,
    # here the one that runs anywhere.
    for source in sorted(
        SOURCES.glob("*.cpp"), key=lambda path: (path.name != "bindings.cpp", path.name)
    ):
        objects.append(path(Path(source.stem + ".o")))
        more = python if source.name == "bindings.cpp" else tuned
        lines += [f"build {objects[-1]}: compile {path(source)}", f"  more = {quoted(more)}"]
    return "\n".join(
        [*lines, f"build {path(made)}: link {' '.join(objects)}", f"default {path(made)}", ""]
    )


def quoted(words: list[str]) -> str:
    return " ".join(map(shlex.quote, words)).replace("$", "$$")


def path(path: Path) -> str:
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")
