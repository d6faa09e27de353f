"""The benchmark of whole methods: what it compares, and the table of it."""

import numpy as np
import pytest
import torch

from benchmarks.harness.registry import SUITES
from benchmarks.report import methods as report
from benchmarks.report.results import measurements
from benchmarks.suites import bench_methods as bench
from tests.support.recorded_results import ROW, write_results


def test_every_method_is_registered():
    assert SUITES["methods"].variants == bench.NAMES


def test_frames_differ_by_a_shift():
    frame0, frame1 = bench.images(48, 64)
    assert frame0.shape == frame1.shape == (48, 64, 3) and frame0.dtype == np.uint8
    assert (frame0[5:, 10:] == frame1[:-5, :-10]).all() and (frame0 != frame1).any()


def test_the_net_of_rifes_size_returns_the_size_of_its_frames():
    frames = [torch.rand(1, 3, 40, 72) for _ in range(2)]
    assert bench.rife_sized(frames, "cpu")().shape == (1, 3, 40, 72)


def test_methods_with_other_frames_in_every_call_get_no_time(monkeypatch):
    torch.manual_seed(0)
    tasks = {"averaging": lambda: np.ones((2, 2)), "DIS": lambda: torch.rand(2, 2)}
    monkeypatch.setattr(bench, "methods", lambda size, device: tasks)
    bench.measured.cache_clear()
    found = bench.measured("64x96", "cpu", 2)
    bench.measured.cache_clear()
    assert len(found["averaging"].times) == 2 and found["averaging"].failure is None
    assert found["DIS"].failure and not found["DIS"].times


def test_the_table_has_a_line_for_each_method(tmp_path):
    row = ROW | {
        "operation": "methods",
        "fused": False,
        "device": "cpu",
        "shape": [1, 3, 720, 1280],
    }
    rows = [
        row | {"variant": "LIFT, 2 frames", "median": 0.5},
        row | {"variant": "RIFE-sized", "median": 2.0},
    ]
    write_results(tmp_path / "cpu", rows)
    lines = report.table([measurements(tmp_path / "cpu")]).splitlines()
    assert lines[-1] == "| cpu | 1280 × 720 | RIFE-sized | 2000 | 10% | 0.50 | 4.00 × |"
    write_results(tmp_path / "other", [ROW])
    assert report.table([measurements(tmp_path / "other")]) == report.NOT_RECORDED


@pytest.mark.slow
def test_all_methods_run():
    bench.measured.cache_clear()
    found = bench.measured("64x96", "cpu", 1)
    bench.measured.cache_clear()
    assert list(found) == list(bench.NAMES)
    assert all(each.failure is None and each.times for each in found.values())
