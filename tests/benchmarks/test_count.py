"""The recorded counts of launches and bytes are those of the model as it is."""

import json

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import count
from lift.errors import LiftError
from lift.profiling.launches import Cost

RECORDED = {row["case"]: row["ops"] for row in json.loads(count.RECORD.read_text())}
ROUNDING = 0.02  # versions of PyTorch differ in a few small ops
LIMITS = {  # launches and gigabytes
    "frame base 1920x1080 bfloat16": (200, 12),
    "frame tiny 1920x1080 float16": (203, 4.6),
    "step base 256x256 bfloat16": (900, 15),
}


def test_every_case_is_recorded():
    assert list(RECORDED) == [str(case) for case in count.CASES]


@pytest.mark.parametrize("case", LIMITS)
def test_a_case_keeps_its_limits(case):
    launches, gigabytes = (sum(op[k] for op in RECORDED[case]) for k in (2, 3))
    assert launches <= LIMITS[case][0] and gigabytes <= LIMITS[case][1] * 1e9


@pytest.mark.slow
@pytest.mark.parametrize("case", count.CASES, ids=str)
def test_a_case_costs_what_is_recorded(case):
    """Record it again, `python -m benchmarks.count --record`, where a change is meant."""
    pytest.importorskip("triton")
    totals = [sum(op[k] for op in RECORDED[str(case)]) for k in (2, 3, 4)]
    assert count.count(case).totals == pytest.approx(totals, rel=ROUNDING)


def test_parts_and_operations_are_printed_and_kept(capsys, monkeypatch, tmp_path):
    cost = Cost()
    for part, op, launches, size in (("flow", "add", 3, 2000), ("encoder", "add", 1, 9000)):
        cost.launches[part, op], cost.bytes[part, op] = launches, size
    monkeypatch.setattr(count, "count", lambda case: cost)
    monkeypatch.setattr(count, "RECORD", tmp_path / "cost.json")
    assert count.main(["--record"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split()[-3:] == ["launches", "GB", "GFLOP"]
    assert [line.split()[:2] for line in printed[1:4]] == [
        ["flow", "3"],
        ["encoder", "1"],
        ["all", "4"],
    ]
    kept = json.loads((tmp_path / "cost.json").read_text())
    assert kept[0]["ops"] == [["encoder", "add", 1, 9000, 0], ["flow", "add", 3, 2000, 0]]


def test_the_command_counts_and_excludes_suites(monkeypatch, capsys):
    monkeypatch.setattr(count, "main", lambda argv: 7)
    assert benchmarks.main(["--count"]) == 7
    with pytest.raises((LiftError, SystemExit)):
        benchmarks.main(["--count", "warp_blend"])
    assert "exclude each other" in capsys.readouterr().err
