"""Recorded results are grouped by case; what means nothing is refused."""

import pytest

from benchmarks.report import build
from benchmarks.report.results import IncompatibleRuns, Speedup, all_measurements, measurements
from tests.support.recorded_results import ROW, STEP, write_results


def test_a_speedup_has_the_range_of_both_spreads():
    gain = Speedup.of({"median": 2.0, "spread": 0.2}, {"median": 6.0, "spread": 0.4})
    assert (gain.value, gain.low, gain.high) == (
        pytest.approx(3),
        pytest.approx(3 * 0.8 / 1.1),
        pytest.approx(3 * 1.2 / 0.9),
    )


def test_variants_of_a_case_come_together(tmp_path):
    forward, training = measurements(write_results(tmp_path / "h200")).groups
    assert (
        forward.subjects == ["triton"]
        and forward.others == ["eager"]
        and forward.speedup("triton", "eager").value == 2
    )
    assert (
        forward.speedup("triton", "compiled") is None and training.direction == "forward+backward"
    )


def test_without_fused_variants_the_reference_is_the_baseline(tmp_path):
    rows = [ROW | {"variant": name, "fused": False} for name in ("sdpa", "reference", "compiled")]
    (group,) = measurements(write_results(tmp_path / "cpu", rows)).groups
    assert group.subjects == ["sdpa", "compiled"] and group.others == ["reference"]


def test_streams_of_fifteen_frames_are_compared_with_such(tmp_path):
    rows = [
        ROW
        | {
            "operation": "streaming",
            "variant": f"{form} {context}",
            "fused": form == "fused",
            "flow": "tiny",
            "context": context,
        }
        for form in ("reference", "fused")
        for context in (15, 2)
    ]
    found = measurements(write_results(tmp_path / "h200", rows)).groups
    assert [(group.flow, group.subjects, group.others) for group in found] == [
        ("tiny, 15 frames", ["fused"], ["reference"]),
        ("tiny, 2 frames", ["fused"], ["reference"]),
    ]


def test_a_speedup_prefers_times_that_were_taken_alternately(tmp_path):
    """Variants of another process were timed with a reference there."""
    rows = [
        ROW | {"operation": "streaming", "variant": "reference", "fused": False, "median": 3e-4},
        ROW | {"operation": "streaming", "variant": "fused", "in_turn_with": None},
        ROW
        | {
            "operation": "streaming",
            "variant": "fused+compile",
            "in_turn_with": {"variant": "reference", "median": 2e-4, "spread": 0.1},
        },
    ]
    (group,) = measurements(write_results(tmp_path / "h200", rows)).groups
    assert group.speedup("fused", "reference").value == pytest.approx(3)
    assert group.speedup("fused+compile", "reference").value == pytest.approx(2)
    assert group.speedup("fused+compile", "fused").value == pytest.approx(1)


def test_names_of_earlier_recordings_are_read_as_the_present_ones(tmp_path):
    old = STEP | {"direction": "all free", "flow": "tiny, 4 targets"}
    rows = [
        old | {"variant": "apart", "fused": False},
        old | {"variant": "together"},
        old | {"variant": "together+recompute"},
    ]
    (group,) = measurements(write_results(tmp_path / "h200", rows)).groups
    assert group.direction == "encoder trainable"
    assert list(group.rows) == ["separate passes", "shared encoding", "shared encoding+recompute"]
    assert group.others == ["separate passes"]


@pytest.mark.parametrize(
    "more, message", [({"toy": True}, "smoke test"), ({"benchmarks": []}, "no benchmark results")]
)
def test_meaningless_results_are_refused(tmp_path, more, message, capsys):
    folder = write_results(tmp_path / "h200", **more)
    with pytest.raises(IncompatibleRuns, match=message):
        measurements(folder)
    assert build.main([str(folder)]) == 1 and message in capsys.readouterr().err
    assert not (folder / "report.md").exists()


def test_without_any_results_there_is_no_report(tmp_path):
    with pytest.raises(IncompatibleRuns, match="lift bench --json"):
        all_measurements(tmp_path)
