"""The report of a machine has its results, and marks what is projected."""

from benchmarks.report import plots
from benchmarks.report.machine_page import report
from benchmarks.report.results import measurements
from tests.support.recorded_results import OTHER, ROW, ROWS, on_a_cpu, write_results


def test_a_page_has_machine_versions_and_figures(tmp_path):
    page = report(measurements(write_results(tmp_path / "h200")))
    assert page.startswith("# Measured on NVIDIA H200, with a CPU, 2 processors, 2 threads")
    assert (
        "| `bench.json` | 2026-11-24 10:11 | 0123456789+ | 2.13.0+cu130 | 3.7.1 | 13.0 | 2 | 1.2 | 1980 to 1755 | 3201 |"  # noqa: E501
        in page
    )
    assert "| power limit |" in page  # what lowered the clock
    assert (
        "| (1, 3, 1080, 1920) | forward | smooth | triton | 0.100 | 10% | 1244 | 31% | 26% | 2.00 (1.81 to 2.21) |"  # noqa: E501
        in page
    )
    assert (
        "| (1, 3, 1080, 1920) | forward+backward | float32 | contiguous | smooth | 10.0 | 40.0 | 25.0 | 75.0 |"  # noqa: E501
        in page
    )
    assert "| triton | 2.00 | 1.0e-07 | 0% |" in page


def test_only_projections_are_marked_as_such(tmp_path):
    page = report(measurements(write_results(tmp_path / "h200")))
    before, projections = page.split("## Projected, not measured")
    assert "~" not in before and "~" in projections and "| H200, 26% |" in projections
    assert "Projected" not in report(
        measurements(write_results(tmp_path / "cpu", [on_a_cpu(row) for row in ROWS], gpu=None))
    )


def test_a_projection_is_a_limit_over_the_measured_share(tmp_path):
    """The limit of another GPU over the share of its own limit that this one reached."""
    for median in (1e-4, 2e-4):
        found = measurements(write_results(tmp_path / "h200", [ROW | {"median": median}, OTHER]))
        share = 124416000 / 4.8e12 / median
        rtx = 124416000 / 1008e9 / share * 1e6
        line = next(
            line
            for line in report(found).split("## Projected")[1].splitlines()
            if "warp_blend forward" in line
        )
        assert f"| H200, {share:.0%} |" in line and f"~{rtx:.0f} |" in line, (line, rtx)


def test_tuning_is_shown_before_and_after(tmp_path):
    attention = ROW | {
        "operation": "temporal_attention",
        "shape": [1, 1, 15, 68, 120, 8, 32, 8],
        "flow": "biases",
    }
    folder = write_results(
        tmp_path / "h200",
        [attention | {"median": 5e-5}, attention | {"variant": "compiled", "fused": False}],
    )
    assert "Effect of tuning" not in report(measurements(folder))
    write_results(
        folder / "untuned",
        [attention, attention | {"variant": "compiled", "fused": False, "median": 3e-4}],
    )
    page = report(measurements(folder))
    assert (
        "## Effect of tuning" in page
        and "biases triton | 0.100 | 0.050 | 2.00x |" in page
        and "compiled | 0.300" not in page
    )
    assert len(measurements(folder).groups) == 1  # rows from before count nowhere else


def test_rows_of_the_model_need_no_bandwidth(tmp_path):
    row = ROW | {
        "operation": "training_step",
        "direction": "encoder trainable",
        "flow": "base",
        "bytes": None,
        "gigabytes_per_second": None,
        "share_of_copy_bandwidth": None,
    }
    rows = [
        row
        | {
            "shape": [batch, 15, 3, 256, 256],
            "variant": name,
            "fused": name == "fused",
            "samples_per_second": batch / 2,
        }
        for batch, name in ((4, "reference"), (4, "fused"), (7, "reference"))
    ]
    found = measurements(write_results(tmp_path / "h200", rows))
    page = report(found)
    assert (
        "| (4, 15, 3, 256, 256) | encoder trainable | base | fused | 0.100 | 10% | 2.00 | 1.00 (0.90 to 1.11) |"  # noqa: E501
        in page
    )
    assert (
        "| (7, 15, 3, 256, 256) | encoder trainable | base | reference | 0.100 | 10% | 3.50 |  |"
        in page
    )
    assert "GB/s | % of copy" not in page and "Projected" not in page
    assert set(plots.pictures(found)) == {
        "speedups",
        "speedups_training_step",
    }  # no roofline; memory is the same of all
