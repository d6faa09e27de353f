"""The CUDA kernels of grid_sample under compute-sanitizer, without PyTorch in the process.

    python -m benchmarks.gpu.sanitize --tool memcheck|racecheck|initcheck|synccheck [--dry-run]

Builds tests/support/emulated_grid_sample.cpp with nvcc for the GPU present, runs every kernel on
small inputs under the tool and compares the gradients with PyTorch's in float64. Exit code 0: all
is well; 1: the tool or a comparison says otherwise; 6: nvcc, compute-sanitizer or a GPU is missing,
and the last line says which. COMPUTE_SANITIZER names the program if it is not on the path.
--dry-run compiles for sm_90 where there is an nvcc, and runs the same inputs emulated on the CPU.
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

from benchmarks.suites.grid_sample_cases import (
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
MISSING = 6  # what gpu.sh takes as "left out"
FOUND = 9  # what the tool exits with at a fault
SECONDS = 300  # the most that one program runs


class Missing(Exception):
    """This machine lacks something; the text is one sentence that names it."""


def cases() -> list[Case]:
    """Every kernel: few and many channels in both orders, every dtype, gradient, kind of sums."""
    torch.manual_seed(0)
    found = []
    sizes = ((2, 3, 21, 37, 19, 41), (1, 9, 12, 35, 14, 33), (2, 32, 9, 20, 11, 34))
    needs = (INPUT | GRID, INPUT, GRID, INPUT | GRID | DETERMINISTIC, INPUT | DETERMINISTIC)
    for size, pixels, wanted in itertools.product(sizes, (False, True), needs):
        found.append(make(size, pixels=pixels, needs=wanted, reach=3))
    for dtype, pixels in itertools.product((torch.float16, torch.bfloat16), (False, True)):
        for wanted in (INPUT | GRID, INPUT | GRID | DETERMINISTIC):
            found.append(make(sizes[2], dtype, pixels=pixels, needs=wanted))
    for mode, padding, align in itertools.product(MODES, PADDINGS, (True, False)):
        found.append(make(sizes[1], mode=mode, padding=padding, align=align, reach=20))
    return found


def nvcc() -> Path:
    """The CUDA compiler of this machine.

    Raises:
        Missing: there is none that fits torch.
    """
    try:
        return cuda.find_compiler(cuda.torch_cuda(requirements().torch)).nvcc
    except BuildError as error:
        raise Missing(str(error)) from error


def compiled(folder: Path, architecture: int) -> Path:
    """The program for a GPU.

    Raises:
        Missing: there is no nvcc.
        RuntimeError: nvcc does not compile it.
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
        RuntimeError: it does not compile the program.
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
        raise RuntimeError(f"{command[0]} does not compile {PROGRAM.name}: {ran.stderr[-2000:]}")


def sanitizer(tool: str, log: Path) -> list[str]:
    """The command that runs a program under the tool; stdout is the program's, `log` the tool's.

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
    """Run the cases and compare.

    Raises:
        RuntimeError: the program fails, or a gradient is wrong.
    """
    several = cases()
    wrong = []
    for case, found in zip(several, run(command, several, timeout=SECONDS), strict=True):
        if (error := case.error(found)) >= 1:
            where = "pixels" if case.pixels else "planes"
            wrong.append(
                f"{tuple(case.input.shape)} {case.input.dtype} in {where}, {case.mode}, "
                f"{case.padding}, needs {case.needs}: {error:.3g} of what may be"
            )
    if wrong:
        raise RuntimeError("wrong gradients: " + "; ".join(wrong))
    print(f"{len(several)} cases are right")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.sanitize",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tool", choices=TOOLS, default="memcheck", help="what to look for")
    parser.add_argument("--dry-run", action="store_true", help="compile; run on the CPU instead")
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
                if not (gpus := cuda.present()):
                    raise Missing("no GPU was found, by nvidia-smi or by torch")
                try:
                    check([*under, compiled(folder, gpus[0])])
                finally:
                    if log.is_file():
                        print(log.read_text()[-8000:])
    except Missing as missing:
        print(missing)
        return MISSING
    except RuntimeError as error:
        print(f"{chosen.tool}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
