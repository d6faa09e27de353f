"""`python -m lift.kernels.extension`: build the C++ kernels for this machine, where they are not built yet."""
import argparse
import sys

from .build import BuildError, build


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lift.kernels.extension", description=__doc__)
    parser.add_argument("--verbose", action="store_true", help="show every command")
    try:
        print(f"lift: the C++ kernels are in {build(verbose=parser.parse_args().verbose)}")
    except BuildError as error:
        print(f"lift: error: {error}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
