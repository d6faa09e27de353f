"""Rows survive a kill, and do not mix with those of another evaluation."""

import pytest

from lift.errors import LiftError
from lift.evaluation.rows import RowStore
from tests.support.disk import largest_file

IDENTITY = {"protocol": "x", "methods": {"dis": ""}}


def row(name: str) -> dict:
    return {"sample": name, "scores": {"dis": {"psnr": 30.123456789012345}}}


def test_rows_of_all_processes_come_back_to_the_last_digit(tmp_path):
    for part in ("1-of-2", "2-of-2"):
        store = RowStore(tmp_path / "rows", IDENTITY, part)
        store.append(row(part))
        store.close()
    assert store.read() == {part: row(part) for part in ("1-of-2", "2-of-2")}


@pytest.mark.parametrize(
    "torn", [b'{"sample": "b", "sco', b'{"sample": "b"', b"\x00\x00\xff", b"7"]
)
def test_a_torn_last_line_is_left_out_and_the_next_row_is_whole(tmp_path, torn):
    store = RowStore(tmp_path / "rows", IDENTITY)
    store.append(row("a"))
    store.close()
    with open(tmp_path / "rows" / "rows-1-of-1.jsonl", "ab") as file:
        file.write(torn)
    assert list(store.read()) == ["a"]
    again = RowStore(tmp_path / "rows", IDENTITY)
    again.append(row("c"))
    again.close()
    assert list(again.read()) == ["a", "c"]


def test_rows_of_another_evaluation_are_refused(tmp_path):
    store = RowStore(tmp_path / "rows", IDENTITY)
    store.check()  # nothing there yet
    store.append(row("a"))
    store.close()
    store.check()
    other = RowStore(tmp_path / "rows", IDENTITY | {"methods": {"dis": "", "average": ""}})
    with pytest.raises(LiftError, match="with other methods; give another --output, or --restart"):
        other.check()
    other.remove()
    assert not (tmp_path / "rows").exists()
    other.check()


def test_an_unreadable_identity_is_refused(tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "evaluation.json").write_text("{")
    with pytest.raises(LiftError, match="is something else; give another --output"):
        RowStore(tmp_path / "rows", IDENTITY).check()


def test_a_full_disk_is_one_sentence_and_keeps_the_rows_before(tmp_path):
    store = RowStore(tmp_path / "rows", IDENTITY)
    store.append(row("a"))
    with largest_file(200), pytest.raises(LiftError, match="rows-1-of-1.jsonl: could not be"):
        for k in range(9):
            store.append(row(str(k)))
    assert "a" in RowStore(tmp_path / "rows", IDENTITY).read()


def test_closing_on_a_full_disk_does_not_hide_that_sentence(tmp_path):
    store = RowStore(tmp_path / "rows", IDENTITY)
    with largest_file(200):
        with pytest.raises(LiftError, match="could not be written"):
            for k in range(9):
                store.append(row(str(k)))
        store.close()  # it holds the row that did not fit
    store.append(row("last"))
    assert "last" in store.read()
    store.close()
