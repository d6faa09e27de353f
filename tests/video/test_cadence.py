from fractions import Fraction
from math import ceil, floor

import pytest

from lift.video.cadence import LOOK_BACK, true_position

LENGTH = 60


def shown(step, rounding, n=LENGTH):
    """Which of n frames are new where an even clock has one every `step` intervals."""
    positions = {rounding(step * k) for k in range(n + 1)}
    return [k in positions for k in range(n)]


def positions(kept, changes=None):
    """The true position of every kept frame, each from its own window."""
    changes = changes or [1.0] * len(kept)
    found = []
    for k in range(len(kept)):
        if kept[k]:
            first, stop = max(0, k - LOOK_BACK), k + 17
            found.append(first + true_position(kept[first:stop], changes[first:stop], k - first))
    return found


def nearest(x):
    return floor(x + Fraction(1, 2))


@pytest.mark.parametrize("rounding", (floor, ceil, nearest))
@pytest.mark.parametrize(
    "step",
    ("5/4", "5/2", "5/3", "12/5", "3/2", "6/5", "10/9"),
    ids=lambda s: s.replace("/", " in "),
)
def test_frames_of_a_pulldown_are_spread_evenly(step, rounding):
    step = Fraction(step)
    kept = shown(step, rounding)
    found = positions(kept)
    gaps = [b - a for a, b in zip(found, found[1:], strict=False)]
    assert found[0] == 0
    # a long cycle is not clear from the first frame on
    known = [gap for gap, p in zip(gaps, found, strict=False) if step.numerator < 8 or p > 26]
    assert all(abs(gap / step - 1) < 0.1 for gap in known[:-5])
    assert all(gap > 0 for gap in gaps)
    assert all(
        abs(f - p) < 1 for f, p in zip(found, [k for k in range(60) if kept[k]], strict=True)
    )


@pytest.mark.parametrize("every", (1, 2, 3))
def test_frames_shown_for_equally_long_stay(every):
    kept = [k % every == 0 for k in range(LENGTH)]
    assert positions(kept) == list(range(0, LENGTH, every))


def test_a_cycle_keeps_one_original_where_it_is():
    found = positions(shown(Fraction(5, 4), floor))
    assert sum(position.denominator == 1 for position in found[LOOK_BACK:-5]) in (1, 2, 3)
    assert found[:8] == [Fraction(5, 4) * k for k in range(8)]


@pytest.mark.parametrize(
    "pattern",
    ("11110", "111101111111", "1011110110101110111110", "1101100110"),
    ids=("once", "one dropped", "irregular", "stops"),
)
def test_frames_without_a_clear_pattern_stay(pattern):
    kept = [c == "1" for c in pattern]
    assert positions(kept) == [k for k, new in enumerate(kept) if new]


def test_dropped_frames_are_no_pulldown():
    """After a dropped frame the picture has moved twice as far."""
    kept = shown(Fraction(5, 4), floor)
    changes = [1.6 if k and not kept[k - 1] else 1.0 for k in range(LENGTH)]
    assert positions(kept, changes) == [k for k in range(LENGTH) if kept[k]]
