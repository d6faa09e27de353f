"""Tables and charts of recorded results: every figure in the documents comes from here.

    python -m benchmarks.report.build [FOLDER ...] [--check]

Each folder below `results/` with results gets a `report.md` and charts. Documents get their
generated parts (`documents.py`); a GPU that `results/README.md` has no section for gets one at its
end. `--check` writes nothing and fails where a committed file differs from what the results give.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.report import plots
from benchmarks.report.documents import filled
from benchmarks.report.machine_page import report
from benchmarks.report.results import (
    RESULTS,
    IncompatibleRuns,
    Measurements,
    all_measurements,
    measurements,
)

ROOT = Path(__file__).resolve().parents[2]
INDEX = RESULTS / "README.md"


def documents() -> list[Path]:
    """The documents with generated parts."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), INDEX]
    return [path for path in paths if path.is_file() and "<!-- report: " in path.read_text()]


def main(argv: list[str] | None = None) -> int:
    """Write the reports, the charts and the generated parts of the documents, or check them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report.build",
        description="Tables and charts of the recorded results.",
    )
    parser.add_argument(
        "folder", nargs="*", type=Path, help="results of a machine (default: all, and documents)"
    )
    parser.add_argument(
        "--documents",
        action="store_true",
        help="with folders: also the documents, if all folders are below results/",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; fail where a committed file differs from what the results give",
    )
    arguments = parser.parse_args(argv)
    inside = all(folder.resolve().parent == RESULTS.resolve() for folder in arguments.folder)
    everything = not arguments.folder or arguments.documents and inside
    try:
        if everything:
            all_found = all_measurements(RESULTS)
        else:
            all_found = [measurements(folder) for folder in arguments.folder]
        texts = {found.folder / "report.md": report(found) for found in all_found}
        if everything:
            texts |= {path: filled(path, all_found, path == INDEX) for path in documents()}
    except IncompatibleRuns as error:
        print(f"report: error: {error}", file=sys.stderr)
        return 1
    if arguments.check:
        return _check(all_found, texts)
    _write(all_found, texts)
    return 0


def _write(all_found: list[Measurements], texts: dict[Path, str]) -> None:
    for path, text in texts.items():
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {path}")
    for found in all_found:
        if _outdated(found):
            for path in plots.draw(found, found.folder):
                print(f"drew {path}")
        for path in _left_over(found):
            path.unlink()
            print(f"removed {path}")


def _check(all_found: list[Measurements], texts: dict[Path, str]) -> int:
    wrong = [path for path, text in texts.items() if not path.is_file() or path.read_text() != text]
    wrong += [path for found in all_found for path in _outdated(found) + _left_over(found)]
    for path in wrong:
        print(
            f"report: error: {path} is not what the recorded results give; "
            "run `make report` and commit it",
            file=sys.stderr,
        )
    return 1 if wrong else 0


def _outdated(found: Measurements) -> list[Path]:
    """Charts that are missing or were drawn from other rows."""
    paths = [found.folder / f"{name}.png" for name in plots.pictures(found)]
    return [path for path in paths if plots.drawn_from(path) != plots.digest(found)]


def _left_over(found: Measurements) -> list[Path]:
    """Charts of rows that are no longer recorded."""
    drawn = plots.pictures(found)
    return [
        path
        for path in sorted(found.folder.glob("*.png"))
        if path.stem not in drawn and plots.drawn_from(path)
    ]


if __name__ == "__main__":
    sys.exit(main())
