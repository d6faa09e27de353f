"""A training step on a GPU copies its batch to the device and its numbers back, waits for nothing
but the step before, and could be captured as a CUDA graph. Tensors without data stand for a GPU's.
"""

from dataclasses import fields, replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data._utils.pin_memory import pin_memory

from benchmarks.harness import training_step
from lift.config import Config, DataConfig, TrainConfig
from lift.model.lift import LIFT
from lift.profiling import memory
from lift.profiling.dataless import GPU, dataless
from lift.training import loop
from lift.training.distributed import DistributedContext
from lift.training.scalars import StepScalars
from lift.training.signals import StopRequest
from lift.training.state import TrainState, build_model
from tests.support.device_traffic import Traffic, device_traffic, place
from tests.support.models import TINY

MODEL = replace(TINY, layers=1)

STEPS, READS = 2, "lift/training/scalars.py"
SMALL = Config(
    MODEL,
    DataConfig(
        data_source="synthetic", crop_height=48, crop_width=64, context_frames=4, num_workers=0
    ),
    TrainConfig(
        batch_size=2,
        epochs=1,
        epoch_steps=STEPS,
        log_steps=100,
        freeze_epochs=0,
        validate_clips=1,
        amp="bfloat16",
    ),
)
CASES = {
    "plain": SMALL,
    "float16": replace(SMALL, train=replace(SMALL.train, amp="float16")),
    "two parts, several targets": replace(
        SMALL,
        data=replace(SMALL.data, targets=2),
        train=replace(SMALL.train, accumulate=2, recompute_encoder=True),
    ),
}


def move(run: loop.Trainer) -> None:
    """Let a run on the CPU go on on a GPU without data; it writes and validates nothing.

    To be called inside `device_traffic`.
    """

    def steps(count):
        for _ in range(count):
            each = range(run.settings.accumulate)
            yield [memory.empty_batch(run.config).pin_memory() for _ in each]

    run.distributed = DistributedContext(GPU)
    run.state = TrainState(dataless(run.state.model), run.settings, GPU)
    run.data.steps, run._validate_if_due = steps, lambda stop: None
    run.save_checkpoint = run._read_pending
    run.guard.record = lambda *scalars: None  # without data every step would count as skipped


# -- the loop ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
def test_a_step_waits_for_nothing_but_the_step_before(config, tmp_path, monkeypatch):
    read, original = [], StepScalars.read

    def reading(self):
        read.append((self.step, run.step))
        return original(self)

    monkeypatch.setattr(StepScalars, "read", reading)
    run = loop.Trainer(
        replace(config, train=replace(config.train, output=str(tmp_path))),
        DistributedContext(torch.device("cpu")),
        StopRequest(),
    )
    with device_traffic() as found:
        move(run)
        found.clear()
        assert run.fit().step == STEPS
    run.logger.close()
    assert not found.waits
    assert len(found.downloads) == len(found.synchronizations) == STEPS
    assert not any(record.blocking for record in found.downloads)
    assert {record.place.split(":")[0] for record in found.synchronizations} == {READS}
    assert read == [(1, 2), (2, 2)]  # step 1 is read when step 2 is launched
    # A batch is all that is sent, once, from page-locked memory.
    tensors = 9 if config.data.targets > 1 else 8
    assert len(found.uploads) == STEPS * config.train.accumulate * tensors
    assert not any(record.blocking for record in found.uploads)
    assert {record.place.split(":")[0] for record in found.uploads} == {"lift/data/clip.py"}


def test_the_loader_gives_batches_in_page_locked_memory():
    with device_traffic():
        batch = memory.empty_batch(CASES["two parts, several targets"])
        assert not batch.target.is_pinned()
        pinned = pin_memory(batch)  # what DataLoader calls
        tensors = [getattr(part, f.name) for part in (pinned, pinned.clip) for f in fields(part)]
        assert all(x.is_pinned() for x in tensors if isinstance(x, torch.Tensor))


# -- a CUDA graph --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True], ids=["plain", "recompute"])
def test_nothing_in_a_step_is_illegal_in_a_cuda_graph(recompute, monkeypatch):
    train = replace(SMALL.train, recompute_encoder=recompute, recompute_refine=recompute)
    monkeypatch.setattr(training_step, "LIFT", lambda *given: dataless(LIFT(*given)))
    with device_traffic() as found:
        training = training_step.Training(replace(SMALL, train=train), GPU, torch.bfloat16)
        batch = memory.empty_batch(SMALL).to(GPU)
        found.clear()
        for _ in range(2):  # the first makes the optimiser's state
            training.step(batch)
    assert found == Traffic()
    state = training.optimizer.state.values()
    assert all(x.is_cuda for part in state for x in part.values())


class Asked(TorchDispatchMode):
    """Notes what becomes a tensor out of Python's numbers, as a copy from the host does on a GPU.

    Values that are asked of a tensor without data raise by themselves.
    """

    def __init__(self):
        super().__init__()
        self.places = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        if "lift_fresh" in str(function):
            self.places.append(place())
        return function(*arguments, **(keywords or {}))


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True], ids=["plain", "recompute"])
def test_backward_asks_for_nothing_from_the_host(recompute):
    train = replace(SMALL.train, recompute_encoder=recompute, recompute_refine=recompute)
    config = replace(SMALL, train=train)
    with memory.dataless_step(config, "cuda"):
        model, batch = build_model(config), memory.empty_batch(config)
        loss = memory._forward(config, model, batch, torch.bfloat16)
        with Asked() as asked:
            torch.tensor(1.0)  # so that it is seen to notice
            memory.run_backward(loss)
    assert len(asked.places) == 1, asked.places
    assert all(p.grad is not None for p in model.parameters())
