"""What each fused op of the model saves: launches and bytes with plain PyTorch in its place.

    python -m benchmarks.prices [--record]

One op at a time is left to its reference, and everything is counted again (`benchmarks.count`).
`--record` writes `results/prices.json`, for docs/cost.md.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from benchmarks import count
from benchmarks.harness.frame_suites import FRAME_SUITES
from benchmarks.report.cost import PRICES
from lift.kernels import dispatch

ROOT = Path(__file__).resolve().parents[1]
CASES = tuple(case for case in count.CASES if case.height != 720)


@contextmanager
def without(operation: str) -> Iterator[None]:
    """Leave an op to its reference inside the block."""
    reference = dispatch.operations()[operation][-1]
    with patch.dict(dispatch._operations, {operation: (reference,)}):
        yield


def lines_of(operation: str) -> int:
    """Lines of an op's folder of kernels and of its C++ sources."""
    folders = (ROOT / "kernels" / "ops" / operation, ROOT / "csrc" / operation)
    files = [path for folder in folders for path in folder.rglob("*.*") if path.suffix != ".pyc"]
    return sum(len(path.read_text().splitlines()) for path in files)


def main(argv: list[str] | None = None) -> int:
    """Print what each op saves; with --record write it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prices", description="What each fused op of the model saves."
    )
    parser.add_argument("--record", action="store_true", help=f"write {PRICES.name} too")
    arguments = parser.parse_args(argv)
    fused = [count.count(case).totals for case in CASES]
    ops = {}
    for suite in FRAME_SUITES:
        with without(suite.name):
            found = [count.count(case).totals for case in CASES]
        saved = [[a[k] - b[k] for k in (0, 1)] for a, b in zip(found, fused, strict=True)]
        ops[suite.name] = {"lines": lines_of(suite.name), "saved": saved}
        print(suite.name, ops[suite.name], flush=True)
    if arguments.record:
        text = {"cases": [str(case) for case in CASES], "ops": ops}
        PRICES.write_text(json.dumps(text, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
