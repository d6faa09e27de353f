"""Compiles the CUDA kernels of `csrc/` into the library `kernels/_cuda.so`, by nvcc and ninja.

It is separate from the C++ module, which works without it. Loading it defines the operations of
`torch.ops.lift_cuda`. It includes CUDA's runtime, needs a torch built for CUDA, and works with
every torch from 2.11 on whose CUDA has the same major version.
"""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lift.kernels.extension.build import (
    REMEDY,
    SOURCES,
    TORCH_TARGET,
    escaped,
    hash_of,
    is_cuda_source,
    object_of,
    quoted,
    run_ninja,
)
from lift.kernels.extension.folders import (
    PACKAGE,
    build_folder,
    check_writable,
    destination,
    existing,
    record_as_installed,
)
from lift.kernels.extension.requirements import BuildError, Requirements, jobs, requirements

LIBRARY = PACKAGE / "_cuda.so"  # beside it, in _cuda.json, how it was built

# Compute capabilities from Turing to Blackwell. Newer GPUs run the code for the last one, as PTX.
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)

# The compiler on PyPI. All parts are named, because nvcc depends on any version of nvvm and crt.
TOOLKIT = "cuda-toolkit[nvcc,nvvm,crt,cudart,cccl]"
HOST = ["-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
DEVICE = ["-std=c++17", "-O3", "-Xcompiler", "-fPIC,-fvisibility=hidden"]

# Source lines for profilers and resource usage for the log; the code is the same.
DIAGNOSTICS = ["-lineinfo", "-Xptxas", "-v"]


@dataclass(frozen=True)
class Compiler:
    """An nvcc and its CUDA version, such as "13.0"."""

    nvcc: Path
    version: str

    @property
    def libraries(self) -> Path:
        """The folder of CUDA's runtime. It is lib in PyPI's packages, where nvcc does not look."""
        root = self.nvcc.resolve().parent.parent
        folders = (root / "lib64", root / "lib")
        return next((folder for folder in folders if folder.is_dir()), root / "lib")


def cuda_sources() -> list[Path]:
    """What is compiled and linked: CUDA and C++ sources in folders named cuda."""
    sources = [*SOURCES.rglob("*.cu"), *SOURCES.rglob("*.cpp")]
    return sorted(filter(is_cuda_source, sources))


def fingerprint() -> str:
    """A hash of the sources and headers that the library is built from."""
    return hash_of([*cuda_sources(), *SOURCES.rglob("*.h")])


def torch_cuda_version(torch: Path) -> str | None:
    """The CUDA version that torch was built for, such as "13.0"; None for a CPU build.

    It is read from torch's files, because an import takes seconds.
    """
    found = re.search(
        r"^cuda\b[^=]*=\s*['\"]([\d.]+)['\"]", (torch / "version.py").read_text(), re.MULTILINE
    )
    return found.group(1) if found else None


# -- the compiler ----------------------------------------------------------------------------------


def find_compiler(version: str | None) -> Compiler:
    """The nvcc for a CUDA version: the system's, else the one of PyPI's cuda-toolkit.

    Args:
        version: the CUDA version of torch, of which the major version must match; None: any.

    Raises:
        BuildError: there is none; the message names those of other versions.
    """
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    candidates = [Path(home) / "bin" / "nvcc"] if home else []
    candidates += [Path(found)] if (found := shutil.which("nvcc")) else []
    candidates += [Path("/usr/local/cuda/bin/nvcc"), *_nvccs_from_pypi()]
    others = []
    for nvcc in candidates:
        release = _release(nvcc)
        if release is None:
            continue
        if version is None or release.split(".")[0] == version.split(".")[0]:
            return Compiler(nvcc, release)
        others.append(f"{nvcc} is of CUDA {release}")
    wanted = f"CUDA {version}, which torch was built for, " if version else "any CUDA "
    found = f" ({'; '.join(others)})" if others else ""
    package = f"{TOOLKIT}=={version}.*" if version else TOOLKIT
    raise BuildError(f'no nvcc of {wanted}was found{found}; install one: pip install "{package}"')


def _nvccs_from_pypi() -> list[Path]:
    folders = [Path(entry) for entry in sys.path if entry]
    return [
        nvcc
        for folder in folders
        for nvcc in sorted(folder.glob("nvidia/cu*/bin/nvcc"), reverse=True)
    ]


def _release(nvcc: Path) -> str | None:
    command = [nvcc, "--version"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"release (\d+\.\d+)", output)
    return found.group(1) if found else None


def install_compiler(version: str) -> None:
    """Install the nvcc of a CUDA version beside torch, by pip.

    Raises:
        BuildError: pip fails.
    """
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    command = [*pip, f"{TOOLKIT}=={version}.*"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        why = (result.stderr.strip() or "pip failed").splitlines()[-1]
        raise BuildError(f"nvcc of CUDA {version} could not be installed from PyPI: {why}")


# -- the GPUs --------------------------------------------------------------------------------------


def gpu_architectures() -> list[int]:
    """Compute capabilities of this machine's GPUs, 89 for 8.9: by nvidia-smi, else by torch."""
    by_nvidia_smi = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    return _capabilities(by_nvidia_smi) or _capabilities([sys.executable, "-c", BY_TORCH])


# Run in another process: a build needs neither torch in memory nor a CUDA context.
BY_TORCH = (
    "import torch; [print('%d.%d' % torch.cuda.get_device_capability(i))"
    " for i in range(torch.cuda.device_count())]"
)


def _capabilities(command: list) -> list[int]:
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    numbers = re.findall(r"^\d+\.\d+$", output, re.MULTILINE)
    return sorted({int(number.replace(".", "")) for number in numbers})


# -- building --------------------------------------------------------------------------------------


def build(
    library: Path | None = None, architectures: list[int] | None = None, verbose: bool = False
) -> str:
    """Compile and link what changed since the last build.

    Args:
        library: the file to write; None for the place where it is loaded from. How it was built is
            recorded in a .json file beside it.
        architectures: compute capabilities such as 89. None: those of the GPUs present that are
            supported, or all supported ones where there is no GPU.
        verbose: show every command.

    Returns:
        A line that describes the build.

    Raises:
        BuildError: an architecture is not supported, there is no nvcc, ninja or torch, or nvcc
            fails, or the library cannot be written. It is then unchanged.
    """
    oldest = ARCHITECTURES[0]
    requested = gpu_architectures() if architectures is None else architectures
    targets = sorted({gpu for gpu in requested or ARCHITECTURES if gpu >= oldest})
    if not targets or (architectures and min(architectures) < oldest):
        major, minor = divmod(min(requested), 10)
        raise BuildError(
            f"LIFT's CUDA kernels need compute capability 7.5 or newer, got {major}.{minor}"
        )
    library = destination(LIBRARY, fingerprint) if library is None else library
    needed = requirements()
    compiler = find_compiler(torch_cuda_version(needed.torch))
    check_writable(library.parent)
    threads = min(jobs(), len(targets))  # of nvcc, which compiles for several architectures
    with build_folder("cuda") as folder:
        run_ninja(
            _rules(needed, compiler, targets, threads, folder / library.name),
            folder=folder,
            output=library,
            ninja=needed.ninja,
            verbose=verbose,
            parallel=jobs() // threads,
            failure=f"the CUDA kernels could not be compiled with {compiler.nvcc} "
            f"of CUDA {compiler.version}",
        )
    record = {
        "sources": fingerprint(),
        "cuda": compiler.version,
        "architectures": targets,
        "nvcc": str(compiler.nvcc),
    }
    library.with_suffix(".json").write_text(json.dumps(record) + "\n")
    record_as_installed(library, library.with_suffix(".json"))
    return describe(record)


def describe(record: dict) -> str:
    """A line that describes a build."""
    architectures = ", ".join(f"sm_{a}" for a in record["architectures"])
    return f"nvcc {record['cuda']} ({record['nvcc']}), for {architectures}"


def _rules(
    needed: Requirements, compiler: Compiler, architectures: list[int], threads: int, output: Path
) -> str:
    """The text of build.ninja."""
    nvcc = [str(compiler.nvcc), "-ccbin", needed.compiler[0]]
    codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    newest = architectures[-1]
    codes.append(f"-gencode=arch=compute_{newest},code=compute_{newest}")  # PTX for newer GPUs
    device = [*nvcc, *DEVICE, *DIAGNOSTICS, *codes]
    if threads > 1:
        device += ["--threads", str(threads)]
    target = f"-DTORCH_TARGET_VERSION={TORCH_TARGET}"
    host = [*needed.compiler, *HOST, target, "-isystem", str(needed.torch / "include")]
    folder = needed.torch / "lib"
    # No rpath: torch has loaded its libraries when this one is loaded. Streams are in libtorch_cuda
    # or, where the torch at build time has none, are found through libtorch.
    on_cuda = ["-ltorch_cuda"] if (folder / "libtorch_cuda.so").is_file() else []
    link = [*nvcc, "-shared", "-cudart", "static", f"-L{compiler.libraries}"]
    libraries = [f"-L{folder}", "-Xlinker", "--no-as-needed", "-ltorch", "-ltorch_cpu", *on_cuda]
    lines = ["ninja_required_version = 1.5", ""]
    for rule, command in (("device", device), ("host", host)):
        lines += [
            f"rule {rule}",
            f"  command = {quoted(command)} -MMD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "",
        ]
    lines += ["rule link", f"  command = {quoted(link)} $in {quoted(libraries)} -o $out", ""]
    objects = []
    for source in cuda_sources():
        rule = "device" if source.suffix == ".cu" else "host"
        objects.append(escaped(object_of(source)))
        lines.append(f"build {objects[-1]}: {rule} {escaped(source)}")
    output = escaped(output)
    return "\n".join([*lines, f"build {output}: link {' '.join(objects)}", f"default {output}", ""])


# -- loading ---------------------------------------------------------------------------------------


def load(cuda: str | None) -> tuple[dict | None, str | None]:
    """Load the library, which defines `torch.ops.lift_cuda`.

    Args:
        cuda: the CUDA version of the torch that is loaded; None for a CPU build.

    Returns:
        The record of the build and None; or None and a clause that says why it is not loaded.
    """
    if cuda is None:
        return None, "torch here is built for the CPU only"
    library = existing(LIBRARY, fingerprint)
    if not library.is_file() or not library.with_suffix(".json").is_file():
        return None, f"the CUDA kernels are not built; {REMEDY}"
    record = json.loads(library.with_suffix(".json").read_text())
    if SOURCES.is_dir() and record["sources"] != fingerprint():
        reason = "the CUDA kernels were built from other sources than those in csrc"
        return None, f"{reason}; {REMEDY} again"
    if record["cuda"].split(".")[0] != cuda.split(".")[0]:
        reason = f"the CUDA kernels were built with CUDA {record['cuda']}, torch with {cuda}"
        return None, f"{reason}; {REMEDY} again"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        reason = f"the CUDA kernels do not load ({str(error).splitlines()[0]})"
        return None, f"{reason}; {REMEDY} again"
    return record, None


# Run in another process, because this one may have loaded an older library already.
LOAD_PROGRAM = (
    "from lift.kernels.ops.grid_sample import cuda; print(cuda.unsupported_reason() or '')"
)


def load_error() -> str | None:
    """Why the library cannot be used here; None where it can."""
    command = [sys.executable, "-c", LOAD_PROGRAM]
    result = subprocess.run(command, capture_output=True, text=True)
    lines = (result.stderr if result.returncode else result.stdout).strip().splitlines()
    if lines:
        return lines[-1]
    return f"Python exited with code {result.returncode}" if result.returncode else None


def supports(record: dict, capability: tuple[int, int]) -> bool:
    """Whether a build has code for a GPU.

    It has machine code for GPUs of the same major version that are not older, and PTX, which the
    driver compiles, for those that are newer than all it was built for.
    """
    gpu = 10 * capability[0] + capability[1]
    built = record["architectures"]
    return gpu >= max(built) or any(a // 10 == capability[0] and a <= gpu for a in built)
