"""The tracer knows which stage of a model is running, and leaves the model as it was."""

import pytest
import torch

from lift.profiling.stages import STAGES, Tracer
from tests.support.models import random_clip


def test_stages_are_entered_in_order_and_left_again(awake_model):
    entered = []
    tracer = Tracer(entered.append)
    with tracer.watch(awake_model), torch.no_grad():
        awake_model(random_clip(frames=2, left=0), torch.tensor([0.5, 0.5]))
    assert [stage for stage in dict.fromkeys(entered) if stage != "loss"] == list(STAGES)
    assert tracer.stage == "loss" and entered[-1] == "loss"


def test_a_stage_that_calls_itself_is_entered_once(awake_model):
    """`FlowCascade.forward` is called from outside; what it calls inside is the same stage."""
    entered = []
    with Tracer(entered.append).watch(awake_model), torch.no_grad():
        awake_model.transformer.key_values(torch.rand(1, awake_model.config.c16, 4, 4))
    assert entered == ["transformer", "loss"]


def test_methods_are_restored_after_an_error(awake_model):
    with pytest.raises(RuntimeError), Tracer().watch(awake_model):
        assert "forward" in vars(awake_model.encoder)
        raise RuntimeError
    assert not any("forward" in vars(getattr(awake_model, stage)) for stage in STAGES)
