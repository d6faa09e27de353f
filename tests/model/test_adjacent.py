"""The motion beside the references: which frames count, and what acceleration they show."""

import pytest
import torch

from lift.kernels.ops.curve_flows.reference import side_agreement
from lift.model.adjacent import (
    AdjacentMotion,
    adjacent_frames,
    gaps_per_side,
    has_motion,
    path_differences,
    path_weights,
)

ALL = [True] * 6


@pytest.mark.parametrize(
    "times, mask, position, adjacent, exists",
    [
        ([-2.0, -1, 0, 1, 2, 3], ALL, (1, 4), (-1, 2), (True, True)),
        ([-2.0, -1, 0, 1, 2, 3], [True, False, *ALL[2:]], (0, 4), (-2, 2), (True, True)),
        ([-9.0, -2.1, 0, 1, 3.0, 9], ALL, (None, 4), (-1, 3), (False, True)),
        ([0.0, 1, 4, 5, 6, 7], ALL, (None, None), (-1, 2), (False, False)),
        ([3.0, -0.5, 0, 1, 1.5, -2], ALL, (1, 4), (-0.5, 1.5), (True, True)),  # in any order
    ],
)
def test_the_nearest_frames_within_two_intervals_count(times, mask, position, adjacent, exists):
    found = adjacent_frames(torch.tensor([times]), torch.tensor([mask]))
    assert found[2][0].tolist() == list(exists)
    assert found[1][0].tolist() == pytest.approx(list(adjacent))
    for place, wanted in zip(found[0][0].tolist(), position, strict=True):
        assert wanted is None or place == wanted


@pytest.mark.parametrize(
    "times, mask, position, adjacent, exists",
    [
        ([-2.0, -1, 0, 1, 2, 3], ALL, (1, 4, 0, 5), (-1, 2, -2, 3), (True,) * 4),
        (
            [-2.0, -1, 0, 1, 2, 3],
            [*ALL[:4], False, True],
            (1, 5, 0, None),
            (-1, 3, -2, 4),
            (True, True, True, False),
        ),
        # the second frame within two intervals of the first
        ([-4.0, -2, 0, 1, 2, 4.1], ALL, (1, 4, 0, None), (-2, 2, -4, 3), (*[True] * 3, False)),
        # none where the first is missing
        ([-3.0, -2.5, 0, 1, 2, 2.5], ALL, (None, 4, None, 5), (-1, 2, -2, 2.5), (False, True) * 2),
        ([2.5, -1.5, 0, 1, 1.5, -0.5], ALL, (5, 4, 1, 0), (-0.5, 1.5, -1.5, 2.5), (True,) * 4),
    ],
)
def test_two_frames_of_each_side_follow_each_other(times, mask, position, adjacent, exists):
    found = adjacent_frames(torch.tensor([times]), torch.tensor([mask]), per_side=2)
    assert found[2][0].tolist() == list(exists)
    assert found[1][0].tolist() == pytest.approx(list(adjacent))
    for place, wanted in zip(found[0][0].tolist(), position, strict=True):
        assert wanted is None or place == wanted


def test_time_reversal_swaps_the_sides():
    times = torch.tensor([[-3, -1.5, -1, 0, 1, 2.5, 2.75]])
    mask = torch.ones(1, 7, dtype=torch.bool)
    swap = [1, 0, 3, 2]
    position, adjacent, _ = adjacent_frames(times, mask, 2)
    reversed_position, reversed_adjacent, _ = adjacent_frames(1 - times, mask, 2)
    assert torch.equal(reversed_position, position[:, swap])
    assert torch.equal(reversed_adjacent, 1 - adjacent[:, swap])


@pytest.mark.parametrize(
    "frames, path_frames, per_side",
    [
        (2, 6, 1), (4, 6, 1), (5, 6, 2), (15, 6, 2), (15, 4, 1),
        (2, 8, 1), (4, 8, 1), (6, 8, 2), (7, 8, 3), (15, 8, 3),
    ],
)  # fmt: skip
def test_farther_gaps_need_more_frames_and_longer_paths(frames, path_frames, per_side):
    assert gaps_per_side(frames, path_frames) == per_side


def test_duplicates_have_no_motion():
    differences = torch.tensor([0.0, 0.009, 0.011, 0.1])
    assert has_motion(differences, torch.tensor(0.1)).tolist() == [False, False, True, True]


# -- the path --------------------------------------------------------------------------------------


def position(times, degree):
    """Points on a polynomial of time, float64."""
    factors = [3.0, -2, 1.5, -0.7, 0.4, -0.3, 0.2, -0.1]
    factors = torch.tensor(factors[: degree + 1], dtype=torch.float64)
    return (times[:, None] ** torch.arange(degree + 1) * factors).sum(1)


def deviation(frames, degree, t, valid=ALL):
    """Distance of the path at t from a straight one, of one uniform field of motion."""
    frames = torch.tensor(frames, dtype=torch.float64)
    gaps = len(frames) - 2
    motions = position(frames, degree).diff()
    # outwards from the references, before and after them in turn
    half = gaps // 2
    outer = [k for i in range(half) for k in (half - 1 - i, half + 2 + i)]
    order = [k - (k > half) for k in outer]
    adjacent = AdjacentMotion(
        motions[order].view(1, -1, 1, 1, 1).expand(1, gaps, 2, 1, 1),
        frames[None, outer],
        torch.tensor([valid[:gaps]]),
    )
    velocity = motions[gaps // 2].expand(1, 2, 1, 1)
    differences = path_differences(
        -t * velocity, (1 - t) * velocity, adjacent, lambda motion, flow: motion
    )
    weights = path_weights(adjacent, torch.tensor([t], dtype=torch.float64))
    return (weights.view(1, -1, 1, 1, 1) * differences).sum(1)[0, 0, 0, 0]


def true_deviation(degree, t):
    ends = position(torch.tensor([0.0, 1], dtype=torch.float64), degree)
    at = position(torch.tensor([t], dtype=torch.float64), degree)[0]
    return at - ends[0] - t * (ends[1] - ends[0])


FOUR_FRAMES = [(-1.0, 0, 1, 2), (-0.5, 0, 1, 2.75)]
SIX_FRAMES = [(-2.0, -1, 0, 1, 2, 3), (-2.7, -0.9, 0, 1, 1.5, 3.25), (-1, -0.25, 0, 1, 3, 3.5)]
EIGHT_FRAMES = [(-3.0, *SIX_FRAMES[0], 4), (-4.0, *SIX_FRAMES[1], 3.5)]


@pytest.mark.parametrize("frames", FOUR_FRAMES)
@pytest.mark.parametrize("t", [0.2, 0.5])
def test_four_frames_lie_on_a_cubic(frames, t):
    torch.testing.assert_close(deviation(frames, 3, t), true_deviation(3, t))
    assert not torch.isclose(deviation(frames, 4, t), true_deviation(4, t), rtol=1e-3)


@pytest.mark.parametrize("frames", SIX_FRAMES)
@pytest.mark.parametrize("t", [0.2, 0.5, 0.9])
def test_six_frames_lie_on_a_quintic(frames, t):
    torch.testing.assert_close(deviation(frames, 5, t), true_deviation(5, t))


@pytest.mark.parametrize("frames", EIGHT_FRAMES)
@pytest.mark.parametrize("t", [0.2, 0.5, 0.9])
def test_eight_frames_lie_on_a_septic(frames, t):
    torch.testing.assert_close(deviation(frames, 7, t), true_deviation(7, t))


@pytest.mark.parametrize("frames", EIGHT_FRAMES)
@pytest.mark.parametrize("missing", (4, 5))
def test_seven_frames_lie_on_a_sextic(frames, missing):
    valid = [k != missing for k in range(6)]
    torch.testing.assert_close(deviation(frames, 6, 0.3, valid), true_deviation(6, 0.3))
    assert not torch.isclose(deviation(frames, 7, 0.3, valid), true_deviation(7, 0.3), rtol=1e-3)


@pytest.mark.parametrize("frames", EIGHT_FRAMES)
@pytest.mark.parametrize("missing", (2, 3))
def test_the_farthest_gaps_count_only_with_all_frames_before_them(frames, missing):
    valid = [k != missing for k in range(6)]
    assert torch.equal(
        deviation(frames, 7, 0.3, valid), deviation(frames, 7, 0.3, [*valid[:4], False, False])
    )
    torch.testing.assert_close(deviation(frames, 4, 0.3, valid), true_deviation(4, 0.3))


@pytest.mark.parametrize("frames", SIX_FRAMES)
@pytest.mark.parametrize("valid", [(True, True, True, False), (True, True, False, True)])
def test_five_frames_lie_on_a_quartic(frames, valid):
    torch.testing.assert_close(deviation(frames, 4, 0.3, valid), true_deviation(4, 0.3))
    assert not torch.isclose(deviation(frames, 5, 0.3, valid), true_deviation(5, 0.3), rtol=1e-3)


@pytest.mark.parametrize("frames", SIX_FRAMES)
@pytest.mark.parametrize("side", (0, 1))
def test_the_farther_gaps_count_only_with_both_frames_beside_the_references(frames, side):
    inner = [place == side for place in (0, 1)]
    assert torch.equal(
        deviation(frames, 5, 0.3, [*inner, True, True]),
        deviation(frames, 5, 0.3, [*inner, False, False]),
    )
    torch.testing.assert_close(
        deviation(frames, 2, 0.3, [*inner, True, True]), true_deviation(2, 0.3)
    )


def test_motion_is_sampled_where_the_point_was_half_way_through_each_gap():
    """A point at rest in the references' interval that accelerates away from it."""
    frames = torch.tensor([-3.0, -1, 0, 1, 1.5, 3.5])
    inner, outer = torch.tensor([2.0, 1]), torch.tensor([6.0, 8])  # before and after
    seen = []

    def warp(motions, flows):
        seen.append(flows[:, 0, 0, 0].tolist())
        return motions

    motions = torch.cat((inner, outer)).view(1, 4, 1, 1, 1).expand(1, 4, 2, 1, 1)
    adjacent = AdjacentMotion(motions, frames[None, [1, 4, 0, 5]], torch.tensor([ALL[:4]]))
    still = torch.zeros(1, 2, 1, 1)
    path_differences(still, still, adjacent, warp)
    # 2 a unit of time before, and 2 a unit of time after
    assert seen == [[0, 0], [-2 - 2, 1 + 2]]


# -- the agreement of both sides -------------------------------------------------------------------


def differences_of(positions):
    """Of points at the times -3 to 4, (N,) points in (N, 8): (1, 6, 2, 1, N)."""
    motions = positions.diff(dim=1)
    gaps = motions[:, [2, 4, 1, 5, 0, 6]].T.reshape(1, 6, 1, 1, -1).expand(-1, -1, 2, -1, -1)
    times = torch.tensor([[-1.0, 2, -2, 3, -3, 4]], dtype=positions.dtype)
    adjacent = AdjacentMotion(gaps, times, torch.ones(1, 6, dtype=torch.bool))
    velocity = motions[:, 3].expand(1, 2, 1, -1)
    return path_differences(-velocity / 2, velocity / 2, adjacent, lambda motion, flow: motion)


def test_both_sides_agree_along_a_smooth_path():
    times = torch.arange(-3.0, 5, dtype=torch.float64)
    path = torch.sin(0.3 * times + 1).expand(20, 8) * 1e3
    assert (side_agreement(differences_of(path)) > 0.9).all()


def test_in_noise_the_differences_of_order_n_correlate_by_n_over_n_plus_1():
    noise = torch.randn(4000, 8, generator=torch.Generator().manual_seed(0)).double()
    agreement = side_agreement(100 * differences_of(noise)).mean((0, 2, 3))
    expected = torch.tensor([-2 / 3, -4 / 5, -6 / 7], dtype=torch.float64)
    torch.testing.assert_close(agreement, expected, atol=0.05, rtol=0)


def test_agreement_is_local_and_zero_where_a_side_is_not_known():
    differences = torch.ones(1, 2, 2, 8, 40)
    differences[:, 1, :, :, 20:] = -1
    agreement = side_agreement(differences)
    assert agreement.shape == (1, 1, 8, 40)
    torch.testing.assert_close(agreement[..., :16], torch.ones(1, 1, 8, 16), atol=1e-4, rtol=0)
    torch.testing.assert_close(agreement[..., 24:], -torch.ones(1, 1, 8, 16), atol=1e-4, rtol=0)
    differences[:, 1] = 0
    assert not side_agreement(differences).any()
