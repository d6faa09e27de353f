"""Targets are decided by their worst case; a missed one has its bottleneck."""

import pytest

from benchmarks.harness.target import Target
from benchmarks.report import targets
from benchmarks.report.machine_page import report
from benchmarks.report.results import Speedup, measurements
from benchmarks.report.target_table import target_table
from tests.support.recorded_results import OTHER, ROW, ROWS, STEP, on_a_cpu, write_results


def test_the_worst_case_decides_a_target(tmp_path):
    slower = [
        row | {"flow": "random", "median": 3 * row["median"] if row["fused"] else row["median"]}
        for row in (ROW, OTHER)
    ]
    compiled = [OTHER | {"variant": "compiled", "flow": flow} for flow in ("smooth", "random")]
    found = targets.evaluate(
        measurements(write_results(tmp_path / "h200", [ROW, OTHER, *slower, *compiled]))
    )
    forward = next(one for one in found if one.target.label == "speedup over compiled; forward")
    assert (forward.cases, forward.met, forward.worst.flow, forward.verdict) == (
        2,
        1,
        "random",
        "missed in 1 of 2",
    )
    assert forward.figure.value == pytest.approx(2 / 3)
    assert {one.verdict for one in found if one.operation == "grid_sample"} == {"not measured yet"}


def test_eager_counts_in_its_faster_layout(tmp_path):
    rows = [
        on_a_cpu(row)
        for row in (
            ROW,
            OTHER,
            ROW | {"layout": "channels_last"},
            OTHER | {"layout": "channels_last", "median": 1.5e-4},
        )
    ]
    found = targets.evaluate(measurements(write_results(tmp_path / "cpu", rows, gpu=None)))
    everywhere = next(
        one
        for one in found
        if one.target.label == "speedup over eager in its faster layout; every case"
    )
    assert (
        everywhere.cases == 2
        and everywhere.figure.value == pytest.approx(1.5)
        and everywhere.verdict == "met"
    )


def test_the_deterministic_path_may_take_twice_as_long(tmp_path):
    rows = [
        ROW | {"operation": "grid_sample", "direction": "backward", "variant": name, "median": time}
        for name, time in (("cuda", 1e-4), ("cuda_deterministic", 1.8e-4))
    ]
    deterministic = next(
        one
        for one in targets.evaluate(measurements(write_results(tmp_path / "h200", rows)))
        if one.target.at_most
    )
    assert (
        deterministic.figure == pytest.approx(1.8)
        and deterministic.verdict == "met"
        and deterministic.target.bound == "at most 2x"
    )


def test_the_auto_backend_is_compared_with_reference_and_sdpa(tmp_path):
    times = {"eager": 2e-4, "reference": 3e-4, "sdpa": 1e-4, "compiled": 5e-5}
    rows = [
        ROW
        | {
            "operation": "temporal_attention",
            "device": "cpu",
            "variant": name,
            "fused": False,
            "median": time,
        }
        for name, time in times.items()
    ]
    found = targets.evaluate(measurements(write_results(tmp_path / "cpu", rows, gpu=None)))
    taken = next(one for one in found if one.operation == "temporal_attention")
    assert taken.figure.value == pytest.approx(0.5) and taken.verdict == "missed in 1 of 1"


def test_a_target_formats_its_figures():
    share = Target("cuda", "", "share_of_copy_bandwidth", at_least=0.85, unit="%")
    assert share.bound == "at least 85%" and share.met(0.85) and not share.met(0.84)
    assert share.format(0.844) == "84%"
    gain = Target("cpu", "", "speedup_over_eager", at_least=3)
    assert gain.format(Speedup(2, 1.5, 2.5)) == "2.00x (1.50 to 2.50)"


def test_targets_of_a_step_take_the_best_variant(tmp_path):
    rows = [
        STEP | {"variant": "reference", "fused": False, "median": 0.3, "peak_memory": 2e9},
        STEP | {"variant": "fused", "median": 0.1, "peak_memory": 1e9},
        STEP | {"variant": "fused+recompute", "peak_memory": 0.5e9},
    ]
    rows[2]["median"] = 0.2
    found = targets.evaluate(measurements(write_results(tmp_path / "h200", rows)))
    speed, share, peak = (one for one in found if one.operation == "training_step")
    assert [one.target.format(one.figure) for one in (share, peak)] == [
        "25%",
        "0.50 GB",
    ] and peak.target.bound == "at most 0.8 GB"
    assert speed.figure.value == pytest.approx(3) and {
        one.verdict for one in (speed, share, peak)
    } == {"met"}


def test_a_graph_meets_a_target_of_memory_by_what_its_recording_took(tmp_path):
    rows = [
        STEP | {"variant": "reference", "fused": False, "peak_memory": 2e9},
        STEP | {"variant": "fused", "peak_memory": 1.2e9},
        STEP | {"variant": "fused+graph", "peak_memory": 0.3e9, "peak_of_recording": False},
    ]

    def memory(rows):
        found = targets.evaluate(measurements(write_results(tmp_path / "h200", rows)))
        return [
            one.figure for one in found if one.operation == "training_step" and one.target.at_most
        ]

    assert memory(rows) == [0.6, 1.2e9]
    assert memory([*rows[:2], rows[2] | {"peak_memory": 1e9, "peak_of_recording": True}]) == [
        0.5,
        1e9,
    ]


def test_the_cost_of_context_is_a_target(tmp_path):
    rows = [
        ROW
        | {
            "operation": "streaming",
            "variant": f"fused {context}",
            "flow": "tiny",
            "context": context,
            "median": time,
        }
        for context, time in ((15, 1.3e-4), (2, 1e-4))
    ]
    price = next(
        one
        for one in targets.evaluate(measurements(write_results(tmp_path / "h200", rows)))
        if one.operation == "streaming"
    )
    assert (
        price.cases == 1
        and price.target.format(price.figure) == "1.30x"
        and price.verdict == "missed in 1 of 1"
    )


def test_targets_without_a_machine_are_not_measured_yet(tmp_path):
    cpu = measurements(write_results(tmp_path / "cpu", [on_a_cpu(row) for row in ROWS], gpu=None))
    assert {one.target.device for one in targets.unmeasured([cpu])} == {"cuda"}
    table = target_table([cpu])
    assert (
        "| no GPU yet | warp_blend | speedup over compiled; forward | at least 1.3x |  |  | not measured yet |"  # noqa: E501
        in table
    )
    assert "no GPU" not in report(cpu)


def test_a_missed_target_has_its_bottleneck(tmp_path):
    stages = {"forward": {"flow": 2.0, "refine": 1.0}, "backward": {"flow": 3.0, "refine": 4.0}}
    step = STEP | {"seconds_by_stage": stages}
    rows = [
        ROW,
        OTHER | {"variant": "compiled", "median": 1e-4},
        step | {"variant": "fused"},
        step | {"variant": "reference", "fused": False, "median": 1e-4},
    ]
    lines = report(measurements(write_results(tmp_path / "h200", rows))).splitlines()
    assert any(
        "forward | at least 1.3x |" in line
        and line.endswith("missed in 1 of 1 | 26% of its roofline, memory-bound |")
        for line in lines
    )
    assert any(
        "samples/s" in line and line.endswith("| missed in 1 of 1 | flow takes 50% |")
        for line in lines
    )
    assert "bottleneck" not in target_table([measurements(tmp_path / "h200")])
