"""Casting the weights of a stage at once changes no result and leaves the model as it was."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lift.model import lift
from lift.model.autocast_weights import autocast_weights
from lift.model.blocks import PreciseLinear
from lift.model.lift import LIFT
from tests.support.models import TINY, random_clip, wake


@pytest.fixture(scope="module")
def awake() -> LIFT:
    torch.manual_seed(0)
    model = wake(LIFT(TINY))
    model.set_epoch(99)
    return model


def results(model: LIFT, clip) -> dict[str, torch.Tensor]:
    """The frame and the gradients of all parameters, in mixed precision."""
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = model(clip, torch.tensor([0.3, 0.7]))
    (prediction.frame.square().mean() + prediction.coarse.square().mean()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return {"frame": prediction.frame.detach(), **gradients}


@pytest.mark.parametrize("recompute", [False, True])
def test_results_have_the_same_bits(awake, recompute, monkeypatch):
    clip = random_clip()
    model = copy.deepcopy(awake)
    model.encoder.recompute = model.refine.recompute = recompute
    found = results(model, clip)
    monkeypatch.setattr(lift, "autocast_weights", lambda model: nullcontext())
    expected = results(model, clip)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if value is None:
            assert found[name] is None, name
        else:
            assert torch.equal(found[name], value), name


def test_weights_are_cast_by_stage_and_their_gradients_too(awake):
    casts = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            name = function._schema.name
            weight = isinstance(arguments[0], nn.Parameter) if arguments else False
            if name == "aten::_foreach_copy_" or (name == "aten::_to_copy" and weight):
                casts.append((name, 1 if name.endswith("_to_copy") else len(arguments[0])))
            return function(*arguments, **(keywords or {}))

    with Watch():
        found = results(awake, random_clip())
    stages = [n for name, n in casts if name == "aten::_foreach_copy_"]
    assert len(stages) == 2 * len(list(awake.children()))
    assert found["encoder.stem.weight"].dtype == torch.float32
    one_by_one = sum(name == "aten::_to_copy" for name, _ in casts)
    biases = sum(isinstance(m, nn.Conv2d) and m.bias is not None for m in awake.modules())
    assert one_by_one <= biases


class Stages(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Linear(2, 2))
        self.second = nn.Sequential(PreciseLinear(2, 2), nn.Linear(2, 2, bias=False))


def test_only_what_autocast_would_cast_is_cast_and_only_inside():
    model = Stages()
    before = dict(model.named_parameters())
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(KeyError), autocast_weights(model):
        half = {name for name, p in model.named_parameters() if p.dtype == torch.bfloat16}
        assert half == {"first.0.weight", "first.1.weight", "first.1.bias", "second.1.weight"}
        raise KeyError
    assert all(p is before[name] for name, p in model.named_parameters())


@pytest.mark.parametrize("case", ["no autocast", "no gradient"])
def test_elsewhere_nothing_is_cast(case):
    model = Stages()
    with torch.autocast("cpu", torch.bfloat16, enabled=case != "no autocast"):
        with torch.set_grad_enabled(case != "no gradient"), autocast_weights(model):
            assert all(p.dtype == torch.float32 for p in model.parameters())


def test_frozen_weights_have_no_graph():
    model = Stages()
    model.first.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16), autocast_weights(model):
        assert model.first[0].weight.dtype == torch.bfloat16
        assert not model.first[0].weight.requires_grad
        assert model.second[1].weight.requires_grad
