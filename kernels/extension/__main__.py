"""`python -m lift.kernels.extension`: build the C++ and CUDA kernels for this machine, where they
are not built yet.
"""

import argparse
import sys
from pathlib import Path

from lift.kernels.extension import build_cuda as cuda
from lift.kernels.extension.build import BuildError, build, requirements


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lift.kernels.extension", description=__doc__)
    parser.add_argument("--verbose", action="store_true", help="show every command")
    parser.add_argument(
        "--cuda",
        default="auto",
        metavar="auto|required|off|all|75,89,...",
        help="what to build the CUDA kernels for; auto: the GPUs present, else all, "
        "where torch is built for CUDA; required: the GPUs present, "
        "and fail where the kernels are not built or do not load",
    )
    parser.add_argument(
        "--install-nvcc",
        action="store_true",
        help="have pip install nvcc beside torch where none is found that fits",
    )
    arguments = parser.parse_args()
    chosen = arguments.cuda
    words = ("auto", "required", "off", "all")
    if chosen not in words and not all(a.isdigit() for a in chosen.split(",")):
        parser.error(
            f"--cuda must be {', '.join(words)} or capabilities such as 75,89, got {chosen!r}"
        )
    try:
        torch = (
            requirements().torch
        )  # the two builds need the same, and each goes on without the other
    except BuildError as error:
        return _failed(error)
    status = 0
    try:
        print(f"lift: the C++ kernels are in {build(verbose=arguments.verbose)}")
    except BuildError as error:
        status = _failed(error)
    try:
        _cuda(arguments, torch)
    except BuildError as error:  # everything runs without them
        if chosen == "required":
            return _failed(BuildError(f"the CUDA kernels are required: {error}"))
        print(f"lift: warning: the CUDA kernels are not built: {error}", file=sys.stderr)
    return status


def _failed(error: BuildError) -> int:
    print(f"lift: error: {error}", file=sys.stderr)
    return 1


def _cuda(arguments: argparse.Namespace, torch: Path) -> None:
    version = cuda.torch_cuda(torch)
    if arguments.cuda == "off" or (arguments.cuda == "auto" and version is None):
        why = (
            "not asked for" if arguments.cuda == "off" else "torch here is built for the CPU alone"
        )
        print(f"lift: the CUDA kernels are not built: {why}")
        return
    required = arguments.cuda == "required"
    if required and version is None:
        raise BuildError(
            "torch here is built for the CPU alone; install one that is built for CUDA"
        )
    if required and not cuda.present():
        raise BuildError(
            "there is no GPU here, by nvidia-smi or by torch; run this where there is one"
        )
    named = {"auto": None, "required": None, "all": list(cuda.ARCHITECTURES)}
    wanted = (
        named[arguments.cuda]
        if arguments.cuda in named
        else [int(a) for a in arguments.cuda.split(",")]
    )
    try:
        cuda.find_compiler(version)
    except BuildError:
        if not arguments.install_nvcc or version is None:
            raise
        cuda.install_compiler(version)
    print(
        f"lift: the CUDA kernels are in {cuda.LIBRARY}: {cuda.build(architectures=wanted, verbose=arguments.verbose)}"
    )
    if required and (failure := cuda.fails_to_load()):
        raise BuildError(failure)


if __name__ == "__main__":
    sys.exit(main())
