"""The benchmark of a training step: fair comparisons, and variants independent of each other."""

from functools import partial

import pytest
import torch

from benchmarks.harness import measure
from benchmarks.suites import bench_model as bench
from lift.training.cuda_graph import GraphedGradients
from tests.support.recorder import Recorder

TOY = bench.cases("cpu", quick=False, toy=True)[0]


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    bench.baseline.cache_clear()
    monkeypatch.setattr(measure, "spoiled", None)
    monkeypatch.setattr(bench, "_measure_stages", lambda *_: None)


@pytest.fixture
def recorder(monkeypatch):
    """Stands for CUDA graphs in `fused+graph`."""
    recorder = Recorder()
    graphed = partial(GraphedGradients, recorder=recorder)
    monkeypatch.setattr(bench, "GraphedGradients", graphed)
    return recorder


@pytest.mark.slow
def test_a_graph_is_that_of_the_training_command_and_compared_before_clipping(recorder):
    """Forward, losses and backward are recorded; each step is a replay, an update and a norm."""
    row = bench.Row(measure.VariantResult(), 1)
    step = bench._examined(row, TOY, "fused+graph")
    replayed = recorder.replayed
    assert recorder.recorded == 1 and step()[1] > 2 * step.config.train.clip_grad
    assert recorder.replayed == replayed + 1
    assert row.found.failure is None
    assert row.found.error < 0.02  # clipped ones would be wrong by more than half
    assert row.found.peak_of_recording


def test_wrong_gradients_are_found_although_the_step_clips_them(monkeypatch):
    forward = bench.Step._forward

    def doubled(self, batch, weight):
        return forward(self, batch, weight * (2 if self.config.kernels == "auto" else 1))

    monkeypatch.setattr(bench.Step, "_forward", doubled)
    assert bench.measured(TOY, "fused", 1).found.failure.startswith("wrong: relative error 1")


def test_a_variant_is_built_when_its_own_turn_comes(monkeypatch):
    built, made = [], bench.Step.__init__
    monkeypatch.setattr(
        bench.Step,
        "__init__",
        lambda self, case, variant, *rest, **more: (
            built.append(variant) or made(self, case, variant, *rest, **more)
        ),
    )
    row = bench.measured(TOY, "fused", 1)
    assert built.count("fused") == 1 and set(built) == {"fused", "reference"}
    assert (
        row.found.baseline["variant"] == "reference"
        and row.found.baseline["median"] > 0
        and len(row.found.times) == 1
    )


def test_after_a_failed_graph_capture_nothing_more_is_measured(monkeypatch):
    def record(call):
        raise RuntimeError("operation not permitted when stream is capturing")

    graphed = partial(GraphedGradients, recorder=record)
    monkeypatch.setattr(bench, "GraphedGradients", graphed)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "not permitted" in bench.measured(TOY, "fused+graph", 1).found.failure
    assert bench.largest(TOY, "fused", 1).found.failure.startswith("not measured")
    later = bench.measured(TOY, "fused", 1).found
    assert (
        later.failure.startswith("not measured: the graph capture of fused+graph failed")
        and later.times == []
    )


def test_what_compiles_comes_last_and_can_be_left_out():
    cases = bench.cases("cuda", quick=True, toy=False)
    plain, rest = ["reference", "fused", "fused+recompute"], ["fused+graph", "fused+compile"]
    found = bench.in_order(cases, ",".join(measure.FORMS))
    assert [name for case, name in found if case == cases[0]] == plain + rest
    assert [case.batch for case, _ in found[:3]] == [4, 4, 4]
    assert [case.batch for case, _ in found[-3:]] == [0, 0, 0]  # out of memory on purpose
    assert {case.batch for case, _ in found[:-3]} == {4, 2}
    assert [name for _, name in bench.in_order(cases[:1], "plain")] == plain
    assert [name for _, name in bench.in_order(cases, "graph,compiled")] == rest
    assert measure.form("fused+compile+graph 15") == "compiled"
