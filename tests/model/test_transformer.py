"""Stage 2: the target's query attends to all frames; keys belong to one frame each."""

from dataclasses import replace

import pytest
import torch

from lift.kernels.ops.time_mlp import op
from lift.kernels.ops.time_mlp.reference import time_features
from lift.model.transformer import TemporalTransformer, TimeBias, time_biases
from tests.support.models import TINY, wake

INTERPRETED = op.triton is not None and op.triton.INTERPRETED and not torch.cuda.is_available()
needs_interpreter = pytest.mark.skipif(not INTERPRETED, reason="needs interpreter")
B, T, H, W = 2, 5, 4, 6


def inputs(stage):
    """Two clips of five frames at times -1 to 3."""
    left, right = torch.rand(2, B, TINY.c16, H, W)
    keys, values = (
        x.unflatten(0, (B, T)) for x in stage.key_values(torch.rand(B * T, TINY.c16, H, W))
    )
    times = torch.arange(-1.0, T - 1).expand(B, T).clone()
    return {
        "left": left,
        "right": right,
        "keys": keys,
        "values": values,
        "times": times,
        "mask": torch.ones(B, T, dtype=torch.bool),
        "t": torch.tensor([0.25, 0.5]),
    }


@torch.no_grad()
def test_keys_of_a_frame_do_not_depend_on_others():
    stage, s16 = TemporalTransformer(TINY), torch.rand(3, TINY.c16, 2, 3)
    keys, values = stage.key_values(s16)
    d = TINY.attn_channels // TINY.heads
    assert keys.shape == values.shape == (3, TINY.layers, 2, 3, TINY.heads, d)
    torch.testing.assert_close(stage.key_values(s16[1:2])[0], keys[1:2])


@torch.no_grad()
def test_context_starts_at_zero():
    stage = TemporalTransformer(TINY)
    context, weights = stage(**inputs(stage))
    assert context.shape == (B, TINY.attn_channels, H, W) and not context.any()
    torch.testing.assert_close(weights.sum(1), torch.ones(B))


@torch.no_grad()
def test_masked_frames_have_no_weight_and_no_effect():
    stage = wake(TemporalTransformer(TINY))
    given = inputs(stage)
    given["mask"][:, 4] = False
    context, weights = stage(**given)
    assert not weights[:, 4].any() and (weights[:, :4] > 0).all()
    given["keys"], given["values"] = given["keys"].clone(), given["values"].clone()
    given["keys"][:, 4], given["values"][:, 4] = 7.0, -7.0
    torch.testing.assert_close(stage(**given)[0], context)


@torch.no_grad()
def test_the_order_of_frames_carries_no_meaning():
    stage = wake(TemporalTransformer(TINY))
    given, order = inputs(stage), [3, 0, 4, 1, 2]
    context, weights = stage(**given)
    for name in ("keys", "values", "times", "mask"):
        given[name] = given[name][:, order]
    again, shuffled = stage(**given)
    torch.testing.assert_close(again, context)
    torch.testing.assert_close(shuffled, weights[:, order])


@torch.no_grad()
def test_attention_weights_can_be_left_out():
    stage = wake(TemporalTransformer(TINY))
    given = inputs(stage)
    context, weights = stage(**given, with_attention=False)
    assert weights is None
    torch.testing.assert_close(context, stage(**given)[0])  # on a CPU by another backend


@pytest.mark.parametrize("name", ["times", "t", "left", "values"])
@torch.no_grad()
def test_every_input_has_an_effect(name):
    stage = wake(TemporalTransformer(TINY))
    given = inputs(stage)
    context, _ = stage(**given)
    given[name] = given[name] * 0.5
    assert not torch.allclose(stage(**given)[0], context, atol=1e-6)


def test_all_layers_learn_and_keys_pass_gradients_on():
    stage = wake(TemporalTransformer(TINY))
    s16 = torch.rand(B * T, TINY.c16, H, W, requires_grad=True)
    given = inputs(stage)
    given["keys"], given["values"] = (x.unflatten(0, (B, T)) for x in stage.key_values(s16))
    stage(**given)[0].square().sum().backward()
    silent = [name for name, p in stage.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent and s16.grad.any()


def test_layers_shift_their_windows_in_turn():
    shifts = [layer.shift for layer in TemporalTransformer(replace(TINY, layers=4)).attention]
    assert shifts == [0, 2, 0, 2]


@torch.no_grad()
def test_self_attention_lets_frames_see_each_other():
    config = replace(TINY, self_attention=True)
    stage = wake(TemporalTransformer(config))
    keys, values = stage.key_values(torch.rand(B * T, TINY.c16, H, W))
    assert keys is values and keys.shape[1] == 1  # the frames' tokens
    times = torch.arange(float(T)).expand(B, T)
    mask = torch.ones(B, T, dtype=torch.bool)
    tokens = keys.unflatten(0, (B, T))
    mixed, _ = stage._mix_frames(tokens, times, mask)
    tokens = tokens.clone()
    tokens[:, 4] += 1
    again, _ = stage._mix_frames(tokens, times, mask)
    assert mixed.shape[2] == TINY.layers and not torch.allclose(mixed[:, 0], again[:, 0])


@pytest.mark.parametrize("backend", ["auto", pytest.param("triton", marks=needs_interpreter)])
def test_biases_of_all_layers_are_those_of_each(backend):
    layers = [TimeBias(3, backend=backend) for _ in range(2)]
    q_times, k_times = torch.randn(2, 4), torch.randn(2, 5)
    delta = k_times[:, None] - q_times[..., None]
    for layer, found in zip(layers, time_biases(layers, q_times, k_times), strict=True):
        assert found.is_contiguous()
        expected = layer.mlp(time_features(delta)).permute(0, 3, 1, 2)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(layer(q_times, k_times), expected)


def test_time_features_tell_before_from_after():
    features = time_features(torch.tensor([-1.5, 0.0, 1.5]))
    assert features.shape == (3, 6) and not torch.equal(features[0], features[2])
    assert torch.equal(features[0].abs(), features[2].abs())
    assert TimeBias(3)(torch.zeros(2, 1), torch.zeros(2, 5)).shape == (2, 3, 1, 5)
