"""Switches of the model: each takes away what it names, with its parameters, or adds a part without
parameters; everything still runs.
"""

import math
from dataclasses import replace

import pytest
import torch

from lift import kernels
from lift.config import (
    Config,
    DataConfig,
    TrainConfig,
    add_flags,
    check_config,
    resolve,
    tiny,
    to_flags,
)
from lift.config.flags import Parser
from lift.data.clip import Batch, Clip
from lift.errors import LiftError
from lift.model.images import reference_images
from lift.model.lift import LIFT
from lift.model.refine import Refinement
from lift.model.transformer import TemporalTransformer
from lift.model.types import FlowEstimate
from lift.model.weights import load_into, load_weights, save_weights
from lift.profiling import launches, memory
from lift.training.losses import total_loss
from lift.video.interpolator import Interpolator
from tests.support.models import TINY, awake_lift, random_clip, wake

SWITCHES = {
    "no_context": {"context_mode": "none"},
    "average": {"context_mode": "average"},
    "no_occlusion": {"occlusion": False},
    "quarter_blend": {"full_resolution_blend": False},
    "no_global_motion": {"global_motion": False},
    "straight_paths": {"path_frames": 2},
    "all": {
        "context_mode": "none",
        "occlusion": False,
        "full_resolution_blend": False,
        "global_motion": False,
        "path_frames": 2,
    },
}
ADDED = {"propagation": {"propagation": 2}}
each_switch = pytest.mark.parametrize("switch", SWITCHES)
each_form = pytest.mark.parametrize("switch", SWITCHES | ADDED)
T = torch.tensor([0.3, 0.6])


def switched(switch: str) -> LIFT:
    return awake_lift(replace(TINY, **(SWITCHES | ADDED)[switch]))


# -- all of them -----------------------------------------------------------------------------------


@each_form
@pytest.mark.parametrize("frames", [2, 5])
def test_every_parameter_has_a_gradient_of_the_training_loss(switch, frames):
    """In each step, as `DistributedDataParallel` demands."""
    model, clip = switched(switch).train(), random_clip(frames, left=0 if frames == 2 else 1)
    target = torch.rand_like(clip.frames[:, 0])
    flow, visible = torch.zeros(2, 4, 32, 48), torch.ones(2, 2, 32, 48)
    batch = Batch(clip, T, target, flow, visible, torch.ones(2, dtype=torch.bool))
    total_loss(model(clip, T), batch, TrainConfig())[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@each_switch
def test_no_parameter_is_useless(switch):
    model = switched(switch).train()
    found = model(random_clip(), T)
    outputs = found.frame, found.coarse, found.state, *(e.state for e in found.cascade)
    sum(x.square().sum() for x in outputs).backward()
    assert [name for name, p in model.named_parameters() if not p.grad.any()] == []
    assert model.count_parameters()["total"] < LIFT(TINY).count_parameters()["total"]


@each_form
@torch.no_grad()
def test_a_stream_generates_what_the_model_does(switch):
    model, frames = switched(switch), torch.rand(6, 3, 40, 56)
    outputs = list(Interpolator(model, 6, detect_scenes=False).frames(list(frames), multi=2))
    mask = torch.ones(1, 6, dtype=torch.bool)
    clip = Clip(frames[None], torch.arange(-2.0, 4.0)[None], mask, 2)
    expected = model(clip, torch.tensor([0.5])).frame[0].clamp(0, 1)
    # sharp weights make more of rounding errors
    atol = 1e-2 if switch in ADDED else 1e-4
    torch.testing.assert_close(outputs[5], expected, atol=atol, rtol=0)


@pytest.mark.parametrize("switch", ["all", "quarter_blend", "propagation"])
@torch.no_grad()
def test_tiles_and_both_directions_of_time_work(switch):
    model, frames = switched(switch), torch.rand(4, 3, 200, 200)
    options = {"detect_scenes": False, "tile": 192, "reverse_average": True}
    outputs = list(Interpolator(model, 4, **options).frames(list(frames), multi=2))
    assert len(outputs) == 7 and all(each.isfinite().all() for each in outputs)


@each_switch
def test_cost_and_memory_are_counted(switch):
    def counted(config):
        flops = launches.frame(config, 64, 64, 5, torch.float32).totals[2]
        data = DataConfig(crop_height=32, crop_width=32, context_frames=5)
        whole = Config(model=config, data=data, train=TrainConfig(batch_size=1))
        return flops, memory.plan(whole, "cpu", None).total

    less, full = counted(replace(TINY, **SWITCHES[switch])), counted(TINY)
    assert 0 < less[0] < full[0] and less[1] > 0


@each_form
def test_weights_come_back_with_their_switches_and_fit_no_other_model(switch, tmp_path):
    model, path = switched(switch), tmp_path / "weights.safetensors"
    save_weights(path, model, Config(model=model.config))
    again, config = load_weights(path)
    assert config.model == model.config
    clip = random_clip()
    assert torch.equal(again(clip, T).frame, model(clip, T).frame)
    name = next(iter((SWITCHES | ADDED)[switch]))
    with pytest.raises(LiftError, match=f"another model: .*{name} is"):
        load_into(LIFT(TINY), path)


@each_form
def test_activation_checkpointing_changes_nothing(switch):
    # In float32, rounding may move a sample to other pixels.
    model, clip = switched(switch).double().train(), random_clip()
    clip = replace(clip, frames=clip.frames.double(), times=clip.times.double())

    def gradients():
        model.zero_grad()
        model(clip, T.double()).frame.square().sum().backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    plain = gradients()
    model.encoder.recompute = model.flow.recompute = model.refine.recompute = True
    torch.testing.assert_close(gradients(), plain, rtol=1e-6, atol=1e-6)


# -- what each takes away --------------------------------------------------------------------------


@torch.no_grad()
def test_averaged_context_depends_on_frames_but_neither_on_their_order_nor_their_times():
    model, a = switched("average"), random_clip(6)
    straight = awake_lift(replace(TINY, context_mode="average", path_frames=2))
    order = [5, 1, 2, 0, 4, 3]
    b = replace(a, frames=a.frames[:, order])  # other times for the frames beside the references
    torch.testing.assert_close(straight(a, T).frame, straight(b, T).frame)
    changed = a.frames.clone()
    changed[:, 5] = changed[:, 5].flip(-1)
    moved = straight(replace(a, frames=changed), T).frame
    assert not torch.allclose(straight(a, T).frame, moved, atol=1e-6)
    a.mask[:, 5] = False
    torch.testing.assert_close(
        model(a, T).attention, torch.tensor([[0.2] * 5 + [0.0]]).expand(2, -1)
    )


@torch.no_grad()
def test_an_untrained_average_changes_nothing():
    config = replace(TINY, context_mode="average", path_frames=2)
    model, a = LIFT(config), random_clip(6)
    alone = Clip(a.frames[:, 1:3], a.times[:, 1:3], a.mask[:, 1:3], 0)
    assert torch.equal(model(a, T).frame, model(alone, T).frame)


@torch.no_grad()
def test_without_context_only_paths_depend_on_other_frames():
    a = random_clip(6)
    alone = Clip(a.frames[:, 1:3], a.times[:, 1:3], a.mask[:, 1:3], 0)
    model = switched("no_context")
    assert not torch.equal(model(a, T).frame, model(alone, T).frame)
    assert not model(a, T).attention.any()
    straight = awake_lift(replace(TINY, context_mode="none", path_frames=2))
    torch.testing.assert_close(straight(a, T).frame, straight(alone, T).frame)


@torch.no_grad()
def test_without_occlusion_blend_weights_follow_time():
    model = switched("no_occlusion")
    found = model(random_clip(), T)
    for estimate in (*found.cascade, found):
        weights = torch.cat((estimate.occ_t0, estimate.occ_t1), 1)
        weights = torch.nn.functional.logsigmoid(weights).softmax(1)
        expected = torch.stack((1 - T, T), 1)[..., None, None].expand_as(weights)
        torch.testing.assert_close(weights, expected)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@torch.no_grad()
def test_without_occlusion_the_refinement_is_one_whose_visibilities_stay(kernels):
    less = wake(Refinement(replace(TINY, occlusion=False), kernels))
    full = Refinement(TINY, kernels)
    area = TINY.refine_stride**2
    state = less.state_dict()
    for name in ("head.weight", "head.bias"):
        x = state[name]
        zeros = x.new_zeros(2 * area, *x.shape[1:])
        state[name] = torch.cat((x[: 4 * area], zeros, x[4 * area :]))
    full.load_state_dict(state)
    images = reference_images(*torch.rand(2, 2, 3, 32, 32), *torch.rand(2, 2, 1, 16, 16))
    inputs = FlowEstimate(torch.randn(2, 6, 8, 8), 4), torch.rand(2, TINY.hidden4, 8, 8)
    inputs = images, *inputs, torch.rand(2, 3, 8, 8), T
    assert torch.equal(less(*inputs), full(*inputs))


@torch.no_grad()
def test_blending_at_a_quarter_gives_the_enlarged_coarse_frame_before_training():
    model = LIFT(replace(TINY, full_resolution_blend=False)).eval()
    a = random_clip()
    frame, coarse = model(a, T).frame, model(a, T).coarse
    expected = torch.nn.functional.interpolate(coarse, scale_factor=4.0, mode="bilinear")
    torch.testing.assert_close(frame, expected)
    assert not torch.allclose(LIFT(TINY).eval()(a, T).frame, expected, atol=1e-2)


@torch.no_grad()
def test_without_global_motion_flows_start_at_zero_at_an_eighth():
    model, a = switched("no_global_motion"), random_clip()
    assert [estimate.scale for estimate in model(a, T).cascade] == [8]
    fresh = LIFT(replace(TINY, global_motion=False, align8=0)).eval()
    assert not fresh(a, T).cascade[0].state.any()


@torch.no_grad()
def test_straight_paths_ignore_the_frames_beside_the_references():
    """Of an untrained model, in which context has no other effect."""
    model, a = LIFT(replace(TINY, path_frames=2)).eval(), random_clip(6)
    alone = Clip(a.frames[:, 1:3], a.times[:, 1:3], a.mask[:, 1:3], 0)
    assert torch.equal(model(a, T).frame, model(alone, T).frame)


@pytest.mark.parametrize("window, changed", [(1, 1), (2, 4), (4, 16)])
@torch.no_grad()
def test_a_place_is_read_from_inside_its_window_only(window, changed):
    stage = wake(TemporalTransformer(replace(TINY, window=window, layers=1)))
    s16, times = torch.rand(3, TINY.c16, 8, 8), torch.tensor([[0.0, 1.0, 2.0]])

    def context(s16):
        keys, values = (x[None] for x in stage.key_values(s16))
        mask = torch.ones(1, 3, dtype=torch.bool)
        return stage(s16[:1], s16[1:2], keys, values, times, mask, torch.tensor([0.5]))[0]

    other = s16.clone()
    other[2, :, 0, 0] = 0
    assert (context(s16) != context(other)).any(1).sum() == changed


@torch.no_grad()
def test_propagation_changes_flows_at_both_scales_and_in_the_refinement(monkeypatch):
    distances, plain = [], kernels.propagate

    def watched(luma0, luma1, state, distance, **options):
        distances.append((tuple(state.shape[2:]), distance))
        assert luma0.shape[2:] == luma1.shape[2:] == tuple(2 * n for n in state.shape[2:])
        return plain(luma0, luma1, state, distance, **options)

    monkeypatch.setattr(kernels, "propagate", watched)
    a = random_clip(2, left=0)
    found = switched("propagation")(a, T)
    (H, W), without = a.frames.shape[-2:], awake_lift(TINY)(a, T)
    scales = [(math.ceil(H / 16) * 16 // s, math.ceil(W / 16) * 16 // s) for s in (8, 4, 4)]
    assert distances == [(size, distance) for size in scales for distance in (4, 2)]
    assert not torch.equal(found.frame, without.frame)


def test_each_switch_is_a_flag():
    parser = Parser()
    add_flags(parser)
    words = "--preset tiny --context_mode none --no_occlusion --no_full_resolution_blend"
    given = parser.parse_args([*words.split(), "--no_global_motion", "--path_frames", "2"])
    config = resolve(given)
    assert config.model == replace(tiny(), **SWITCHES["all"])
    again = parser.parse_args(" ".join(to_flags(config).values()).split())
    assert resolve(again) == config


def test_no_layers_is_an_error_that_names_the_switch():
    with pytest.raises(LiftError, match=r"layers must be at least 1, got 0; model\.context_mode"):
        check_config(Config(model=replace(tiny(), layers=0)))


def test_only_paths_that_curve_can_be_trained_alone():
    config = Config(model=replace(tiny(), path_frames=2), train=TrainConfig(stages="trajectory"))
    with pytest.raises(LiftError, match=r"train\.stages must be all or synthesis where"):
        check_config(config)
