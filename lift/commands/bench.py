"""`lift bench`: benchmark the kernels; compare two runs.

The benchmarks are in `benchmarks/` of a checkout, which an installed LIFT does not have. This
command runs `python -m benchmarks` there, in a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

from lift.errors import LiftError


def main(argv: list[str]) -> int:
    """Run `python -m benchmarks` of a checkout; its exit code. Without arguments: all operations.

    Raises:
        LiftError: there is no checkout.
    """
    paths = [str(checkout()), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "benchmarks", *(argv or ["ops"])]
    return subprocess.run(command, env=environment).returncode


def checkout() -> Path:
    """The checkout with the benchmarks: the working directory, else the one of this package.

    Raises:
        LiftError: there is none.
    """
    for root in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (root / "benchmarks" / "harness" / "registry.py").is_file():
            return root
    raise LiftError(
        "the benchmarks are not part of an installed LIFT: run `lift bench` in a checkout, "
        "the folder with pyproject.toml and benchmarks/"
    )


if __name__ == "__main__":
    from lift.errors import run

    sys.exit(run(main))
