"""`python -m lift.kernels.extension`: build the C++ and CUDA kernels for this machine."""

import argparse
import sys
from pathlib import Path

from lift.kernels.extension import build_cuda
from lift.kernels.extension.build import build
from lift.kernels.extension.folders import build_dir, destination
from lift.kernels.extension.requirements import BuildError, requirements


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lift.kernels.extension", description=__doc__)
    parser.add_argument("--verbose", action="store_true", help="show every command")
    parser.add_argument(
        "--cuda",
        default="auto",
        metavar="auto|required|off|all|75,89,...",
        help="GPUs to build the CUDA kernels for; auto: those present, else all, "
        "if torch is built for CUDA; required: those present, "
        "and fail if the kernels cannot be built or loaded",
    )
    parser.add_argument(
        "--install-nvcc",
        action="store_true",
        help="install nvcc by pip if none is found for torch's CUDA version",
    )
    arguments = parser.parse_args()
    chosen = arguments.cuda
    words = ("auto", "required", "off", "all")
    if chosen not in words and not all(a.isdigit() for a in chosen.split(",")):
        parser.error(
            f"--cuda must be {', '.join(words)} or capabilities such as 75,89, got {chosen!r}"
        )
    try:
        torch = requirements().torch  # both builds need the same
    except BuildError as error:
        return _failed(error)
    status = 0  # a failure of one build does not stop the other
    try:
        print(f"lift: the C++ kernels are in {build(verbose=arguments.verbose)}")
        if folder := build_dir():
            print(f"lift: set LIFT_BUILD_DIR={folder} where LIFT runs, too")
    except BuildError as error:
        status = _failed(error)
    try:
        _build_cuda(arguments, torch)
    except BuildError as error:  # optional: LIFT runs without the CUDA kernels
        if chosen == "required":
            return _failed(BuildError(f"the CUDA kernels are required: {error}"))
        print(f"lift: warning: the CUDA kernels are not built: {error}", file=sys.stderr)
    return status


def _failed(error: BuildError) -> int:
    print(f"lift: error: {error}", file=sys.stderr)
    return 1


def _build_cuda(arguments: argparse.Namespace, torch: Path) -> None:
    chosen, version = arguments.cuda, build_cuda.torch_cuda_version(torch)
    if chosen == "off":
        print("lift: the CUDA kernels are not built: --cuda off")
        return
    if chosen == "auto" and version is None:
        print("lift: the CUDA kernels are not built: torch here is built for the CPU only")
        return
    if chosen == "required" and version is None:
        raise BuildError("torch here is built for the CPU only; install one that is built for CUDA")
    if chosen == "required" and not build_cuda.gpu_architectures():
        raise BuildError("neither nvidia-smi nor torch finds a GPU; run this where there is one")
    try:
        build_cuda.find_compiler(version)
    except BuildError:
        if not arguments.install_nvcc or version is None:
            raise
        build_cuda.install_compiler(version)
    description = build_cuda.build(architectures=_architectures(chosen), verbose=arguments.verbose)
    library = destination(build_cuda.LIBRARY, build_cuda.fingerprint)
    print(f"lift: the CUDA kernels are in {library}: {description}")
    if chosen == "required" and (error := build_cuda.load_error()):
        raise BuildError(error)


def _architectures(chosen: str) -> list[int] | None:
    if chosen in ("auto", "required"):
        return None
    return list(build_cuda.ARCHITECTURES) if chosen == "all" else list(map(int, chosen.split(",")))


if __name__ == "__main__":
    sys.exit(main())
