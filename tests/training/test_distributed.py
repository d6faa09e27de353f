"""Several processes equal one with the batches of all, resume as one, and share optimiser state."""

import pytest
import torch
from safetensors.torch import load_file

from lift.training import checkpoints
from lift.training.loop import train
from tests.support.processes import train_in_processes
from tests.support.training_runs import run_config, stop_after

# Small, so that rounding, which Adam's first steps enlarge, stays below the tolerance.
SETTINGS = {"epochs": 2, "validate_epochs": 9, "freeze_epochs": 0, "lr": 1e-4}


def weights(output, step: int) -> dict[str, torch.Tensor]:
    return load_file(output / f"checkpoint/checkpoint-{step:08d}/model.safetensors")


def assert_close(one: dict, other: dict) -> None:
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=5e-5, msg=name)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """Four steps of one process with a batch of four."""
    output = tmp_path_factory.mktemp("one")
    train(run_config(output, batch_size=4, **SETTINGS))
    return output


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "zero1"])
def test_two_processes_equal_one_with_the_doubled_batch(tmp_path, one_process, sharding):
    train_in_processes(run_config(tmp_path, batch_size=2, sharding=sharding, **SETTINGS), 2)
    assert_close(weights(tmp_path, 4), weights(one_process, 4))
    stored = checkpoints.read(tmp_path / "checkpoint" / "checkpoint-00000004").state
    alone = checkpoints.read(one_process / "checkpoint" / "checkpoint-00000004").state
    assert stored["data"] == alone["data"] and stored["world"] == 2
    states = [state["optimizer"]["state"] for state in (stored, alone)]
    assert states[0].keys() == states[1].keys()
    for number, state in states[1].items():
        moment, other = state["exp_avg"], states[0][number]["exp_avg"]
        assert (moment - other).norm() <= 0.02 * moment.norm() + 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "zero1"])
def test_one_process_resumes_a_run_of_two(tmp_path, one_process, monkeypatch, capsys, sharding):
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        config = run_config(tmp_path, batch_size=2, sharding=sharding, **SETTINGS)
        train_in_processes(config, 2)
    assert checkpoints.find(tmp_path, "auto").name == "checkpoint-00000002"
    train(run_config(tmp_path, batch_size=4, **SETTINGS))
    printed = capsys.readouterr().err
    assert "changed on resume: batch_size 2 -> 4, processes 2 -> 1" in printed
    assert_close(weights(tmp_path, 4), weights(one_process, 4))


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "zero1"])
def test_two_processes_resume_a_run_of_one(tmp_path, one_process, monkeypatch, sharding):
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        train(run_config(tmp_path, batch_size=4, **SETTINGS))
    train_in_processes(run_config(tmp_path, batch_size=2, sharding=sharding, **SETTINGS), 2)
    assert_close(weights(tmp_path, 4), weights(one_process, 4))
