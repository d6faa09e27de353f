"""Curved trajectories: exact for uniform motion, straight without adjacent frames."""

from dataclasses import replace

import pytest
import torch

from lift import kernels
from lift.model.adjacent import AdjacentMotion, path_differences, path_weights
from lift.model.trajectory import Trajectory
from lift.model.types import FlowEstimate, Motion
from tests.support.models import TINY, wake

CONFIG = replace(TINY, hidden4=8, attn_channels=8)


def position(time):
    """A point of a path with changing velocity and acceleration, quarter pixels."""
    return torch.tensor(
        [1.5 * time + 0.8 * time**2 - 0.3 * time**3, -0.5 * time - 0.4 * time**2 + 0.2 * time**3]
    )


def quintic(time):
    """Smooth: differences of order 4 hardly change from frame to frame."""
    return position(time) + torch.tensor(
        [0.1 * time**4 - 0.004 * time**5, -0.08 * time**4 - 0.003 * time**5]
    )


def septic(time):
    return quintic(time) + torch.tensor(
        [0.01 * time**6 - 0.0003 * time**7, -0.008 * time**6 - 0.0002 * time**7]
    )


def field(vector, b=1):
    return vector.view(1, 2, 1, 1).expand(b, 2, 8, 12)


def straight(t, position=position):
    """The path from two frames alone: a straight line between the positions at 0 and 1."""
    motion, seen = position(1.0) - position(0.0), torch.zeros(1, 1, 8, 12)
    return FlowEstimate.from_parts(field(-t * motion), field((1 - t) * motion), seen, seen, 4)


def adjacent_motion(left=-1.0, right=2.0, known=(True, True)):
    motions = field(position(0.0) - position(left)), field(position(right) - position(1.0))
    return AdjacentMotion(
        torch.stack(motions, 1), torch.tensor([[left, right]]), torch.tensor([known])
    )


def with_outer_gaps(times=(-2.0, 3.0), known=None, path=quintic):
    """Motion in two or three gaps on each side, from -1 and 2 to the outer frames' times."""
    times = -1.0, 2.0, *times
    inner = 0.0, 1.0, *times[:-2]
    gaps = [sorted(ends) for ends in zip(inner, times, strict=True)]
    return AdjacentMotion(
        torch.stack([field(path(b) - path(a)) for a, b in gaps], 1),
        torch.tensor([times]),
        torch.tensor([[True, True, *(known or [True] * (len(times) - 2))]]),
    )


def curved(stage, t, adjacent):
    return stage(
        straight(t), torch.rand(1, 8, 8, 12), adjacent, torch.rand(1, 8, 2, 3), torch.tensor([t])
    )


@pytest.fixture
def stage(monkeypatch):
    """Untrained, with full confidence in all differences."""
    monkeypatch.setattr("lift.model.trajectory.INIT_LOGIT", 50.0)
    return Trajectory(CONFIG)


@pytest.mark.parametrize("t", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("left, right", [(-1.0, 2.0), (-2.0, 1.5), (-0.5, 3.0)])
@torch.no_grad()
def test_a_cubic_path_through_four_frames_is_found(stage, left, right, t):
    estimate = curved(stage, t, adjacent_motion(left, right))
    torch.testing.assert_close(
        estimate.flow_t0, field(position(0.0) - position(t)), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        estimate.flow_t1, field(position(1.0) - position(t)), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("t", [0.25, 0.5, 0.8])
@pytest.mark.parametrize(
    "path, times",
    [
        (quintic, (-2.0, 3.0)),
        (quintic, (-3.0, 2.5)),
        (quintic, (-1.25, 4.0)),
        (septic, (-2.0, 3.0, -3.0, 4.0)),
        (septic, (-1.25, 2.5, -2.5, 3.0)),
    ],
)
@torch.no_grad()
def test_paths_of_degree_five_and_seven_through_six_and_eight_frames_are_found(
    stage, path, times, t
):
    estimate = stage(
        straight(t, path),
        torch.rand(1, 8, 8, 12),
        with_outer_gaps(times, path=path),
        torch.rand(1, 8, 2, 3),
        torch.tensor([t]),
    )
    for flow, end in ((estimate.flow_t0, 0.0), (estimate.flow_t1, 1.0)):
        torch.testing.assert_close(flow, field(path(end) - path(t)), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("times", [(-2.0, 3.0), (-2.0, 3.0, -3.0, 4.0)])
def test_differences_above_order_2_count_from_not_at_all_to_twice(stage, times):
    flows = []
    for logit in (-50.0, 0.0, 50.0):
        stage.head.bias[4:] = logit
        flows.append(curved(stage, 0.5, with_outer_gaps(times)).flow_t0)
    none, once, twice = flows
    assert (once - none).abs().max() > 1e-3
    torch.testing.assert_close(twice - none, 2 * (once - none), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_displaced_frame_does_not_bend_paths_by_differences_above_order_2(stage):
    """They say much where a frame is off by a pixel, but the two sides disagree."""
    t, times = torch.tensor([0.5]), (-2.0, 3.0, -3.0, 4.0)

    def displaced(time):
        return position(time) + torch.tensor([float(time == 0.0), 0.0])

    line, full = straight(0.5, displaced), with_outer_gaps(times, path=displaced)
    cubic = replace(full, valid=torch.tensor([[True] * 2 + [False] * 4]))
    hidden, context = torch.rand(1, 8, 8, 12), torch.rand(1, 8, 2, 3)
    found = stage(line, hidden, full, context, t).flow_t0
    expected = stage(line, hidden, cubic, context, t).flow_t0
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    weights = path_weights(full, t)[:, 2:, None, None, None]
    differences = path_differences(line.flow_t0, line.flow_t1, full, kernels.warp)[:, 2:]
    assert (weights * differences).sum(1).abs().max() > 0.03


def former_stage():
    return Trajectory(replace(CONFIG, path_frames=4))


def grown(former, stage):
    """`stage` with the weights of a former one, and zeros for the inputs and outputs it lacks."""
    state = stage.state_dict()
    for name, old in former.state_dict().items():
        new = torch.zeros_like(state[name])
        new[tuple(slice(n) for n in old.shape)] = old
        state[name] = new
    stage.load_state_dict(state)
    return stage


@pytest.mark.parametrize("times", [(-2.0, 3.0), (-2.0, 3.0, -3.0, 4.0)])
@torch.no_grad()
def test_weights_of_four_frames_grow_to_more(times):
    former = wake(former_stage())
    stage = grown(former, Trajectory(replace(CONFIG, path_frames=4 + len(times))))
    t = torch.tensor([0.3])
    hidden, context = torch.rand(1, 8, 8, 12), torch.rand(1, 8, 2, 3)
    four = adjacent_motion()
    unknown = with_outer_gaps(times, [False] * len(times), path=position)
    expected = former(straight(0.3), hidden, four, context, t).flow_t0
    for adjacent in (four, unknown):
        found = stage(straight(0.3), hidden, adjacent, context, t).flow_t0
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    known = with_outer_gaps(times)
    assert (stage(straight(0.3), hidden, known, context, t).flow_t0 - expected).abs().max() > 1e-3


@torch.no_grad()
def test_a_path_through_four_frames_has_the_layout_it_always_had():
    shapes = {name: tuple(p.shape) for name, p in former_stage().named_parameters()}
    assert shapes["conv_in.weight"][:2] == (8, 8 + 6) and shapes["head.weight"][0] == 4


@pytest.mark.parametrize("known", [(True, False), (False, True)])
@torch.no_grad()
def test_three_frames_make_a_parabola(stage, known):
    times = torch.tensor([-1.0 if known[0] else 2.0, 0.0, 1.0], dtype=torch.float64)
    places = torch.stack([position(time) for time in times]).double()
    through = torch.linalg.solve(torch.stack([times**0, times, times**2], 1), places)
    want = places[1] - torch.tensor([1, 0.25, 0.0625], dtype=torch.float64) @ through
    torch.testing.assert_close(
        curved(stage, 0.25, adjacent_motion(known=known)).flow_t0,
        field(want.float()),
        atol=1e-5,
        rtol=1e-5,
    )


@torch.no_grad()
def test_without_adjacent_frames_paths_stay_straight_for_any_weights():
    stage, t = wake(Trajectory(CONFIG)), 0.3
    assert not torch.equal(curved(stage, t, adjacent_motion()).flow_t0, straight(t).flow_t0)
    unknown = adjacent_motion(known=(False, False))
    for adjacent in (
        unknown,
        replace(unknown, motions=1e3 * unknown.motions),
        replace(with_outer_gaps(), valid=torch.tensor([[False, False, True, True]])),
        AdjacentMotion.none(Motion((straight(t),), torch.rand(1))),
    ):
        estimate = curved(stage, t, adjacent)
        assert torch.equal(estimate.flow_t0, straight(t).flow_t0) and torch.equal(
            estimate.flow_t1, straight(t).flow_t1
        )


@torch.no_grad()
def test_adjacent_motion_is_sampled_where_the_point_was_then(stage):
    """Half an interval before the left reference, only points left of x = 16 were moving."""
    motion, seen = (
        torch.tensor([8.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 40),
        torch.zeros(1, 1, 8, 40),
    )
    estimate = FlowEstimate.from_parts(-motion / 2, motion / 2, seen, seen, 4)
    before = motion.clone()
    before[..., 16:] = (
        0  # at x = 24 now, at 20 in the left reference, at 16 half an interval before
    )
    adjacent = AdjacentMotion(
        torch.stack((before, before), 1), torch.tensor([[-1.0, 2.0]]), torch.tensor([[True, False]])
    )
    change = path_differences(estimate.flow_t0, estimate.flow_t1, adjacent, kernels.warp)[:, 0]
    assert not change[..., :24].any() and change[:, 0, :, 24:].all()


@torch.no_grad()
def test_clips_of_a_batch_have_their_own_adjacent_motion(stage):
    t = torch.tensor([0.5, 0.5])
    both = AdjacentMotion(
        adjacent_motion().motions.expand(2, -1, -1, -1, -1),
        torch.tensor([[-1.0, 2.0]] * 2),
        torch.tensor([[True, True], [False, False]]),
    )
    line = straight(0.5)
    two = FlowEstimate(line.state.expand(2, -1, -1, -1), 4)
    estimate = stage(two, torch.rand(2, 8, 8, 12), both, torch.rand(2, 8, 2, 3), t)
    torch.testing.assert_close(
        estimate.flow_t0[:1], field(position(0.0) - position(0.5)), atol=1e-5, rtol=1e-5
    )
    assert torch.equal(estimate.flow_t0[1:], line.flow_t0)
