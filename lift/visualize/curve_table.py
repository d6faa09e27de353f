"""The table of a training run, curve.csv, read as a killed or resumed run leaves it."""

import csv
from pathlib import Path

from lift.errors import LiftError


def read(path: Path) -> list[dict[str, float]]:
    """Rows of a run's curve.csv, without the columns that are empty in a row.

    A last line that a killed run has not finished is left out, and so are columns of text. Of steps
    that a resumed run has repeated, the later rows count.

    Raises:
        LiftError: there is no such file, or it is not the table of a run.
    """
    path = path / "curve.csv" if path.is_dir() else path
    rows: list[dict[str, float]] = []
    for row in _table(path):
        values = _numbers(row)
        if "step" in values and len(values) > 1:
            if rows and rows[-1]["step"] > values["step"]:  # a killed run was resumed
                rows = [each for each in rows if each["step"] < values["step"]]
            rows.append(values)
    if not rows:
        raise LiftError(
            f"{path}: not the curve.csv of a training run; give the run's output folder"
        )
    return rows


def _table(path: Path) -> csv.DictReader:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise LiftError(f"{path}: no such file; give the output folder of a training run") from None
    complete = content[: content.rfind(b"\n") + 1].replace(b"\0", b"")
    return csv.DictReader(complete.decode("utf-8", "replace").splitlines())


def _numbers(row: dict) -> dict[str, float]:
    """The cells that hold a number; a row that is too long has cells without a name."""
    values = {}
    for name, value in row.items():
        try:
            values[name] = float(value)
        except (TypeError, ValueError):
            continue
    return values


def read_phases(path: Path) -> list[list[dict[str, float]]]:
    """Rows as `read` gives them, of each phase in a table with the column `phase`, in order."""
    phases: dict[str, list[dict[str, float]]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = {
                name: float(value) for name, value in row.items() if value and name != "phase"
            }
            phases.setdefault(row["phase"], []).append(values)
    return list(phases.values())
