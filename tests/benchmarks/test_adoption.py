"""The record of what a patch gains, and how it is measured."""

import json

import pytest
import torch

from benchmarks.adoption import __main__ as adoption
from benchmarks.adoption import conventions
from benchmarks.report.adoption import RECORD, cells, table


@pytest.fixture
def record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("case", "name"),
    [(adoption.warp_case, name) for name in conventions.CONVENTIONS]
    + [(adoption.net_case, name) for name in adoption.NETS],
)
def test_a_case_is_measured_before_and_after(case, name):
    row = adoption.measure(case, name, (1, 3, 32, 48), rounds=1)
    assert row["difference"] < 1e-5 and row["gradient_difference"] < 1e-4
    assert all(ms > 0 for ms in row["ms"])
    if "pwc" in name.lower():
        assert row["saved"][1] < row["saved"][0]
    elif case is adoption.warp_case:
        assert row["saved"][1] == row["saved"][0]


def test_the_record_has_every_case_within_the_tolerances(record):
    names = [row["name"] for row in record["rows"]]
    expected = list(conventions.CONVENTIONS) * len(adoption.SHAPES) + list(adoption.NETS)
    assert names == expected
    for row in record["rows"]:
        assert row["difference"] < 1e-5 and row["gradient_difference"] < 1e-4, row


def test_the_table_shows_every_row(record):
    text = table()
    assert all(" | ".join(cells(row)) in text for row in record["rows"])


def test_command_prints_a_line_for_every_case(monkeypatch, capsys, tmp_path):
    threads = torch.get_num_threads()
    monkeypatch.setattr(adoption, "BLOCK", 1)
    monkeypatch.setattr(adoption, "SHAPES", ((1, 3, 16, 24),))
    monkeypatch.setattr(adoption, "NET_SHAPE", (1, 3, 16, 24))
    monkeypatch.setattr(adoption, "RECORD", tmp_path / "adoption.json")
    try:
        assert adoption.main(["--rounds", "1", "--record"]) == 0
    finally:
        torch.set_num_threads(threads)
    rows = json.loads((tmp_path / "adoption.json").read_text())["rows"]
    assert len(rows) == len(capsys.readouterr().out.splitlines())
