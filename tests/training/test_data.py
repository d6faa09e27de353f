"""The samples of a run's steps, whatever the batch size and the number of processes."""

import pytest
import torch

from lift.config import Config, from_dict
from lift.training.data import TrainingData
from lift.training.distributed import DistributedContext
from tests.support.training_runs import DATA, MODEL


def config(batch_size: int, **settings) -> Config:
    train = {"batch_size": batch_size, "device": "cpu", **settings}
    return from_dict({"model": MODEL, "data": DATA, "train": train})


def open_data(chosen: Config, rank: int = 0, world: int = 1, samples: int = 0) -> TrainingData:
    data = TrainingData(chosen, DistributedContext(torch.device("cpu"), rank, world))
    data.load_state_dict({"samples": samples})
    return data


def targets(data: TrainingData, steps: int) -> torch.Tensor:
    """The target frames of some steps, in their order."""
    return torch.cat([part.target for parts in data.steps(steps) for part in parts])


@pytest.mark.parametrize("batch_size, world, accumulate", [(2, 2, 1), (2, 1, 2), (1, 2, 2)])
def test_the_samples_of_a_step_do_not_depend_on_how_it_is_divided(batch_size, world, accumulate):
    whole = targets(open_data(config(4)), 2)
    parts = []
    for rank in range(world):
        data = open_data(config(batch_size, accumulate=accumulate), rank, world)
        parts.append(targets(data, 2).unflatten(0, (-1, batch_size)))
        assert data.samples == 8
    assert torch.equal(torch.stack(parts, 1).flatten(0, 2), whole)


def test_samples_go_on_at_the_next_whole_batch():
    data = open_data(config(3), samples=4)
    assert torch.equal(targets(data, 1), targets(open_data(config(3), samples=6), 1))
    assert data.samples == 9


@pytest.mark.parametrize("epoch_steps, steps", [(0, 2000 // 12), (7, 7)])
def test_an_epoch_is_one_pass_or_a_number_of_steps(epoch_steps, steps):
    chosen = config(2, accumulate=3, epoch_steps=epoch_steps)
    assert open_data(chosen, world=2).epoch_steps == steps


def test_waiting_is_counted_once():
    data = open_data(config(1))
    targets(data, 1)
    assert data.take_waited() > 0 and data.take_waited() == 0
