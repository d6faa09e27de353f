"""The benchmark of streaming: what it measures, that made frames are compared first, and where the time goes."""
import sys
from itertools import islice
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

import bench_streaming as bench  # noqa: E402

TOY = bench.cases("cpu", quick=False, toy=True)[0]


@pytest.fixture(autouse=True)
def fresh():
    bench.measured.cache_clear()


def test_the_cases_that_were_promised():
    gpu, cpu = (bench.cases(device, quick=False, toy=False) for device in ("cuda", "cpu"))
    assert {case.size for case in gpu} == {"256", "720p", "1080p", "4K"} and {"bfloat16", "float16"} <= {case.dtype for case in gpu}
    assert {case.shape for case in cpu} == {(256, 448), (720, 1280)}
    assert all(case.contexts == (15, 2) for case in (*gpu, *cpu))
    assert set(bench.cases("cuda", quick=True, toy=False)) < set(gpu)
    assert {name.split()[0] for name in bench.names(gpu[0])} == {"reference", "fused", "fused+compile", "fused+graph"}


def test_frames_move_and_never_end():
    frames = [frame for frame, _ in islice(bench._timed(TOY), 20)]
    assert all(frame.shape == (3, 32, 48) for frame in frames)
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(frames, frames[1:], strict=False))


def test_right_variants_have_times_and_stages():
    found, facts = bench.measured(TOY, 1)
    assert set(found) == {"reference 3", "reference 2", "fused 3", "fused 2"}
    for name, one in found.items():
        assert one.failure is None and len(one.times) == 1 and one.times[0] > 0 and one.error < 1e-4
        stages = facts[name]["seconds_by_stage"]
        assert set(stages) == {"encoder", "transformer", "flow", "synthesis", "refine", "rest"} and min(stages.values()) > 0
        assert facts[name]["energy_per_frame"] is None


def test_a_wrong_variant_has_no_time(monkeypatch):
    right = bench.Stream.__call__
    monkeypatch.setattr(bench.Stream, "__call__", lambda self: right(self) * (1.01 if "fused" in self.variant else 1.0))
    found, _ = bench.measured(TOY, 1)
    assert found["fused 3"].failure.startswith("wrong: relative error 0.") and found["fused 3"].times == []
    assert found["reference 3"].failure is None and len(found["reference 3"].times) == 1


def test_a_variant_that_does_not_run_is_told(monkeypatch):
    monkeypatch.setattr(bench, "SWITCHES", {**bench.SWITCHES, "fused": {"cuda_graph": True}})
    found, _ = bench.measured(TOY, 1)
    assert "CUDA graphs need a GPU" in found["fused 2"].failure and found["reference 2"].failure is None


@pytest.mark.native
def test_files_are_told_by_kernels(tmp_path):
    pytest.importorskip("av")
    pytest.importorskip("scenedetect")
    found, facts = bench.files(1, tmp_path, 3)
    assert all(one.failure is None and one.times[0] > 0 for one in found.values())
    assert facts == {name: {"frames": 5, "made": 2} for name in ("reference", "fused")}
