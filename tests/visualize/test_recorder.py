"""The recorder sees what the model computes, and changes nothing."""

import torch

from lift.kernels.ops.curve_flows.reference import path_weights
from lift.visualize.recorder import record
from tests.support.models import random_clip

HALF = torch.tensor([0.5])


def test_a_recorded_prediction_is_that_of_the_model(awake_model):
    clip = random_clip(frames=7, left=3, size=(32, 48), batch=1)
    with torch.inference_mode():
        plain_frame = awake_model(clip, HALF).frame
        with record(awake_model) as recorded:
            frame = awake_model(clip, HALF).frame
    assert torch.equal(frame, plain_frame)
    assert len(recorded.layers) == 2 and recorded.curve is not None
    hooks = [m for m in awake_model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert not hooks


def test_hooks_are_removed_after_an_error(awake_model):
    try:
        with record(awake_model):
            raise RuntimeError
    except RuntimeError:
        pass
    assert not [m for m in awake_model.modules() if m._forward_hooks]


def test_differences_and_their_weights_give_the_curved_flows(awake_model):
    clip = random_clip(frames=7, left=3, size=(32, 48), batch=1)
    with torch.inference_mode(), record(awake_model) as recorded:
        awake_model(clip, HALF)
    curve = recorded.curve
    assert curve.differences.shape[1] == 6
    weights = path_weights(curve.adjacent.times, curve.adjacent.valid, HALF)
    weights = weights[..., None, None] * curve.confidence
    offset = (weights[:, :, None] * curve.differences).sum(1) - 0.25 * curve.residual
    assert offset.abs().max() > 1e-4
    torch.testing.assert_close(curve.curved.flow_t0, curve.straight.flow_t0 - offset)


def test_two_frames_have_no_curve(awake_model):
    clip = random_clip(frames=2, left=0, size=(32, 48), batch=1)
    with torch.inference_mode(), record(awake_model) as recorded:
        awake_model(clip, HALF)
    assert recorded.curve is None and len(recorded.layers) == 2


def test_a_model_of_another_kind_has_nothing_to_record():
    with record(torch.nn.Linear(2, 2)) as recorded:
        pass
    assert recorded.layers == [] and recorded.curve is None
