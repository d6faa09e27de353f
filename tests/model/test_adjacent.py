"""The motion beside the references: which frames count, and what acceleration they show."""

import pytest
import torch

from lift.model.adjacent import (
    acceleration_after,
    acceleration_before,
    acceleration_weights,
    adjacent_frames,
    has_motion,
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


def test_time_reversal_swaps_the_sides():
    times = torch.tensor([[-1.5, -1, 0, 1, 2.5]])
    mask = torch.ones(1, 5, dtype=torch.bool)
    position, adjacent, _ = adjacent_frames(times, mask)
    reversed_position, reversed_adjacent, _ = adjacent_frames(1 - times, mask)
    assert torch.equal(reversed_position, position.flip(1))
    assert torch.equal(reversed_adjacent, 1 - adjacent.flip(1))


def test_duplicates_have_no_motion():
    differences = torch.tensor([0.0, 0.009, 0.011, 0.1])
    assert has_motion(differences, torch.tensor(0.1)).tolist() == [False, False, True, True]


@pytest.mark.parametrize("left, right", [(-1.0, 2.0), (-0.5, 2.75)])
@pytest.mark.parametrize("t", [0.2, 0.5])
def test_the_path_is_the_cubic_through_four_frames(left, right, t):
    def x(time):
        return 3 - 2 * time + 1.5 * time**2 - 0.7 * time**3

    velocity, before, after = x(1) - x(0), x(0) - x(left), x(right) - x(1)
    weights = acceleration_weights(left, right, t)
    assert sum(weights) == pytest.approx(1)
    acceleration = weights[0] * acceleration_before(velocity, before, left)
    acceleration += weights[1] * acceleration_after(velocity, after, right)
    straight = x(0) + t * velocity
    assert straight + t * (t - 1) * acceleration == pytest.approx(x(t))
