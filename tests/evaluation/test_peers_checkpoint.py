"""Checkpoints of other models are read as tensors alone, and fill a network or are refused."""

import pickle

import pytest
import torch
from torch import nn

from lift.errors import LiftError
from lift.evaluation.peers.checkpoint import load_first_fit, read_state


class _Code:
    def __reduce__(self):
        return (pytest.fail, ("code of a checkpoint was run",))


def _load(state, *sizes):
    nets = {str(size): nn.Linear(size, 1) for size in sizes}
    candidates = ((name, name, net) for name, net in nets.items())
    return load_first_fit(candidates, state, "weights.pkl", "--x"), nets


@pytest.mark.parametrize("prefix", ("", "module."))
def test_the_prefix_of_distributed_training_is_dropped(tmp_path, prefix):
    torch.save({f"{prefix}weight": torch.ones(1)}, tmp_path / "w.pkl")
    assert list(read_state(tmp_path / "w.pkl", "--x")) == ["weight"]


def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path):
    torch.save({"weight": _Code()}, tmp_path / "w.pkl")
    with pytest.raises(LiftError, match="--x: .*w.pkl is not a checkpoint of tensors alone"):
        read_state(tmp_path / "w.pkl", "--x")


@pytest.mark.parametrize("content", (b"", b"no weights", pickle.dumps({"a": 1}, 2)))
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "w.pkl").write_bytes(content)
    with pytest.raises(LiftError, match="--x: .*w.pkl is not"):
        read_state(tmp_path / "w.pkl", "--x")


def test_a_checkpoint_that_was_cut_off_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(1000)}, tmp_path / "w.pkl")
    (tmp_path / "w.pkl").write_bytes((tmp_path / "w.pkl").read_bytes()[:2000])
    with pytest.raises(LiftError, match="--x: .*w.pkl is not .*downloaded completely"):
        read_state(tmp_path / "w.pkl", "--x")


@pytest.mark.parametrize("content", ([torch.zeros(1)], {"epoch": 3}, torch.zeros(1)))
def test_what_is_no_dictionary_of_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pkl")
    with pytest.raises(LiftError, match="is not a dictionary of tensors by name"):
        read_state(tmp_path / "w.pkl", "--x")


def test_the_first_network_that_fits_gets_the_weights():
    state = {"weight": torch.full((1, 3), 7.0), "bias": torch.zeros(1), "only_training": None}
    (variant, _), nets = _load(state, 2, 3)
    assert variant == "3" and (nets["3"].weight == 7).all() and not nets["3"].training


def test_weights_that_fit_nothing_are_refused_with_the_reason_of_each():
    with pytest.raises(LiftError, match=r"2: weight is \[1, 4\], not \[1, 2\]; 3: weight is"):
        _load({"weight": torch.zeros(1, 4), "bias": torch.zeros(1)}, 2, 3)
    with pytest.raises(LiftError, match="--x: weights.pkl does not fit the code .*bias is missing"):
        _load({"weight": torch.zeros(1, 2)}, 2)
