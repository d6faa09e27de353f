"""Compiles `csrc/cuda` into `kernels/_cuda.so`, with nvcc and ninja, against the torch that is
installed; and says why it could not.

The library is apart from the C++ one, which so works whatever happens here. Loading it defines the
operations of `torch.ops.lift_cuda`. It brings CUDA's runtime along, needs a torch built for CUDA,
and serves every torch from 2.11 on with CUDA of the same major version.
"""

import ctypes
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lift.kernels.extension.build import (
    PACKAGE,
    SOURCES,
    TORCH_TARGET,
    BuildError,
    made_by_ninja,
    path,
    quoted,
    requirements,
    workplace,
)

LIBRARY = PACKAGE / "_cuda.so"
RECORD = PACKAGE / "_cuda.json"  # what the library was built from and for
REMEDY = "build it with `python -m lift.kernels.extension`"
ARCHITECTURES = (
    75,
    80,
    86,
    89,
    90,
    100,
    120,
)  # Turing to Blackwell; code for the last runs on what follows, too
# the compiler as PyPI has it: nvcc alone takes nvvm and crt of any version
TOOLKIT = "cuda-toolkit[nvcc,nvvm,crt,cudart,cccl]"
HOST = ["-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
DEVICE = ["-std=c++17", "-O3", "-Xcompiler", "-fPIC,-fvisibility=hidden"]
DETAILS = [
    "-lineinfo",
    "-Xptxas",
    "-v",
]  # lines for profilers, registers for the log; the same code


@dataclass(frozen=True)
class Compiler:
    """An nvcc, and the CUDA version that it is of, such as "13.0"."""

    nvcc: Path
    version: str

    @property
    def libraries(self) -> Path:
        """Where CUDA's runtime lies, if not where this nvcc looks by itself: PyPI's has it in lib."""
        root = self.nvcc.resolve().parent.parent
        return next(
            (folder for folder in (root / "lib64", root / "lib") if folder.is_dir()), root / "lib"
        )


def fingerprint() -> str:
    """A hash of the sources that the library is built from."""
    digest = hashlib.sha256(TORCH_TARGET.encode())
    for source in sorted([*(SOURCES / "cuda").iterdir(), *SOURCES.glob("*.h")]):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def torch_cuda(torch: Path) -> str | None:
    """The CUDA version that a torch was built for, such as "13.0"; None for a CPU build. Read, not
    imported: that takes seconds.
    """
    found = re.search(
        r"^cuda\b[^=]*=\s*['\"]([\d.]+)['\"]", (torch / "version.py").read_text(), re.MULTILINE
    )
    return found.group(1) if found else None


# -- the compiler ----------------------------------------------------------------------------------


def find_compiler(version: str | None) -> Compiler:
    """An nvcc whose major version is that of torch's CUDA (any, for a torch without): the system's,
    else the one that PyPI's cuda-toolkit has put beside torch.

    Raises:
        BuildError: none fits; the message names those that were found.
    """
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    candidates = [Path(home) / "bin" / "nvcc"] if home else []
    candidates += [Path(found)] if (found := shutil.which("nvcc")) else []
    candidates += [Path("/usr/local/cuda/bin/nvcc"), *_from_pypi()]
    misfits = []
    for nvcc in candidates:
        release = _release(nvcc)
        if release and (version is None or release.split(".")[0] == version.split(".")[0]):
            return Compiler(nvcc, release)
        if release:
            misfits.append(f"{nvcc} is of CUDA {release}")
    wanted = f"CUDA {version}, which torch was built for, " if version else "any CUDA "
    raise BuildError(
        f"no nvcc of {wanted}was found{' (' + '; '.join(misfits) + ')' if misfits else ''}; "
        f'install one: pip install "{TOOLKIT}{f"=={version}.*" if version else ""}"'
    )


def _from_pypi() -> list[Path]:
    return [
        nvcc
        for entry in sys.path
        if entry
        for nvcc in sorted(Path(entry).glob("nvidia/cu*/bin/nvcc"), reverse=True)
    ]


def _release(nvcc: Path) -> str | None:
    try:
        said = subprocess.run(
            [nvcc, "--version"], capture_output=True, text=True, timeout=60
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"release (\d+\.\d+)", said)
    return found.group(1) if found else None


def install_compiler(version: str) -> None:
    """Have pip put the nvcc of this CUDA version beside torch.

    Raises:
        BuildError: pip fails.
    """
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--quiet",
            f"{TOOLKIT}=={version}.*",
        ],
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        why = (ran.stderr.strip() or "pip failed").splitlines()[-1]
        raise BuildError(f"nvcc of CUDA {version} could not be installed from PyPI: {why}")


# -- what to build for -----------------------------------------------------------------------------


def present() -> list[int]:
    """Compute capabilities of this machine's GPUs, 89 for 8.9: by nvidia-smi, else by torch."""
    asked = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    return _capabilities(asked) or _capabilities([sys.executable, "-c", BY_TORCH])


# In a process of its own: a build needs no torch in memory, nor a CUDA context that stays.
BY_TORCH = (
    "import torch; [print('%d.%d' % torch.cuda.get_device_capability(i))"
    " for i in range(torch.cuda.device_count())]"
)


def _capabilities(command: list) -> list[int]:
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    numbers = re.findall(r"^\d+\.\d+$", said, re.MULTILINE)
    return sorted({int(number.replace(".", "")) for number in numbers})


def build(
    library: Path = LIBRARY, architectures: list[int] | None = None, verbose: bool = False
) -> str:
    """Compile and link what changed since the last build.

    Args:
        library: the file to make; what it was built from is written beside it.
        architectures: compute capabilities such as 89; None: those of the cards present that are
            new enough, or all where there is none.
        verbose: show every command.

    Returns:
        A line on what was built.

    Raises:
        BuildError: no compiler that fits, no ninja, no torch, or compiling fails; `library` stays
            as it was.
    """
    asked = present() if architectures is None else architectures
    wanted = sorted({card for card in asked or ARCHITECTURES if card >= ARCHITECTURES[0]})
    if not wanted or (architectures and min(architectures) < ARCHITECTURES[0]):
        raise BuildError(
            f"LIFT's CUDA kernels need compute capability 7.5 or newer, got {min(asked) // 10}.{min(asked) % 10}"
        )
    needed = requirements()
    compiler = find_compiler(torch_cuda(needed.torch))
    with workplace("cuda") as folder:
        made_by_ninja(
            library,
            folder,
            needed,
            _rules(needed, compiler, wanted, folder / library.name),
            verbose,
            f"the CUDA kernels could not be compiled with {compiler.nvcc} of CUDA {compiler.version}",
        )
    record = {
        "sources": fingerprint(),
        "cuda": compiler.version,
        "architectures": wanted,
        "nvcc": str(compiler.nvcc),
    }
    library.with_suffix(".json").write_text(json.dumps(record) + "\n")
    return describe(record)


def describe(record: dict) -> str:
    """A line on a build."""
    return f"nvcc {record['cuda']} ({record['nvcc']}), for " + ", ".join(
        f"sm_{a}" for a in record["architectures"]
    )


def _rules(needed, compiler: Compiler, architectures: list[int], made: Path) -> str:
    """The text of build.ninja."""
    codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    last = architectures[-1]
    codes.append(f"-gencode=arch=compute_{last},code=compute_{last}")  # for what comes after
    device = [str(compiler.nvcc), "-ccbin", needed.compiler[0], *DEVICE, *DETAILS, *codes]
    if len(architectures) > 1:
        device += ["--threads", "0"]  # one for each architecture
    host = [
        *needed.compiler,
        *HOST,
        f"-DTORCH_TARGET_VERSION={TORCH_TARGET}",
        "-isystem",
        str(needed.torch / "include"),
    ]
    folder = needed.torch / "lib"
    # torch's libraries by name alone: it has loaded them when this one is. Streams are
    # libtorch_cuda's, which libtorch stands for.
    on_cuda = ["-ltorch_cuda"] if (folder / "libtorch_cuda.so").is_file() else []
    link = [
        str(compiler.nvcc),
        "-ccbin",
        needed.compiler[0],
        "-shared",
        "-cudart",
        "static",
        f"-L{compiler.libraries}",
    ]
    libraries = [f"-L{folder}", "-Xlinker", "--no-as-needed", "-ltorch", "-ltorch_cpu", *on_cuda]
    rules = {".cu": "device", ".cpp": "host"}
    sources = {
        source: rules[source.suffix]
        for source in sorted((SOURCES / "cuda").iterdir())
        if source.suffix in rules
    }
    objects = " ".join(path(Path(source.stem + ".o")) for source in sources)
    return "\n".join(
        [
            "ninja_required_version = 1.5",
            "",
            "rule device",
            f"  command = {quoted(device)} -MMD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "",
            "rule host",
            f"  command = {quoted(host)} -MMD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "",
            "rule link",
            f"  command = {quoted(link)} $in {quoted(libraries)} -o $out",
            "",
            *(
                f"build {path(Path(source.stem + '.o'))}: {rule} {path(source)}"
                for source, rule in sources.items()
            ),
            f"build {path(made)}: link {objects}",
            f"default {path(made)}",
            "",
        ]
    )


# -- loading ---------------------------------------------------------------------------------------


def load(cuda: str | None) -> tuple[dict | None, str | None]:
    """Define `torch.ops.lift_cuda`: the record of the build, or None and a clause why not.

    Args:
        cuda: the CUDA version of the torch that is loaded, None for a CPU build.
    """
    if cuda is None:
        return None, "torch here is built for the CPU alone"
    if not LIBRARY.is_file() or not RECORD.is_file():
        return None, f"the CUDA kernels are not built; {REMEDY}"
    record = json.loads(RECORD.read_text())
    if SOURCES.is_dir() and record["sources"] != fingerprint():
        return (
            None,
            f"the CUDA kernels were built from other sources than those in csrc; {REMEDY} again",
        )
    if record["cuda"].split(".")[0] != cuda.split(".")[0]:
        return (
            None,
            f"the CUDA kernels were built with CUDA {record['cuda']}, torch with {cuda}; {REMEDY} again",
        )
    try:
        ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        return None, f"the CUDA kernels do not load ({str(error).splitlines()[0]}); {REMEDY} again"
    return record, None


# In a process of its own, as an older library may have defined the operations in this one.
LOAD = "from lift.kernels.ops.grid_sample import cuda; print(cuda.reason() or '')"


def fails_to_load() -> str | None:
    """Why the library cannot be used here; None where it can."""
    ran = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True)
    said = (ran.stdout if ran.returncode == 0 else ran.stderr).strip().splitlines()
    if ran.returncode and not said:
        said = [f"Python ended with {ran.returncode}"]
    return said[-1] if said else None


def serves(record: dict, capability: tuple[int, int]) -> bool:
    """Whether a build has code for a card: of its own architecture, of an older one of the same
    major version, or of any older one to be compiled on the spot, which only the newest has."""
    card = 10 * capability[0] + capability[1]
    built = record["architectures"]
    return card >= max(built) or any(a // 10 == capability[0] and a <= card for a in built)
