"""The CUDA kernels of grid_sample under compute-sanitizer, without PyTorch in the process.

    python -m benchmarks.gpu.sanitize --tool memcheck|racecheck|initcheck|synccheck [--dry-run]

Builds tests/support/emulated_grid_sample.cpp with nvcc for this machine's GPU, runs every kernel on
small inputs under the tool, and compares the gradients with PyTorch's in float64. Exit code 0: no
error; 1: an error of the tool or a wrong gradient; 6: nvcc, compute-sanitizer or a GPU is missing,
named in the last line. COMPUTE_SANITIZER names the program if it is not on the path. --dry-run
compiles for sm_90 if there is an nvcc, and runs the same inputs emulated on the CPU.
"""

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.gpu.grid_sample_cases import (
    DETERMINISTIC,
    GRID,
    INPUT,
    MODES,
    PADDINGS,
    PROGRAM,
    Case,
    make,
    run,
)
from lift.kernels.extension import build_cuda as cuda
from lift.kernels.extension.build import BuildError, requirements

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
SKIPPED = 6  # exit code that gpu.sh does not treat as a failure
FOUND = 9  # exit code of the tool after an error
SECONDS = 300  # time limit of a run


class Missing(Exception):
    """Something is missing on this machine; the text is one sentence that names it."""


def cases() -> list[Case]:
    """Cases for every kernel: channels, layouts, dtypes, gradients, deterministic or not."""
    torch.manual_seed(0)
    found = []
    sizes = ((2, 3, 21, 37, 19, 41), (1, 9, 12, 35, 14, 33), (2, 32, 9, 20, 11, 34))
    needs = (INPUT | GRID, INPUT, GRID, INPUT | GRID | DETERMINISTIC, INPUT | DETERMINISTIC)
    for size, nhwc, wanted in itertools.product(sizes, (False, True), needs):
        found.append(make(size, nhwc=nhwc, needs=wanted, reach=3))
    for dtype, nhwc in itertools.product((torch.float16, torch.bfloat16), (False, True)):
        for wanted in (INPUT | GRID, INPUT | GRID | DETERMINISTIC):
            found.append(make(sizes[2], dtype, nhwc=nhwc, needs=wanted))
    for mode, padding, align in itertools.product(MODES, PADDINGS, (True, False)):
        found.append(make(sizes[1], mode=mode, padding=padding, align=align, reach=20))
    return found


def nvcc() -> Path:
    """The CUDA compiler of this machine.

    Raises:
        Missing: there is none that fits torch.
    """
    try:
        return cuda.find_compiler(cuda.torch_cuda_version(requirements().torch)).nvcc
    except BuildError as error:
        raise Missing(str(error)) from error


def compiled(folder: Path, architecture: int) -> Path:
    """The program for a GPU.

    Raises:
        Missing: there is no nvcc.
        RuntimeError: nvcc fails.
    """
    program = folder / f"grid_sample_{architecture}"
    command = [
        nvcc(),
        "-std=c++17",
        "-O3",
        "-lineinfo",
        f"-arch=sm_{architecture}",
        "-x",
        "cu",
        "-o",
        program,
        PROGRAM,
    ]
    _compile(command)
    return program


def emulated(folder: Path) -> Path:
    """The program for the CPU.

    Raises:
        Missing: there is no C++ compiler.
        RuntimeError: the compiler fails.
    """
    compiler = os.environ.get("CXX", "g++").split()
    if shutil.which(compiler[0]) is None:
        raise Missing(f"the C++ compiler {compiler[0]} was not found; install it, or set CXX")
    program = folder / "grid_sample"
    _compile([*compiler, "-std=c++20", "-O1", "-Wno-unknown-pragmas", "-o", program, PROGRAM])
    return program


def _compile(command: list) -> None:
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"{command[0]} cannot compile {PROGRAM.name}: {ran.stderr[-2000:]}")


def sanitizer(tool: str, log: Path) -> list[str]:
    """The command that runs a program under the tool; the tool writes to `log`.

    Raises:
        Missing: there is no compute-sanitizer.
    """
    found = shutil.which(os.environ.get("COMPUTE_SANITIZER") or "compute-sanitizer")
    if found is None:
        raise Missing(
            "compute-sanitizer was not found; put it on the path, or set "
            "COMPUTE_SANITIZER to its file"
        )
    return [found, "--tool", tool, "--error-exitcode", str(FOUND), "--log-file", str(log)]


def check(command: list) -> None:
    """Run the cases and compare the gradients.

    Raises:
        RuntimeError: the program fails, or a gradient is wrong.
    """
    several = cases()
    wrong = []
    for case, found in zip(several, run(command, several, timeout=SECONDS), strict=True):
        if (error := case.error(found)) >= 1:
            layout = "NHWC" if case.nhwc else "NCHW"
            wrong.append(
                f"{tuple(case.input.shape)} {case.input.dtype} {layout}, {case.mode}, "
                f"{case.padding}, needs {case.needs}: {error:.3g} times the tolerance"
            )
    if wrong:
        raise RuntimeError("wrong gradients: " + "; ".join(wrong))
    print(f"{len(several)} cases are correct")


def main(arguments: list[str] | None = None) -> int:
    """Run the cases under a tool; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.sanitize",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tool", choices=TOOLS, default="memcheck", help="of compute-sanitizer")
    parser.add_argument("--dry-run", action="store_true", help="compile, and run on the CPU")
    chosen = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if chosen.dry_run:
                try:
                    compiled(folder, 90)
                    print("compiled for sm_90")
                except Missing as missing:
                    print(f"not compiled for sm_90: {missing}")
                check([emulated(folder)])
            else:
                log = folder / "log"
                under = sanitizer(chosen.tool, log)
                nvcc()
                if not (gpus := cuda.gpu_architectures()):
                    raise Missing("no GPU was found, by nvidia-smi or by torch")
                try:
                    check([*under, compiled(folder, gpus[0])])
                finally:
                    if log.is_file():
                        print(log.read_text()[-8000:])
    except Missing as missing:
        print(missing)
        return SKIPPED
    except RuntimeError as error:
        print(f"{chosen.tool}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
