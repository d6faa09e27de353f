"""The page of a frame's cost: sums, the model of seconds, what an op saves."""

import json

import pytest

from benchmarks import count, prices
from benchmarks.report import cost
from benchmarks.report.gpus import RTX_3060
from lift.kernels import dispatch
from lift.profiling.launches import Cost

ROWS = [("flow", "add", 4, 360, 0), ("flow", "conv", 1, 10**9, 10**12), ("encoder", "x", 1, 0, 0)]


def record(path, rows):
    path.write_text(json.dumps([{"case": "frame a", "ops": rows}]))


def test_seconds_are_those_of_the_slowest_of_launches_bytes_and_flops():
    bytes_and_flops = max(1e9 / RTX_3060.bandwidth, 1e12 / RTX_3060.tensor)
    expected = 4 * cost.LAUNCH + bytes_and_flops + cost.LAUNCH
    assert cost.seconds(ROWS, RTX_3060) == pytest.approx(expected)


def test_tables_show_the_record_before_and_now(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "BEFORE", tmp_path / "before.json")
    monkeypatch.setattr(cost, "NOW", tmp_path / "now.json")
    record(cost.BEFORE, ROWS), record(cost.NOW, ROWS[1:])
    assert "| frame a | 6 | 2 | 1.00 | 1.00 | 1000 |" in cost.counted()
    assert "| frame a | encoder | 1 | 0.00 |" in cost.by_part()
    row = cost.modelled().splitlines()[-1]
    rates = [cell.split(" → ") for cell in row.strip("| ").split(" | ")[1:]]
    assert len(rates) == 4 and all(int(now) >= int(before) for before, now in rates)


def test_an_op_is_left_to_its_reference_and_comes_back():
    before = dispatch.operations()["warp"]
    with prices.without("warp"), dispatch.assume_available():
        assert dispatch.select("warp", None).name == "reference"
    assert dispatch.operations()["warp"] == before


def test_prices_are_differences_of_counts(tmp_path, monkeypatch, capsys):
    def counted(case):
        left_out = len(dispatch.operations()["warp"]) == 1
        found = Cost()
        found.launches["flow", "warp"], found.bytes["flow", "warp"] = 3 + left_out, 5 + left_out
        return found

    class Suite:
        name = "warp"

    monkeypatch.setattr(count, "count", counted)
    monkeypatch.setattr(prices, "FRAME_SUITES", (Suite,))
    monkeypatch.setattr(prices, "PRICES", tmp_path / "prices.json")
    monkeypatch.setattr(cost, "PRICES", tmp_path / "prices.json")
    assert prices.main(["--record"]) == 0 and "warp" in capsys.readouterr().out
    kept = json.loads((tmp_path / "prices.json").read_text())
    assert kept["ops"]["warp"]["saved"] == [[1, 1]] * len(prices.CASES)
    assert "| `warp` |" in cost.prices()
