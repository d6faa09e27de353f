"""Compiles the C++ kernels of `csrc/` into the module `lift.kernels._C`, by ninja.

`setup.py` runs this file where PyTorch may be missing, so it imports nothing but the standard
library and its siblings.

One build works with every torch from 2.11 on, for this Python and this kind of processor. The
kernels are compiled for the newest x86-64 level that this machine supports. LIFT_CPU names
another, such as x86-64-v2 for a package that must run everywhere. Only what changed is compiled
again.
"""

import hashlib
import re
import shlex
import subprocess
import sysconfig
from pathlib import Path

from lift.kernels.extension.folders import (
    MODULE,
    SOURCES,
    build_folder,
    check_writable,
    destination,
    record_as_installed,
    replace,
)
from lift.kernels.extension.requirements import (
    BuildError,
    Requirements,
    jobs,
    requirements,
    target_level,
)

REMEDY = "build it with `python -m lift.kernels.extension`"
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


def build(
    module: Path | None = None, verbose: bool = False, needed: Requirements | None = None
) -> Path:
    """Compile and link what changed since the last build.

    Args:
        module: the file to write; None for `lift.kernels._C`, in LIFT_BUILD_DIR if that is set.
        verbose: show every command.
        needed: None to find them.

    Returns:
        The file.

    Raises:
        BuildError: there is no compiler, torch or ninja, the file cannot be written, or the
            compiler fails. The file is then unchanged.
    """
    module = destination(MODULE, fingerprint) if module is None else module
    needed = requirements() if needed is None else needed
    check_writable(module.parent)
    with build_folder() as folder:
        run_ninja(
            _rules(needed, folder / module.name),
            folder=folder,
            output=module,
            ninja=needed.ninja,
            verbose=verbose,
            failure=f"the C++ extension could not be compiled with {shlex.join(needed.compiler)}",
        )
    record_as_installed(module)
    return module


def run_ninja(
    rules: str,
    *,
    folder: Path,
    output: Path,
    ninja: list[str],
    verbose: bool,
    failure: str,
    parallel: int | None = None,
) -> None:
    """Run ninja in a folder and move the file that it builds into place.

    Args:
        rules: the text of build.ninja; they build a file with the name of `output` in `folder`.
        folder: for build.ninja, objects and, unless `verbose`, the compiler's output in build.log.
        output: the file to write.
        ninja: the command that runs ninja.
        verbose: print every command and what it prints.
        failure: the message if ninja fails.
        parallel: commands at once; None for `jobs`.

    Raises:
        BuildError: `failure`, with the compiler's output; `output` is then unchanged.
    """
    parallel = jobs() if parallel is None else parallel
    _check_ninja(ninja)
    command = [*ninja, "-C", str(folder), f"-j{parallel}", "-v" if verbose else "--quiet"]
    pipes = {} if verbose else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        (folder / "build.ninja").write_text(rules)
        result = subprocess.run(command, text=True, **pipes)
        if result.stdout:  # else the log of the last compilation stays
            (folder / "build.log").write_text(result.stdout)
        if result.returncode == 0:
            replace(output, (folder / output.name).read_bytes())
    except OSError as error:
        path = error.filename or output.parent
        raise BuildError(f"{path} cannot be written: {error.strerror}") from None
    if result.returncode:
        details = "" if verbose else ":\n" + _without_resource_usage(result.stdout)
        if parallel > 1 and "Killed" in details:  # by a system that is out of memory
            failure += f" by {parallel} jobs at once; MAX_JOBS=1 takes less memory"
        raise BuildError(failure + details)


def _check_ninja(ninja: list[str]) -> None:
    """Raises BuildError if the command is there and does not run."""
    try:
        broken = subprocess.run([*ninja, "--version"], capture_output=True).returncode != 0
    except OSError:
        broken = True
    if broken:
        raise BuildError(
            f"{shlex.join(ninja)} does not run; "
            "install ninja again: pip install --force-reinstall ninja"
        )


def _without_resource_usage(output: str) -> str:
    """A compiler's output without nvcc's resource usage of the kernels that it did compile."""
    usage = re.compile(r"ptxas info|\s+\d+ bytes (stack frame|spill)")
    return "\n".join(line for line in output.splitlines() if not usage.match(line)).strip()


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
