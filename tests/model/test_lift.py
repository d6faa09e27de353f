"""The whole model: properties that hold for any weights."""

from dataclasses import fields, replace

import pytest
import torch

from lift.config import PRESETS
from lift.data.clip import Clip
from lift.errors import LiftError
from lift.kernels.ops.time_mlp.reference import time_features
from lift.model.adjacent import AdjacentMotion
from lift.model.factory import create_lift_model
from lift.model.lift import LIFT
from lift.model.types import FlowEstimate
from lift.video.engine import cast_weights
from tests.support.models import TINY, awake_lift, random_clip

LIMITS = {"base": (15e6, 20e6), "small": (3e6, 6e6), "tiny": (0.3e6, 1.5e6)}


@pytest.fixture
def model(awake_model):
    return awake_model


def tensors(prediction):
    for f in fields(prediction):
        value = getattr(prediction, f.name)
        if f.name == "cascade":
            for estimate in value:
                yield from (
                    (f"{f.name}.{g.name}", getattr(estimate, g.name))
                    for g in fields(FlowEstimate)
                    if g.name != "scale"
                )
        else:
            yield f.name, value


def half(batch=2):
    return torch.full((batch,), 0.5)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_the_promised_size(preset):
    low, high = LIMITS[preset]
    count = create_lift_model(preset).count_parameters()
    assert low <= count["total"] <= high
    assert count["total"] == sum(
        n for name, n in count.items() if name not in ("total", "trainable")
    )


@pytest.mark.parametrize("size", [(32, 48), (37, 50), (16, 16), (1, 70)])
@torch.no_grad()
def test_any_size_goes_in_and_comes_out(model, size):
    prediction = model(random_clip(size=size), half())
    small = tuple(-(-n // 4) for n in size)
    assert prediction.frame.shape == (2, 3, *size) and prediction.coarse.shape == (2, 3, *small)
    assert prediction.flow_t0.shape == prediction.flow_t1.shape == (2, 2, *small)
    assert prediction.occ_t0.shape == prediction.occ_t1.shape == (2, 1, *small)
    assert all(x.isfinite().all() for _, x in tensors(prediction))


@pytest.mark.parametrize("content", [1.0, float("nan"), float("inf")])
@torch.no_grad()
def test_masked_frames_change_nothing(model, content):
    a = random_clip()
    a.mask[:, 0] = a.mask[1, 4] = False
    b = replace(a, frames=torch.where(a.mask[..., None, None, None], a.frames, content))
    for (name, x), (_, y) in zip(tensors(model(a, half())), tensors(model(b, half())), strict=True):
        assert torch.equal(x, y), name


@torch.no_grad()
def test_a_masked_frame_is_an_absent_one(model):
    a = random_clip()
    a.mask[:, 4] = False
    b = Clip(a.frames[:, :4], a.times[:, :4], a.mask[:, :4], a.left)
    torch.testing.assert_close(model(a, half()).frame, model(b, half()).frame)


@torch.no_grad()
def test_context_order_carries_no_meaning(model):
    a = random_clip()
    order = [4, 1, 2, 0, 3]  # the references stay adjacent
    b = Clip(a.frames[:, order], a.times[:, order], a.mask[:, order], 1)
    x, y = model(a, half()), model(b, half())
    torch.testing.assert_close(x.frame, y.frame)
    torch.testing.assert_close(x.attention[:, order], y.attention)


@torch.no_grad()
def test_context_matters_once_trained_and_not_before(model):
    a, t = random_clip(frames=6), half()
    alone = Clip(a.frames[:, 1:3], a.times[:, 1:3], a.mask[:, 1:3], 0)
    assert not torch.allclose(model(a, t).frame, model(alone, t).frame, atol=1e-6)
    fresh = LIFT(TINY)
    # Its frames beside the references have an effect before training, too.
    near = Clip(a.frames[:, :5], a.times[:, :5], a.mask[:, :5], a.left)
    assert torch.equal(fresh(a, t).frame, fresh(near, t).frame)
    assert not torch.equal(fresh(near, t).frame, fresh(alone, t).frame)


@pytest.mark.parametrize("path_frames", [4, 6])
@torch.no_grad()
def test_adjacent_motion_comes_from_the_nearest_frames_within_two_intervals(path_frames):
    """Of an untrained model, in which context has no other effect."""
    fresh, t = LIFT(replace(TINY, path_frames=path_frames)), half()
    a = random_clip(frames=8, left=3)
    frame = fresh(a, t).frame

    def without(*dropped):
        mask = a.mask.clone()
        mask[:, dropped] = False
        return fresh(replace(a, mask=mask), t).frame

    assert torch.equal(frame, without(0)) and torch.equal(frame, without(7))
    assert torch.equal(frame, without(1)) == torch.equal(frame, without(6)) == (path_frames == 4)
    assert not torch.equal(frame, without(2)) and not torch.equal(without(2), without(1, 2))
    # Duplicates with the noise of compression.
    frames = a.frames[:, [0, 1, 3, 3, 4, 4, 6, 7]] + 0.02 * torch.rand_like(a.frames)
    repeated = replace(a, frames=frames)
    alone = [False] * 3 + [True] * 2 + [False] * 3
    alone = replace(repeated, mask=torch.tensor([alone] * 2))
    assert torch.equal(fresh(repeated, t).frame, fresh(alone, t).frame)
    far = replace(a, times=a.times * torch.tensor([9.0, 9.0, 2.1, 1, 1, 1, 1, 9]))
    assert torch.equal(fresh(far, t).frame, without(0, 1, 2))
    # The frames beside the references are there, those beyond are duplicates of them.
    frames = a.frames[:, [0, 2, 2, 3, 4, 5, 5, 7]] + 0.02 * torch.rand_like(a.frames)
    repeated = replace(a, frames=frames)
    nearest = replace(repeated, mask=torch.tensor([[False] * 2 + [True] * 4 + [False] * 2] * 2))
    assert torch.equal(fresh(repeated, t).frame, fresh(nearest, t).frame)


@torch.no_grad()
def test_real_times_matter(model):
    a = random_clip()
    b = replace(a, times=a.times * torch.tensor([3.0, 1, 1, 3, 3]))
    assert not torch.equal(model(a, half()).frame, model(b, half()).frame)


@torch.no_grad()
def test_attention_sums_to_one_and_is_zero_where_masked(model):
    a = random_clip()
    a.mask[1, 0] = False
    attention = model(a, half()).attention
    torch.testing.assert_close(attention.sum(1), torch.ones(2))
    assert attention[1, 0] == 0 and (attention[0] > 0).all()


@torch.no_grad()
def test_clips_of_a_batch_do_not_touch(model):
    a, t = random_clip(), torch.tensor([0.25, 0.75])
    whole = model(a, t).frame
    for i in range(2):
        one = Clip(a.frames[i : i + 1], a.times[i : i + 1], a.mask[i : i + 1], a.left)
        torch.testing.assert_close(
            whole[i : i + 1], model(one, t[i : i + 1]).frame, atol=2e-4, rtol=1e-5
        )


def beside(motions):
    """Adjacent motion for `random_clip()`: frames -1, 0, 1, 2 and 3 and no frame -2."""
    return AdjacentMotion(
        torch.stack([motion.flow_01 for motion in motions], 1),
        torch.tensor([[-1.0, 2.0, -2.0, 3.0]]),
        torch.tensor([[True, True, False, True]]),
    )


@torch.no_grad()
def test_cached_features_equal_the_forward(model):
    a, t = random_clip(), half()
    each = [model.encode(a.frames[:, i]) for i in range(5)]
    motions = [model.estimate_motion(model.prepare_pair(each[i], each[i + 1]), t) for i in range(4)]
    adjacent = beside([motions[0], motions[2], motions[0], motions[3]])
    keys, values = (torch.stack([getattr(x, name) for x in each], 1) for name in ("keys", "values"))
    cached = model.synthesize(
        model.prepare_pair(each[1], each[2]),
        motions[1],
        adjacent,
        keys,
        values,
        a.times,
        a.mask,
        t,
    )
    torch.testing.assert_close(cached.frame, model(a, t).frame, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_targets_of_a_pair_share_what_does_not_depend_on_time(model):
    a, t = random_clip(batch=1), torch.tensor([0.25, 0.5, 0.8])
    features = model.encode(a.frames[0])
    pair = model.prepare_pair(features[1], features[2])
    keys, values = features.keys[None], features.values[None]
    order = [3, 0, 4, 1, 2]  # of context frames, which carries no meaning
    adjacent = beside(
        [
            model.estimate_motion(model.prepare_pair(features[i], features[i + 1]), half(1))
            for i in (0, 2, 0, 3)
        ]
    )
    together = model.synthesize(
        pair,
        model.estimate_motion(pair, t),
        adjacent,
        keys[:, order],
        values[:, order],
        a.times[:, order],
        a.mask[:, order],
        t,
    )
    for i in range(3):
        for (name, x), (_, y) in zip(
            tensors(together), tensors(model(a, t[i : i + 1])), strict=True
        ):
            if name != "attention":
                torch.testing.assert_close(x[i : i + 1], y, atol=2e-4, rtol=1e-5, msg=name)


def test_every_parameter_learns(model):
    model.train()
    prediction = model(random_clip(), torch.tensor([0.3, 0.6]))
    sum(x.square().sum() for _, x in tensors(prediction) if x.requires_grad).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_the_encoder_is_frozen_in_the_first_epochs(model):
    model.set_epoch(9)
    assert not any(p.requires_grad for p in model.encoder.parameters())
    prediction = model(random_clip(), half())
    prediction.frame.sum().backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert model.count_parameters()["trainable"] < model.count_parameters()["total"]
    model.set_epoch(10)
    assert all(p.requires_grad for p in model.encoder.parameters())


def test_self_attention_is_a_switch():
    model = awake_lift(replace(TINY, self_attention=True))
    a = random_clip()
    prediction = model(a, half())
    prediction.frame.sum().backward()
    torch.testing.assert_close(prediction.attention.sum(1), torch.ones(2))
    assert model.transformer.frame_kv_proj.weight.grad.any()


@pytest.mark.slow
@torch.no_grad()
def test_compiles_without_a_break():
    model = awake_lift(replace(TINY, layers=1))
    a, t = random_clip(frames=4, size=(16, 32)), half()
    compiled = torch.compile(lambda a, t: model(a, t).frame, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(a, t), model(a, t).frame, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "t", [torch.tensor([0.5]), torch.tensor([0.0, 0.5]), torch.tensor([0.5, 1.5])]
)
def test_a_wrong_time_is_refused(model, t):
    with pytest.raises(ValueError, match="t must"):
        model(random_clip(), t)


def test_unknown_presets_and_sizes_are_refused():
    with pytest.raises(ValueError, match="base, small, tiny"):
        create_lift_model("huge")
    with pytest.raises(ValueError, match="unknown field windows"):
        create_lift_model("tiny", windows=3)
    with pytest.raises(ValueError, match="bend is now trajectory_channels"):
        create_lift_model("tiny", bend=3)


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"window": 3}, "model.window must be one of 1, 2, 4, 8, got 3"),
        ({"context_mode": "averge"}, "did you mean 'average'"),
        ({"heads": 7}, "multiple of model.heads"),
    ],
)
def test_values_are_limited_as_on_the_command_line(overrides, message):
    with pytest.raises(LiftError, match=message):
        create_lift_model("tiny", **overrides)


def test_a_preset_without_weights_is_said_before_the_model_is_made():
    with pytest.raises(LiftError, match="no weights ship for preset base"):
        create_lift_model("base", pretrained=True)


@pytest.mark.parametrize("lower", (False, True))
@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16), ids=str)
def test_autocast_rounds_neither_flows_nor_times(dtype, lower):
    """Without the learned residuals, which half precision computes, what is left is exact."""
    model = awake_lift(kernels="reference")
    with torch.no_grad():
        flow = model.flow
        for stage in (flow.global_motion, flow.block8, flow.block4, flow.trajectory):
            stage.head.weight.zero_()
            stage.head.bias.zero_()
        for stage in (flow.block8, flow.block4):
            stage.upsampling.convex.head.weight.zero_()
        features, t = model.encode(torch.rand(4, 3, 64, 96)), torch.tensor([0.3, 0.7])
        left, right = features[:2].reference_only(), features[2:].reference_only()
        matches = flow.correlate(left, right)
        times = torch.tensor([[-7 / 3, 0.0, 1.0, 7.7]] * 2)
        adjacent = AdjacentMotion(
            torch.randn(2, 4, 2, 16, 24),
            torch.tensor([[-1.3, 2.1, -2.2, 3.6]] * 2),
            torch.ones(2, 4, dtype=torch.bool),
        )

        def results(model, autocast):
            with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
                motion = model.flow(left, right, matches, t)
                bent = model.flow.curve(
                    motion, adjacent, torch.rand(2, TINY.attn_channels, 4, 6), t
                )
                bias = model.transformer.attention[0].time_bias(t[:, None], times)
                time = model.transformer.time_embed(time_features(t))
            flows = [(e.flow_t0, e.flow_t1) for e in (*motion.cascade, bent)]
            return {"flows": flows, "time bias": bias, "time": time, "across": motion.flow_01}

        exact = results(model, None)
        assert all(flow.abs().max() > 0.1 for pair in exact["flows"] for flow in pair)
        torch.testing.assert_close(
            results(cast_weights(model, dtype) if lower else model, dtype),
            exact,
            rtol=1e-6,
            atol=1e-6,
        )


@pytest.mark.parametrize(
    "stages, parts",
    [("synthesis", ("synthesis.", "refine.")), ("trajectory", ("flow.trajectory.",))],
)
def test_only_those_stages_are_trained_that_the_configuration_names(stages, parts):
    model = awake_lift()
    model.trained_stages = stages
    for epoch in (0, model.freeze_epochs):
        model.set_epoch(epoch)
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad == name.startswith(parts), name
    model.trained_stages = "all"
    model.set_epoch(model.freeze_epochs)
    assert all(p.requires_grad for p in model.parameters())
