"""The benchmark of streaming: its cases, the check of generated frames, and time by stage."""

from itertools import islice

import pytest

from benchmarks.suites import bench_streaming as bench

TOY = bench.cases("cpu", quick=False, toy=True)[0]


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    bench.baseline.cache_clear()
    monkeypatch.setattr(bench.measure, "spoiled", None)


def test_the_cases_cover_sizes_and_dtypes():
    gpu, cpu = (bench.cases(device, quick=False, toy=False) for device in ("cuda", "cpu"))
    assert {case.size for case in gpu} == {"256", "720p", "1080p", "4K"} and {
        "bfloat16",
        "float16",
    } <= {case.dtype for case in gpu}
    assert {case.shape for case in cpu} == {(256, 448), (720, 1280)}
    assert all(case.contexts == (15, 2) for case in (*gpu, *cpu))
    assert set(bench.cases("cuda", quick=True, toy=False)) < set(gpu)
    assert {name.split()[0] for name in bench.names(gpu[0])} == {
        "reference",
        "fused",
        "fused+compile",
        "fused+graph",
        "fused+compile+graph",
    }
    assert (gpu[0].preset, gpu[0].size, gpu[0].dtype) == ("base", "1080p", "bfloat16")


def test_frames_move_and_never_end():
    frames = [frame for frame, _ in islice(bench._timed(TOY), 20)]
    assert all(frame.shape == (3, 32, 48) for frame in frames)
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(frames, frames[1:], strict=False))


@pytest.mark.slow
def test_right_variants_have_times_and_stages():
    for name in bench.names(TOY):
        one, facts = bench.measured(TOY, name, 1)
        assert one.failure is None and len(one.times) == 1 and one.times[0] > 0 and one.error < 1e-4
        assert (one.baseline or {}).get("variant") == (
            None if name.startswith("reference") else "reference"
        )
        stages = facts["seconds_by_stage"]
        assert (
            set(stages) == {"encoder", "transformer", "flow", "synthesis", "refine", "rest"}
            and min(stages.values()) > 0
        )
        assert facts["energy_per_frame"] is None


def test_a_variant_is_built_when_its_own_turn_comes(monkeypatch):
    """Its row is written before the next one is built; only the reference runs besides it."""
    built = []
    made = bench.Stream.__init__
    monkeypatch.setattr(
        bench.Stream,
        "__init__",
        lambda self, case, variant, *dtype: (
            built.append(variant) or made(self, case, variant, *dtype)
        ),
    )
    monkeypatch.setattr(bench, "_by_stage", lambda *_: {})
    bench.measured(TOY, "fused 2", 1)
    assert built.count("fused 2") == 1 and set(built) == {"fused 2", "reference 2"}


@pytest.mark.slow
def test_a_wrong_variant_has_no_time(monkeypatch):
    right = bench.Stream.__call__
    monkeypatch.setattr(
        bench.Stream,
        "__call__",
        lambda self: right(self) * (1.01 if "fused" in self.variant else 1.0),
    )
    one, _ = bench.measured(TOY, "fused 2", 1)
    assert one.failure.startswith("wrong: relative error 0.") and one.times == []
    one, _ = bench.measured(TOY, "reference 2", 1)
    assert one.failure is None and len(one.times) == 1


@pytest.mark.slow
def test_a_variant_that_does_not_run_has_its_error(monkeypatch):
    monkeypatch.setattr(bench, "SWITCHES", {**bench.SWITCHES, "fused": {"cuda_graph": True}})
    assert "CUDA graphs need a GPU" in bench.measured(TOY, "fused 2", 1)[0].failure
    assert bench.measured(TOY, "reference 2", 1)[0].failure is None


def test_energy_is_measured_once_per_form(monkeypatch):
    for name, given in (
        ("_examined", lambda: None),
        ("baseline", lambda: None),
        ("_energy", 7.0),
        ("_by_stage", {}),
    ):
        monkeypatch.setattr(bench, name, lambda *_, given=given: given)
    asked = {
        name: bench.measured(TOY, name, 1, energy=True)[1]["energy_per_frame"]
        for name in ("fused 3", "fused 2")
    }
    assert asked == {"fused 3": 7.0, "fused 2": None}
    assert bench.measured(TOY, "fused 3", 1)[1]["energy_per_frame"] is None


@pytest.mark.slow
@pytest.mark.native
def test_files_are_timed_by_kernels_and_by_thread(tmp_path):
    pytest.importorskip("av")
    found, facts = bench.files("32x48", 1, tmp_path, 3)
    assert all(one.failure is None and one.times[0] > 0 for one in found.values())
    for name in ("reference", "fused"):
        assert (facts[name]["frames"], facts[name]["made"]) == (5, 2)
        seconds = facts[name]["seconds_by_thread"]
        assert min(seconds[stage] for stage in ("reader", "model", "writer", "rest")) > 0
        assert max(seconds.values()) <= found[name].times[0]
        assert facts[name]["frames_per_second"] == pytest.approx(5 / found[name].times[0])
