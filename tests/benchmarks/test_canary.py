"""The canary: each check catches an error, and none stops the others."""

import json
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from benchmarks.gpu import canary
from benchmarks.harness import training_step
from lift import kernels
from lift.kernels import dispatch as backend
from lift.kernels.selfcheck import samples
from lift.video.cuda_graphs import GraphedCall

TOY = canary.toy("cpu")
TRITON = canary.TRITON_OPERATIONS


@dataclass(frozen=True)
class Pretended(canary.Setting):
    """A GPU for the checks, a CPU for torch."""

    is_cuda = True
    flag = "reference"

    def synchronize(self) -> None:
        pass


GPU = Pretended(**vars(TOY))


@pytest.fixture
def replaced(monkeypatch):
    """Replace every backend of an operation by its reference with scaled results."""

    def change(name: str, factor: float) -> None:
        *others, reference = backend.operations()[name]

        def call(*arguments):
            found = reference.call(*arguments)
            if isinstance(found, tuple):
                return tuple(None if x is None else x * factor for x in found)
            return found * factor

        changed = [
            replace(x, call=call, unsupported_reason=backend.always_supported, automatic=True)
            for x in others
        ]
        monkeypatch.setitem(backend._operations, name, (*changed, reference))

    return change


def outcome(name: str, setting: canary.Setting = TOY) -> tuple[str, str]:
    return canary._outcome(canary.CHECKS[name], setting)


# -- each check -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRITON)
def test_a_wrong_triton_operation_fails(replaced, name):
    replaced(name, 1.0)
    assert outcome(f"{name}, Triton")[0] == "passed"
    replaced(name, 1.001)
    status, text = outcome(f"{name}, Triton")
    assert status == "FAILED" and text.startswith("error ") and "allowed 2.0e-05" in text


@pytest.mark.parametrize("kind", ["fast", "deterministic"])
def test_wrong_gradients_of_grid_sample_fail(replaced, kind):
    name = f"grid_sample, {kind} gradients"
    replaced("grid_sample", 1.0)
    assert outcome(name)[0] == "passed"
    replaced("grid_sample", 1.001)
    status, text = outcome(name)
    assert status == "FAILED" and "error against ATen in float64 1.0e-03" in text


def test_gradients_that_differ_from_run_to_run_fail_as_deterministic_ones(replaced, monkeypatch):
    replaced("grid_sample", 1.0)
    right, factors = kernels.grid_sample, iter([1.0, 1 + 1e-6])
    monkeypatch.setattr(kernels, "grid_sample", lambda *a, **k: right(*a, **k) * next(factors))
    status, text = outcome("grid_sample, deterministic gradients")
    assert status == "FAILED" and text.startswith("two deterministic runs gave different bits")
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("check", "operation"), [("frame", "warp_blend"), ("training step", "correlation")]
)
def test_a_model_with_a_wrong_operation_fails(replaced, check, operation):
    replaced(operation, 1.0)
    assert outcome(check)[0] == "passed"
    replaced(operation, 1.05)
    status, text = outcome(check)
    assert status == "FAILED" and "distance from the reference's " in text


def test_a_build_without_the_cuda_kernels_fails(monkeypatch):
    monkeypatch.setattr(canary.cuda, "unsupported_reason", lambda: None)
    assert outcome("CUDA build", GPU)[0] == "passed"
    monkeypatch.setattr(canary.cuda, "unsupported_reason", lambda: "they are not built")
    status, text = outcome("CUDA build", GPU)
    assert status == "FAILED" and "of grid_sample are not supported: they are not built" in text
    assert outcome("CUDA build") == ("skipped", "needs a GPU")


@pytest.mark.parametrize("replays", [True, False])
def test_a_graph_that_replays_what_it_recorded_on_fails(monkeypatch, replays):
    def record(call):
        results = call()
        return results, lambda: results.copy_(call()) if replays else None

    monkeypatch.setattr(canary, "GraphedCall", partial(GraphedCall, record=record))
    monkeypatch.setattr(kernels, "warp", lambda image, flow, backend: image * flow[:, :1])
    status, text = outcome("CUDA graph", GPU)
    assert status == ("passed" if replays else "FAILED"), text


class Small:
    """A model of a few weights instead of the trained one."""

    def __init__(self, config, device, autocast):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(8, 3)
        self.optimizer = torch.optim.SGD(self.model.parameters())

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model(batch).square().mean()


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, "passed"), (0.9, "FAILED"), (float("nan"), "FAILED")]
)
def test_a_captured_step_with_other_gradients_fails(monkeypatch, factor, expected):
    def capture(step, warm_up):
        assert warm_up == 3
        loss = step()

        def replay():
            loss.copy_(step())
            for p in step.__self__.training.model.parameters():
                if p.grad is not None:
                    p.grad.mul_(factor)

        return SimpleNamespace(replay=replay), loss

    monkeypatch.setattr(training_step, "capture", capture, raising=False)
    monkeypatch.setattr(training_step, "Training", Small)
    monkeypatch.setattr(training_step, "batch", lambda *size: torch.ones(4, 8))
    status, text = outcome("training step, captured", GPU)
    assert status == expected and text.startswith("distance from the plain step's"), text


def test_frames_in_graphs_are_asked_for(monkeypatch):
    asked = []

    def stream(setting, autocast, flag, in_graphs):
        asked.append(in_graphs)
        return iter([torch.full((3, 4, 4), 0.5 + 0.1 * in_graphs)] * 2)

    monkeypatch.setattr(canary, "_stream", stream)
    canary._reference_frame.cache_clear()
    status, _ = outcome("frame, in graphs", GPU)
    canary._reference_frame.cache_clear()
    assert status == "FAILED" and asked == [False, True]


# -- all of them ----------------------------------------------------------------------------------


@pytest.fixture
def three_checks(monkeypatch):
    """One that passes, one that raises, one that passes."""

    def raises(setting):
        samples("no such operation")

    checks = {"first": lambda s: "right", "second": raises, "third": lambda s: "right too"}
    monkeypatch.setattr(canary, "CHECKS", checks)


def test_a_check_that_raises_is_a_line_with_its_place_and_the_others_follow(three_checks, capsys):
    written = []
    rows = canary.run(TOY, write=lambda rows: written.append(len(rows)))
    assert [row["status"] for row in rows] == ["passed", "FAILED", "passed"]
    assert written == [1, 2, 3]
    assert rows[1]["text"].startswith("ValueError: samples: no operation 'no such operation'")
    assert "(selfcheck.py:" in rows[1]["text"] and "in samples)" in rows[1]["text"]
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_dead_context_ends_the_canary_with_what_is_known(three_checks, monkeypatch):
    monkeypatch.setattr(canary, "_alive", lambda: False)
    rows = canary.run(GPU)
    assert [row["status"] for row in rows] == ["passed", "FAILED", "skipped"]
    assert rows[1]["text"].endswith("; the CUDA context died")
    assert rows[2]["text"] == "the CUDA context died in second"


def test_checks_that_no_time_is_left_for_are_no_failures(three_checks):
    assert {row["text"] for row in canary.run(TOY, seconds=0)} == {"out of time"}


def test_the_exit_code_and_the_file_say_what_failed(three_checks, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(canary.machine, "describe", dict)
    file = tmp_path / "canary.json"
    assert canary.main(["--device", "cpu", "--toy", "--json", str(file)]) == 1
    assert capsys.readouterr().out.endswith("1 of 3 checks failed: second\n")
    assert [row["status"] for row in json.loads(file.read_text())["checks"]].count("FAILED") == 1
    canary.CHECKS.pop("second")
    assert canary.main(["--device", "cpu", "--toy"]) == 0
