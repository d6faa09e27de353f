"""Compiles the C++ kernels of `csrc/` into the module `lift.kernels._C`, by ninja.

`setup.py` runs this file where LIFT cannot be imported yet, so it imports nothing of LIFT.

One build works with every torch from 2.11 on, for this Python and this kind of processor. The
kernels are compiled for the newest x86-64 level that this machine supports. LIFT_CPU names
another, such as x86-64-v2 for a package that must run everywhere. Only what changed is compiled
again.
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

# kernels/ of a checkout, lift/kernels/ of an installed LIFT
PACKAGE = Path(__file__).resolve().parent.parent
SOURCES = PACKAGE.parent / "csrc"
MODULE = PACKAGE / ("_C" + sysconfig.get_config_var("EXT_SUFFIX"))
REMEDY = "build it with `python -m lift.kernels.extension`"

# The x86-64 levels, each with the flags that it adds in /proc/cpuinfo. All sources are compiled for
# a level but bindings.cpp, which must run on any machine.
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
    """The extension cannot be built; the text is one sentence with cause and remedy."""


def cpp_sources() -> list[Path]:
    """What is compiled and linked, in this order.

    The bindings come first: of an inline function that several objects have, the linker takes the
    first, which here is the one that runs on any machine.
    """
    sources = [path for path in SOURCES.rglob("*.cpp") if not is_cuda_source(path)]
    return sorted(sources, key=lambda path: (path.name != "bindings.cpp", path))


def is_cuda_source(path: Path) -> bool:
    """Whether a file of csrc/ is in a folder named cuda, which `build_cuda` compiles."""
    return "cuda" in path.relative_to(SOURCES).parts[:-1]


def fingerprint() -> str:
    """A hash of the sources and headers that the module is built from."""
    headers = [path for path in SOURCES.rglob("*.h") if not is_cuda_source(path)]
    return hash_of([*cpp_sources(), *headers])


def hash_of(sources: list[Path]) -> str:
    """A hash of the names and contents of files in csrc/, and of the torch that is targeted."""
    digest = hashlib.sha256(TORCH_TARGET.encode())
    for path in sorted(sources):
        name = path.relative_to(SOURCES).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def build(module: Path = MODULE, verbose: bool = False) -> Path:
    """Compile and link what changed since the last build.

    Args:
        module: the file to write.
        verbose: show every command.

    Returns:
        `module`.

    Raises:
        BuildError: there is no compiler, torch or ninja, or the compiler fails. `module` is then
            unchanged.
    """
    needed = requirements()
    with build_folder() as folder:
        run_ninja(
            _rules(needed, folder / module.name),
            folder=folder,
            output=module,
            ninja=needed.ninja,
            verbose=verbose,
            failure=f"the C++ extension could not be compiled with {shlex.join(needed.compiler)}",
        )
    return module


def run_ninja(
    rules: str, *, folder: Path, output: Path, ninja: list[str], verbose: bool, failure: str
) -> None:
    """Run ninja in a folder and move the file that it builds into place.

    Args:
        rules: the text of build.ninja; they build a file with the name of `output` in `folder`.
        folder: for build.ninja, objects and, unless `verbose`, the compiler's output in build.log.
        output: the file to write.
        ninja: the command that runs ninja.
        verbose: print every command and what it prints.
        failure: the message if ninja fails.

    Raises:
        BuildError: `failure`, with the compiler's output; `output` is then unchanged.
    """
    (folder / "build.ninja").write_text(rules)
    command = [*ninja, "-C", str(folder), "-v" if verbose else "--quiet"]
    pipes = {} if verbose else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    result = subprocess.run(command, text=True, **pipes)
    if result.stdout:  # else the log of the last compilation stays
        (folder / "build.log").write_text(result.stdout)
    if result.returncode:
        details = "" if verbose else ":\n" + _without_resource_usage(result.stdout)
        raise BuildError(failure + details)
    part = output.with_suffix(f".{os.getpid()}.part")
    shutil.copyfile(folder / output.name, part)
    os.replace(part, output)  # processes that have loaded the old file keep it


def _without_resource_usage(output: str) -> str:
    """A compiler's output without nvcc's resource usage of the kernels that it did compile."""
    usage = re.compile(r"ptxas info|\s+\d+ bytes (stack frame|spill)")
    return "\n".join(line for line in output.splitlines() if not usage.match(line)).strip()


# -- requirements ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Requirements:
    """The commands and folders that a build needs."""

    compiler: list[str]
    ninja: list[str]
    torch: Path
    pybind11: Path


def requirements() -> Requirements:
    """The commands and folders of this machine.

    Raises:
        BuildError: one is missing.
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
    spec = importlib.util.find_spec(name)  # an import would take seconds
    if spec is None or not spec.submodule_search_locations:
        raise BuildError(
            f"{title} is not installed for {sys.executable}; install it first: pip install {name}"
        )
    return Path(spec.submodule_search_locations[0])


@contextmanager
def build_folder(name: str = "extension") -> Iterator[Path]:
    """The folder for objects: in build/ of a checkout, where they are kept for the next build; else
    a temporary one.
    """
    if not (SOURCES.parent / "setup.py").is_file():
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    folder = SOURCES.parent / "build" / f"{name}-{sysconfig.get_config_var('SOABI')}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        if fcntl is not None:
            # One build at a time. The system releases the lock when its process ends.
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


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
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    flags = (line.split(":", 1)[1] for line in lines if line.startswith("flags"))
    return set(next(flags, "").split())


# -- ninja -----------------------------------------------------------------------------------------


def _rules(needed: Requirements, output: Path) -> str:
    """The text of build.ninja."""
    level = target_level()
    tuned = [] if level is None else [f"-march={level}"]
    if level == "x86-64-v4":
        tuned.append("-mprefer-vector-width=512")
    target = f"-DTORCH_TARGET_VERSION={TORCH_TARGET}"
    flags = [*FLAGS, target, "-isystem", str(needed.torch / "include")]
    # pybind11's own headers before torch's, which include a pybind11 that in torch 2.11 does not
    # compile for the stable ABI.
    bindings = [
        "-isystem",
        sysconfig.get_paths()["include"],
        "-isystem",
        str(needed.pybind11 / "include"),
        f'-DLIFT_SOURCES="{fingerprint()}"',
        f'-DLIFT_FLAGS="{" ".join([*FLAGS, *tuned])}"',
    ]
    # No rpath: torch has loaded its libraries when the module is imported.
    libraries = [f"-L{needed.torch / 'lib'}", "-ltorch_cpu", "-ltorch"]
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
    for source in cpp_sources():
        objects.append(escaped(object_of(source)))
        more = bindings if source.name == "bindings.cpp" else tuned
        lines += [f"build {objects[-1]}: compile {escaped(source)}", f"  more = {quoted(more)}"]
    output = escaped(output)
    return "\n".join([*lines, f"build {output}: link {' '.join(objects)}", f"default {output}", ""])


def object_of(source: Path) -> Path:
    """The object file of a source, relative to the build folder."""
    return source.relative_to(SOURCES).with_suffix(".o")


def quoted(words: list[str]) -> str:
    """A command for build.ninja."""
    return " ".join(map(shlex.quote, words)).replace("$", "$$")


def escaped(path: Path) -> str:
    """A path for build.ninja."""
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")
