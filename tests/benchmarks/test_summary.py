"""The summary of a run of `benchmarks/gpu.sh`."""

import json

from benchmarks.gpu import summary

ROW = {
    "operation": "warp_blend",
    "device": "cuda",
    "direction": "forward",
    "dtype": "float32",
    "layout": "contiguous",
    "shape": [1, 3, 8, 12],
    "flow": "smooth",
    "variant": "triton",
    "fused": True,
    "median": 2e-3,
    "spread": 0.01,
    "gigabytes_per_second": 900.0,
    "share_of_copy_bandwidth": 0.9,
    "peak_memory": 2_000_000,
    "saved_for_backward": None,
    "compile_time": 1.5,
    "error": 1e-7,
}


def test_the_summary_holds_steps_machine_and_figures(tmp_path):
    (tmp_path / "steps.tsv").write_text(
        "build\tpassed\t3\ntests\tFAILED (exit code 1)\t9\nmemcheck\tskipped, out of time\t0\n"
    )
    (tmp_path / "tests.log").write_text("skipped, out of time: 7 of 9\n2 failed | 7 skipped\n\n")
    (tmp_path / "convergence.log").write_text("the losses stay within\n")
    gpu = {"name": "One GPU", "clock": 1980}
    (tmp_path / "bench_warp_blend.json").write_text(
        json.dumps(
            {
                "machine_info": {
                    "lift": {
                        "facts": {"torch": "2.11"},
                        "commit": "abc",
                        "sources": "def",
                        "gpus": [gpu],
                    }
                },
                "gpus_after": [gpu],
                "benchmarks": [
                    {"extra_info": ROW},
                    {"extra_info": ROW | {"variant": "eager", "fused": False, "median": 4e-3}},
                ],
            }
        )
    )
    (tmp_path / "bench_temporal_attention.json").write_text("")  # stopped while it wrote
    assert summary.main([str(tmp_path)]) == 0
    page, data = (
        (tmp_path / "summary.md").read_text(),
        json.loads((tmp_path / "summary.json").read_text()),
    )
    for part in (
        "failed: tests.",
        "| tests | FAILED (exit code 1) | 9 | 2 failed \\| 7 skipped |",
        "- tests: skipped, out of time: 7 of 9",
        "- memcheck: skipped, out of time",
        "- commit: abc, sources def",
        "- GPU before: name One GPU, clock 1980",
        "| triton | 2.000 | 1% | 900.0 | 90% | 2 | - | 1.5 | 1.0e-07 | eager 2.00x |",
        "the losses stay within",
    ):
        assert part in page, part
    assert (
        "dry run" not in page
        and data["failed"] == ["tests"]
        and data["rows"]["bench_warp_blend"][0]["variant"] == "triton"
    )


def test_the_summary_of_a_run_that_goes_on_says_where_it_is(tmp_path):
    (tmp_path / "steps-1.tsv").write_text("build\tpassed\t3\ntests\tFAILED (exit code 1)\t9\n")
    running = "running since 12:00:05 UTC, for 60 s at most"
    (tmp_path / "steps-2.tsv").write_text(
        f"build\tpassed\t1\nbench_warp_blend\t{running}\t0\nprofile\tnot started\t0\n"
    )
    failures = [f"FAILED tests/test_it.py::test_{i} - wrong" for i in range(60)]
    (tmp_path / "tests.log").write_text("\n".join([*failures, *["the end"] * 12]))
    written = json.dumps(ROW) + '\n{"operation": "wa'
    (tmp_path / "bench_warp_blend.json.rows.jsonl").write_text(written)
    (tmp_path / "counters.json").write_text('{"cases": [')  # killed while it wrote
    assert summary.main([str(tmp_path)]) == 0
    page = (tmp_path / "summary.md").read_text()
    data = json.loads((tmp_path / "summary.json").read_text())
    assert f"**`bench_warp_blend` was {running} when this page was written: if the run has" in page
    assert "Not started: profile." in page and "| build | passed | 1 |" in page
    assert page.count("- wrong") == 40 and "... and 20 more" in page
    assert "| triton | 2.000 |" in page and data["rows"]["bench_warp_blend"] == [ROW]
    assert data["running"] == ["bench_warp_blend"] and data["not started"] == ["profile"]
