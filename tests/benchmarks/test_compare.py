"""Runs of one machine are compared; those of two machines, and smoke tests, are refused."""

import json
from pathlib import Path

import pytest

from benchmarks.harness import compare
from benchmarks.harness.compare import IncompatibleRuns, changes, load, text
from lift import cli

CASE = {
    "operation": "warp_blend",
    "device": "cpu",
    "direction": "forward",
    "dtype": "float32",
    "layout": "contiguous",
    "shape": [1, 3, 8, 12],
    "flow": "smooth",
}
RTX_4090 = {"name": "NVIDIA GeForce RTX 4090", "driver": "580.1", "power limit": 450.0}


def written(
    path: Path,
    times: dict[str, float],
    spread: float = 0.05,
    toy: bool = False,
    cpu: str = "One CPU",
    threads: int = 2,
    gpus: tuple = (),
    torch: str = "2.13",
) -> Path:
    """Write a file in the format of the benchmarks, one row per variant."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lift = {
        "facts": {"torch": torch, "triton": "3.7", "CPU": cpu},
        "threads": threads,
        "commit": "abc",
        "gpus": list(gpus),
    }
    rows = [
        {"extra_info": CASE | {"variant": variant, "median": median, "spread": spread}}
        for variant, median in times.items()
    ]
    path.write_text(
        json.dumps(
            {
                "toy": toy,
                "machine_info": {"cpu": {"brand_raw": cpu, "count": 2}, "lift": lift},
                "benchmarks": rows,
            }
        )
    )
    return path


def test_only_what_lies_beyond_both_spreads_differs(tmp_path):
    before = load(
        written(tmp_path / "a.json", {"slower": 1.0, "faster": 1.0, "within": 1.0, "gone": 1.0})
    )
    after = load(
        written(tmp_path / "b.json", {"new": 9.0, "within": 1.09, "faster": 0.5, "slower": 1.2})
    )
    found = {change.case[-1]: change for change in changes(before, after)}
    assert {name: change.differs for name, change in found.items()} == {
        "slower": True,
        "faster": True,
        "within": False,
    }
    assert found["faster"].speedup == 2.0
    said = text(before, after)
    assert said.index("Slower") < said.index("slower") < said.index("Faster") < said.index("2.00x")
    assert (
        "within " not in said.split("Faster")[0]
        and "3 cases compared, 1 the same within their spread; 1 only in" in said
    )


def test_a_run_without_spread_still_drifts(tmp_path):
    before, after = (
        load(written(tmp_path / name, {"a": 1.0, "b": 1.0 + more}, spread=0.0))
        for name, more in (("a", 0), ("b", 0.015))
    )
    assert not any(change.differs for change in changes(before, after))


@pytest.mark.parametrize(
    "other, said",
    [
        ({"cpu": "Another CPU"}, "CPU: One CPU and Another CPU"),
        ({"threads": 1}, "threads: 2 and 1"),
        ({"gpus": (RTX_4090,)}, "GPU: none and NVIDIA GeForce RTX 4090"),
    ],
)
def test_different_machines_are_refused_with_what_differs(tmp_path, other, said, capfd):
    a, b = (
        written(tmp_path / "a.json", {"x": 1.0}),
        written(tmp_path / "b.json", {"x": 1.0}, **other),
    )
    assert cli.main(["bench", "--compare", str(a), str(b)]) == 1
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and f"are of different machines ({said})" in error


def test_a_smoke_test_is_refused(tmp_path, capfd):
    a, b = (
        written(tmp_path / "a.json", {"x": 1.0}),
        written(tmp_path / "b.json", {"x": 1.0}, toy=True),
    )
    assert cli.main(["bench", "--compare", str(a), str(b)]) == 1
    assert "b.json is of a smoke test, whose times mean nothing" in capfd.readouterr().err


def test_folders_are_compared_file_by_file_and_versions_are_named(tmp_path, capfd):
    for run, torch in (("a", "2.11"), ("b", "2.13")):
        written(tmp_path / run / "one.json", {"x": 1.0}, torch=torch)
        written(tmp_path / run / "deeper" / "two.json", {"y": 1.0}, torch=torch)
        (tmp_path / run / "doctor.json").write_text("{}")
    assert cli.main(["bench", "--compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    said = capfd.readouterr().out
    assert (
        said.startswith("torch: 2.11 before, 2.13 after") and "2 cases compared, 2 the same" in said
    )


def test_what_holds_no_run_of_its_own_is_refused(tmp_path):
    (tmp_path / "doctor.json").write_text("{}")
    for path, said in ((tmp_path / "none", "no such file"), (tmp_path, "no benchmark results")):
        with pytest.raises(IncompatibleRuns, match=said):
            load(path)
    written(tmp_path / "one.json", {"x": 1.0})
    written(tmp_path / "two.json", {"x": 1.0})
    with pytest.raises(
        IncompatibleRuns, match="warp_blend cpu forward .* x occurs twice; name a folder of one run"
    ):
        load(tmp_path)
    written(tmp_path / "two.json", {"y": 1.0}, gpus=(RTX_4090,))
    with pytest.raises(IncompatibleRuns, match="results of different machines"):
        load(tmp_path)
    with pytest.raises(IncompatibleRuns, match="have no case in common"):
        changes(load(tmp_path / "one.json"), load(written(tmp_path / "three.json", {"y": 1.0})))


def test_recorded_results_can_be_compared():
    run = load(Path(compare.__file__).parents[1] / "results" / "cpu" / "bench_warp_blend.json")
    assert (
        run.rows
        and run.machine["GPU"] == "none"
        and not any(change.differs for change in changes(run, run))
    )
