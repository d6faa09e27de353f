"""Files that grow: what a full disk does to them."""

import csv

import pytest

from lift.training.append_file import AppendFile
from lift.training.curve_file import COLUMNS, CurveFile
from tests.support.disk import largest_file


def steps(path) -> list[str]:
    with open(path, newline="") as file:
        return [row["step"] for row in csv.DictReader(file)]


def test_records_wait_while_the_disk_is_full_and_none_is_halved(tmp_path):
    warnings = []
    file = AppendFile(tmp_path / "log", warnings.append)
    file.append(b"one\n")
    with largest_file(6):
        file.append(b"two\n")
        file.append(b"three\n")
        assert (tmp_path / "log").read_bytes() == b"one\n"
    file.append(b"four\n")
    file.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\nthree\nfour\n"
    assert len(warnings) == 1 and str(tmp_path / "log") in warnings[0]
    assert "free some space" in warnings[0] and "training goes on" in warnings[0]


def test_what_waits_is_written_when_the_file_is_closed(tmp_path):
    file = AppendFile(tmp_path / "log", lambda sentence: None)
    with largest_file(2):
        file.append(b"one\n")
    file.close()
    assert (tmp_path / "log").read_bytes() == b"one\n"


# -- curve.csv -------------------------------------------------------------------------------------


def curve(path, step: int, *rows: int, warn=lambda sentence: None) -> None:
    file = CurveFile(path, step, warn)
    for row in rows:
        file.write(row, {"loss": 0.5})
    file.close()


def test_a_resumed_curve_is_appended_to_and_has_no_row_twice(tmp_path):
    path = tmp_path / "curve.csv"
    curve(path, 0, 2, 4, 6)
    curve(path, 4, 6, 8)
    assert steps(path) == ["2", "4", "6", "8"] and b"\r" not in path.read_bytes()
    before = path.stat().st_ino
    curve(path, 8, 10)
    assert path.stat().st_ino == before, "nothing is dropped, so nothing is written again"


def test_a_full_disk_leaves_all_rows_of_a_curve(tmp_path):
    path = tmp_path / "curve.csv"
    curve(path, 0, *range(1, 301))
    before, warnings = path.read_bytes(), []
    file = CurveFile(path, 300, warnings.append)
    with largest_file(len(before) // 2):
        late = CurveFile(path, 200, warnings.append)  # rows after 200 cannot be dropped now
        late.write(201, {"loss": 0.5})
        assert path.read_bytes() == before
    file.close()
    late.close()
    assert steps(path) == [str(step) for step in range(1, 202)]
    assert len(warnings) == 1


@pytest.mark.parametrize(
    "old",
    [
        "step,loss\r\n2,0.5\r\n4,0.25\r\n6,0.1\r\n",  # as earlier versions wrote it
        "step,loss,other\n2,0.5,1\n4,0.25,1\n",
        "step,loss\n2,0.5\n4,0.25\n6,0.",  # killed in the last row
    ],
)
def test_rows_of_other_versions_stay(tmp_path, old):
    path = tmp_path / "curve.csv"
    path.write_text(old, newline="")
    curve(path, 4, 6)
    assert steps(path) == ["2", "4", "6"]
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
