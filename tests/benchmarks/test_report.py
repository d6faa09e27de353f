"""The report says what the recorded results hold, marks what is projected, and takes no figure from
anywhere else.
"""

import json

import pytest
from PIL import Image

from benchmarks.report import build as report
from benchmarks.report import plots, targets
from benchmarks.report.results import Refused, Speedup, all_measurements, measurements
from benchmarks.report.targets import Target

GPU = {
    "name": "NVIDIA H200",
    "driver": "1.2",
    "clock": 1980,
    "memory clock": 3201,
    "lowered by": [],
    "power": 90.0,
    "power limit": 700.0,
    "temperature": 40,
}
ROW = {
    "operation": "warp_blend",
    "variant": "triton",
    "fused": True,
    "device": "cuda",
    "direction": "forward",
    "dtype": "float32",
    "layout": "contiguous",
    "shape": [1, 3, 1080, 1920],
    "flow": "smooth",
    "median": 1e-4,
    "spread": 0.1,
    "bytes": 124416000,
    "gigabytes_per_second": 1244.0,
    "copy_bandwidth": 4000.0,
    "share_of_copy_bandwidth": 0.311,
    "error": 1e-7,
    "tolerance": 1e-4,
    "saved_for_backward": None,
    "peak_memory": 25_000_000,
    "first_call": 2.0001,
}
OTHER = ROW | {"variant": "eager", "fused": False, "median": 2e-4, "peak_memory": 75_000_000}
TRAINING = {"direction": "forward+backward", "saved_for_backward": 10_000_000}
ROWS = [ROW, OTHER, ROW | TRAINING, OTHER | TRAINING | {"saved_for_backward": 40_000_000}]


def machine(folder, rows=ROWS, gpu=GPU, **more):
    """A folder of made-up results, as the harness writes them."""
    folder.mkdir(exist_ok=True)
    lift = {
        "facts": {"torch": "2.13.0+cu130, of PyPI", "triton": "3.7.1", "CPU": "a CPU"},
        "threads": 2,
        "commit": "0123456789abcdef+",
        "gpus": [gpu] if gpu else [],
        "cuda": "13.0" if gpu else None,
    }
    (folder / "bench.json").write_text(
        json.dumps(
            {
                "machine_info": {
                    "lift": lift,
                    "cpu": {"brand_raw": "a CPU", "count": 2, "hz_actual_friendly": "2.6 GHz"},
                },
                "toy": False,
                "gpus_after": [gpu | {"clock": 1755, "lowered by": ["power limit"]}] if gpu else [],
                "datetime": "2026-11-24T10:11:12.1+00:00",
                "benchmarks": [{"extra_info": row} for row in rows],
            }
            | more
        )
    )
    return folder


def on_a_cpu(row: dict) -> dict:
    return row | {
        "device": "cpu",
        "peak_memory": None,
        "variant": "cpp" if row["fused"] else row["variant"],
    }


# -- what was recorded -----------------------------------------------------------------------------


def test_a_speed_up_has_the_range_of_both_spreads():
    gain = Speedup.of({"median": 2.0, "spread": 0.2}, {"median": 6.0, "spread": 0.4})
    assert (gain.value, gain.low, gain.high) == (
        pytest.approx(3),
        pytest.approx(3 * 0.8 / 1.1),
        pytest.approx(3 * 1.2 / 0.9),
    )


def test_variants_of_a_case_come_together(tmp_path):
    forward, training = measurements(machine(tmp_path / "h200")).groups
    assert (
        forward.subjects == ["triton"]
        and forward.others == ["eager"]
        and forward.speedup("triton", "eager").value == 2
    )
    assert (
        forward.speedup("triton", "compiled") is None and training.direction == "forward+backward"
    )


def test_where_nothing_is_fused_the_reference_is_what_counts(tmp_path):
    rows = [ROW | {"variant": name, "fused": False} for name in ("sdpa", "reference", "compiled")]
    (group,) = measurements(machine(tmp_path / "cpu", rows)).groups
    assert group.subjects == ["sdpa", "compiled"] and group.others == ["reference"]


def test_streams_of_fifteen_frames_are_held_against_such(tmp_path):
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
    found = measurements(machine(tmp_path / "h200", rows)).groups
    assert [(group.flow, group.subjects, group.others) for group in found] == [
        ("tiny, 15 frames", ["fused"], ["reference"]),
        ("tiny, 2 frames", ["fused"], ["reference"]),
    ]


@pytest.mark.parametrize(
    "more, said", [({"toy": True}, "dry run"), ({"benchmarks": []}, "no results")]
)
def test_what_says_nothing_is_refused(tmp_path, more, said, capsys):
    folder = machine(tmp_path / "h200", **more)
    with pytest.raises(Refused, match=said):
        measurements(folder)
    assert report.main([str(folder)]) == 1 and said in capsys.readouterr().err
    assert not (folder / "report.md").exists()


def test_without_any_results_there_is_no_report(tmp_path):
    with pytest.raises(Refused, match="lift bench --json"):
        all_measurements(tmp_path)


# -- targets ---------------------------------------------------------------------------------------


def test_the_worst_case_decides_a_target(tmp_path):
    slower = [
        row | {"flow": "random", "median": 3 * row["median"] if row["fused"] else row["median"]}
        for row in (ROW, OTHER)
    ]
    compiled = [OTHER | {"variant": "compiled", "flow": flow} for flow in ("smooth", "random")]
    found = targets.outcomes(
        measurements(machine(tmp_path / "h200", [ROW, OTHER, *slower, *compiled]))
    )
    forward = next(one for one in found if one.target.says == "times as fast as compiled; forward")
    assert (forward.cases, forward.met, forward.worst.flow, forward.verdict) == (
        2,
        1,
        "random",
        "missed in 1 of 2",
    )
    assert forward.figure.value == pytest.approx(2 / 3)
    assert {one.verdict for one in found if one.target.operation == "grid_sample"} == {
        "not measured"
    }


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
    found = targets.outcomes(measurements(machine(tmp_path / "cpu", rows, gpu=None)))
    everywhere = next(
        one
        for one in found
        if one.target.says == "times as fast as eager in its faster layout; everywhere"
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
        for one in targets.outcomes(measurements(machine(tmp_path / "h200", rows)))
        if one.target.most
    )
    assert (
        deterministic.figure == pytest.approx(1.8)
        and deterministic.verdict == "met"
        and deterministic.target.bound == "at most 2x"
    )


def test_what_is_taken_is_held_against_reference_and_sdpa(tmp_path):
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
    found = targets.outcomes(measurements(machine(tmp_path / "cpu", rows, gpu=None)))
    taken = next(one for one in found if one.target.operation == "temporal_attention")
    assert taken.figure.value == pytest.approx(0.5) and taken.verdict == "missed in 1 of 1"


def test_a_share_is_shown_as_one():
    share = Target("warp_blend", "cuda", "", lambda *_: None, least=0.85, unit="%")
    assert (
        share.bound == "at least 85%"
        and share.met(0.85)
        and not share.met(0.84)
        and share.shown(0.844) == "84%"
    )
    assert (
        Target("warp_blend", "cpu", "", lambda *_: None, least=3).shown(Speedup(2, 1.5, 2.5))
        == "2.00x (1.50 to 2.50)"
    )


def test_targets_of_a_step_take_the_best_variant(tmp_path):
    step = ROW | {
        "operation": "training_step",
        "direction": "all free",
        "flow": "base, 1 targets",
        "shape": [4, 15, 3, 256, 256],
        "dtype": "bfloat16",
        "fused": True,
    }
    rows = [
        step | {"variant": "reference", "fused": False, "median": 0.3, "peak_memory": 2e9},
        step | {"variant": "fused", "median": 0.1, "peak_memory": 1e9},
        step | {"variant": "fused+recompute", "peak_memory": 0.5e9},
    ]
    rows[2]["median"] = 0.2
    found = targets.outcomes(measurements(machine(tmp_path / "h200", rows)))
    speed, share, peak = (one for one in found if one.target.operation == "training_step")
    assert [one.target.shown(one.figure) for one in (share, peak)] == [
        "25%",
        "0.50 GB",
    ] and peak.target.bound == "at most 0.8 GB"
    assert speed.figure.value == pytest.approx(3) and {
        one.verdict for one in (speed, share, peak)
    } == {"met"}


def test_a_graph_meets_a_target_of_memory_by_what_its_recording_took(tmp_path):
    step = ROW | {
        "operation": "training_step",
        "direction": "all free",
        "flow": "base, 1 targets",
        "shape": [4, 15, 3, 256, 256],
        "dtype": "bfloat16",
        "fused": True,
    }
    rows = [
        step | {"variant": "reference", "fused": False, "peak_memory": 2e9},
        step | {"variant": "fused", "peak_memory": 1.2e9},
        step | {"variant": "fused+graph", "peak_memory": 0.3e9, "peak_of_recording": False},
    ]

    def memory(rows):
        found = targets.outcomes(measurements(machine(tmp_path / "h200", rows)))
        return [
            one.figure
            for one in found
            if one.target.operation == "training_step" and one.target.most
        ]

    assert memory(rows) == [0.6, 1.2e9]
    assert memory([*rows[:2], rows[2] | {"peak_memory": 1e9, "peak_of_recording": True}]) == [
        0.5,
        1e9,
    ]


def test_times_in_turn_are_what_a_speed_up_is_of(tmp_path):
    """Variants that ran in another process were held against a reference beside them there."""
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
    (group,) = measurements(machine(tmp_path / "h200", rows)).groups
    assert group.speedup("fused", "reference").value == pytest.approx(3)
    assert group.speedup("fused+compile", "reference").value == pytest.approx(2)
    assert group.speedup("fused+compile", "fused").value == pytest.approx(1)


def test_context_has_its_price(tmp_path):
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
        for one in targets.outcomes(measurements(machine(tmp_path / "h200", rows)))
        if one.target.operation == "streaming"
    )
    assert (
        price.cases == 1
        and price.target.shown(price.figure) == "1.30x"
        and price.verdict == "missed in 1 of 1"
    )


def test_what_was_measured_nowhere_is_owed(tmp_path):
    cpu = measurements(machine(tmp_path / "cpu", [on_a_cpu(row) for row in ROWS], gpu=None))
    assert {one.target.device for one in targets.owed([cpu])} == {"cuda"}
    table = report.outcomes([cpu])
    assert (
        "| no GPU yet | warp_blend | times as fast as compiled; forward | at least 1.3x |  |  | not measured |"
        in table
    )
    assert "no GPU" not in report.report(cpu)


# -- the pages -------------------------------------------------------------------------------------


def test_a_page_tells_machine_versions_and_figures(tmp_path):
    page = report.report(measurements(machine(tmp_path / "h200")))
    assert page.startswith("# Measured on NVIDIA H200, with a CPU, 2 processors, 2 threads")
    assert (
        "| `bench.json` | 2026-11-24 10:11 | 0123456789+ | 2.13.0+cu130 | 3.7.1 | 13.0 | 2 | 1.2 | 1980 to 1755 | 3201 |"
        in page
    )
    assert "| power limit |" in page  # what lowered the clock
    assert (
        "| (1, 3, 1080, 1920) | forward | smooth | triton | 0.100 | 10% | 1244 | 31% | 26% | 2.00 (1.81 to 2.21) |"
        in page
    )
    assert (
        "| (1, 3, 1080, 1920) | forward+backward | float32 | contiguous | smooth | 10.0 | 40.0 | 25.0 | 75.0 |"
        in page
    )
    assert "| triton | 2.00 | 1.0e-07 | 0% |" in page


def test_only_projections_are_marked_as_such(tmp_path):
    page = report.report(measurements(machine(tmp_path / "h200")))
    before, projections = page.split("## Projected, not measured")
    assert "~" not in before and "~" in projections and "| H200, 26% |" in projections
    assert "Projected" not in report.report(
        measurements(machine(tmp_path / "cpu", [on_a_cpu(row) for row in ROWS], gpu=None))
    )


def test_a_projection_is_a_limit_over_the_measured_share(tmp_path):
    """What another card needs at its own limit, over the share that this one reached of its."""
    for median in (1e-4, 2e-4):
        found = measurements(machine(tmp_path / "h200", [ROW | {"median": median}, OTHER]))
        share = 124416000 / 4.8e12 / median
        rtx = 124416000 / 1008e9 / share * 1e6
        line = next(
            line
            for line in report.report(found).split("## Projected")[1].splitlines()
            if "warp_blend forward" in line
        )
        assert f"| H200, {share:.0%} |" in line and f"~{rtx:.0f} |" in line, (line, rtx)


def test_what_misses_its_target_has_what_limits_it(tmp_path):
    stages = {"forward": {"flow": 2.0, "refine": 1.0}, "backward": {"flow": 3.0, "refine": 4.0}}
    step = ROW | {
        "operation": "training_step",
        "direction": "all free",
        "flow": "base, 1 targets",
        "shape": [4, 15, 3, 256, 256],
        "dtype": "bfloat16",
        "seconds_by_stage": stages,
    }
    rows = [
        ROW,
        OTHER | {"variant": "compiled", "median": 1e-4},
        step | {"variant": "fused"},
        step | {"variant": "reference", "fused": False, "median": 1e-4},
    ]
    lines = report.report(measurements(machine(tmp_path / "h200", rows))).splitlines()
    assert any(
        "forward | at least 1.3x |" in line
        and line.endswith("missed in 1 of 1 | at 26% of its limit, which memory sets |")
        for line in lines
    )
    assert any(
        "samples/s" in line and line.endswith("| missed in 1 of 1 | flow takes 50% |")
        for line in lines
    )
    assert "limits it" not in report.outcomes([measurements(tmp_path / "h200")])


def test_tuning_is_shown_before_and_after(tmp_path):
    attention = ROW | {
        "operation": "temporal_attention",
        "shape": [1, 1, 15, 68, 120, 8, 32, 8],
        "flow": "biases",
    }
    folder = machine(
        tmp_path / "h200",
        [attention | {"median": 5e-5}, attention | {"variant": "compiled", "fused": False}],
    )
    assert "tuning" not in report.report(measurements(folder))
    machine(
        folder / "untuned",
        [attention, attention | {"variant": "compiled", "fused": False, "median": 3e-4}],
    )
    page = report.report(measurements(folder))
    assert (
        "## What tuning changed" in page
        and "biases triton | 0.100 | 0.050 | 2.00x |" in page
        and "compiled | 0.300" not in page
    )
    assert len(measurements(folder).groups) == 1  # rows from before count nowhere else


def test_rows_of_the_model_need_no_bandwidth(tmp_path):
    row = ROW | {
        "operation": "training_step",
        "direction": "all free",
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
    found = measurements(machine(tmp_path / "h200", rows))
    page = report.report(found)
    assert (
        "| (4, 15, 3, 256, 256) | all free | base | fused | 0.100 | 10% | 2.00 | 1.00 (0.90 to 1.11) |"
        in page
    )
    assert "| (7, 15, 3, 256, 256) | all free | base | reference | 0.100 | 10% | 3.50 |  |" in page
    assert "GB/s | of copy" not in page and "Projected" not in page
    assert set(plots.pictures(found)) == {
        "speedups",
        "speedups_training_step",
    }  # no roofline; memory is the same of all


# -- the documents ---------------------------------------------------------------------------------


def document(tmp_path, *names: str):
    path = tmp_path / "README.md"
    path.write_text(
        "Before.\n"
        + "".join(f"<!-- report: {name} -->\nold\n<!-- report: end -->\nProse.\n" for name in names)
    )
    return path


def test_only_what_is_between_the_markers_changes(tmp_path):
    found = [measurements(machine(tmp_path / "h200"))]
    path = document(tmp_path, "machines", "targets", "summary", "h200 warp_blend")
    text = report.filled(path, found)
    assert (
        text.startswith("Before.\n<!-- report: machines -->\n| measured on |")
        and "old" not in text
        and text.count("Prose.\n") == 4
    )
    assert (
        "[h200](h200/report.md)" in text and "![How many" in text and "(h200/speedups.png)" in text
    )
    assert (
        "| h200 | `warp_blend`, forward+backward | eager 2.0 to 2.0 (median 2.0) | 25% of theirs |"
        in text
    )
    assert "| (1, 3, 1080, 1920) | forward | 2.0 |" in text
    path.write_text(text)
    assert report.filled(path, found) == text  # and the second time nothing


def test_a_gpu_gets_its_sections_in_the_documents(tmp_path, monkeypatch, capsys):
    results, documents = tmp_path / "results", (tmp_path / "README.md", tmp_path / "more.md")
    results.mkdir()
    machine(results / "cpu", [on_a_cpu(row) for row in ROWS], gpu=None)
    documents[0].write_text("<!-- report: summary -->\n<!-- report: end -->\n")
    documents[1].write_text("<!-- report: projections -->\n<!-- report: end -->\nProse.\n")
    for name, value in (("RESULTS", results), ("DOCUMENTS", documents)):
        monkeypatch.setattr(report, name, value)
    assert report.main([]) == 0
    assert (
        "Nothing is projected" in documents[1].read_text()
        and "cpu warp_blend" not in documents[1].read_text()
    )

    folder = machine(results / "h200", ROWS)
    assert (
        report.main(["--check"]) == 1
        and "more.md is not what the recorded results give" in capsys.readouterr().err
    )
    assert report.main([str(folder), "--documents"]) == 0 and report.main(["--check"]) == 0
    page, short = documents[1].read_text(), documents[0].read_text()
    assert (
        "Prose.\n\n## What was measured on NVIDIA H200\n\n<!-- report: h200 warp_blend -->\nTimes as fast as eager"
        in page
    )
    assert (
        "| measured on | machine | recorded | commit | torch | Triton | CUDA | driver | clock, MHz | memory clock, MHz |"
        in short
    )
    assert (
        "| 2026-11-24 | 0123456789+ | 2.13.0+cu130 | 3.7.1 | 13.0 | 1.2 | 1980 to 1755 | 3201 |"
        in short
    )
    assert "~" in page.split("Prose.")[0] and "| H200, 26% |" in page

    machine(folder, [*ROWS, ROW | {"operation": "grid_sample", "variant": "cuda"}])
    assert report.main([]) == 0
    page = documents[1].read_text()
    assert page.count("## What was measured on NVIDIA H200") == 1 and page.index(
        "h200 warp_blend -->"
    ) < page.index("h200 grid_sample -->")
    elsewhere = machine(tmp_path / "elsewhere")
    assert (
        report.main([str(elsewhere), "--documents"]) == 0
        and "elsewhere" not in documents[0].read_text()
    )


def test_a_marker_for_what_is_not_recorded_is_told(tmp_path):
    found = [measurements(machine(tmp_path / "h200"))]
    with pytest.raises(
        Refused,
        match="no results are recorded for the marker 'cpu grid_sample'; there are .* h200 warp_blend",
    ):
        report.filled(document(tmp_path, "cpu grid_sample"), found)


def test_pictures_are_drawn_once_from_their_rows(tmp_path):
    folder = machine(tmp_path / "h200")
    assert report.main([str(folder)]) == 0
    drawn = sorted(path.name for path in folder.glob("*.png"))
    assert drawn == ["memory.png", "roofline.png", "speedups.png", "speedups_warp_blend.png"]
    assert all(min(Image.open(folder / name).size) > 100 for name in drawn)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert report.main([str(folder)]) == 0 and before == {
        path: path.stat().st_mtime_ns for path in folder.iterdir()
    }


def test_the_check_finds_what_is_out_of_date(tmp_path, capsys):
    folder = machine(tmp_path / "h200")
    assert report.main([str(folder)]) == 0 and report.main([str(folder), "--check"]) == 0
    machine(folder, [*ROWS[2:], ROW, OTHER | {"median": 3e-4}])
    assert report.main([str(folder), "--check"]) == 1
    said = capsys.readouterr().err
    assert (
        "report.md is not what the recorded results give; run `make report`" in said
        and "speedups.png is not" in said
    )
    (folder / "memory.png").unlink()
    assert (
        report.main([str(folder)]) == 0
        and report.main([str(folder), "--check"]) == 0
        and (folder / "memory.png").exists()
    )
    machine(folder, ROWS[:1])  # what is not recorded any more has no picture
    Image.new("RGB", (4, 4)).save(folder / "other.png")
    assert (
        report.main([str(folder), "--check"]) == 1
        and report.main([str(folder)]) == 0
        and report.main([str(folder), "--check"]) == 0
    )
    assert sorted(path.name for path in folder.glob("*.png")) == ["other.png", "roofline.png"]


def test_the_documents_show_what_was_recorded():
    assert report.main(["--check"]) == 0
