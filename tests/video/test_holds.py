from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift.video.holds import find_holds, usual_interval


def rising(*gaps):
    times = [Fraction(0)]
    for gap in gaps:
        times.append(times[-1] + Fraction(str(gap)))
    return times


FRAME = (0.04,)
CASES = {
    "constant rate": (FRAME * 14, []),
    "one frame a second": ((1,) * 14, []),
    "one gap alone": ((4,), []),
    "phone video": ((0.033, 0.034, 0.05, 0.033, 0.1, 0.033, 0.017, 0.033), []),
    "a dropped frame or three": ((*FRAME * 5, 0.16, *FRAME * 5), []),
    "three frames at 60 are no stop": ((*(0.0167,) * 5, 0.1, *(0.0167,) * 5), []),
    "a screen recording": ((*FRAME * 9, 4.04, *FRAME * 9), [9]),
    "the first gap": ((4.04, *FRAME * 9), [0]),
    "the last gap": ((*FRAME * 9, 4.04), [9]),
    "a slideshow with transitions": ((2, *(0.05,) * 10, 2, *(0.05,) * 10, 2), [0, 11, 22]),
    "a GIF with a pause at its end": ((*(0.1,) * 6, 1.5, *(0.1,) * 6), [6]),
    "an uneven GIF": ((0.1, 0.3, 0.12, 0.5, 0.2, 0.1, 0.4, 0.3), []),
    "an uneven recording": ((0.067, 0.033, 0.1, 0.033, 0.5, 0.067, 0.033, 0.067), [4]),
}


@pytest.mark.parametrize("gaps, holds", CASES.values(), ids=CASES)
def test_what_counts_as_a_hold(gaps, holds):
    found = find_holds(rising(*gaps))
    assert [k for k, moving in enumerate(found) if moving is not None] == holds
    usual = usual_interval(rising(*gaps))
    assert all(found[k] == usual for k in holds)


def test_a_longest_gap_overrides_what_is_usual():
    times = rising(*FRAME * 5, 0.12, *FRAME * 5, 4)
    assert find_holds(times, Fraction(5)) == [None] * 12
    held = find_holds(times, Fraction(1, 10))
    assert [k for k, moving in enumerate(held) if moving] == [5, 11]
    assert find_holds(rising(1, 1, 1), Fraction(1, 2)) == [Fraction(1, 2)] * 3
    assert find_holds(rising(4), Fraction(1, 2)) == [Fraction(1, 2)]
    with pytest.raises(ValueError, match="max_gap must be positive"):
        find_holds(times, Fraction(0))


@given(st.lists(st.sampled_from((0.04, 0.05, 0.3, 2)), min_size=16, max_size=40), st.data())
def test_the_neighbourhood_alone_decides(gaps, data):
    times = rising(*gaps)
    left = data.draw(st.integers(7, len(gaps) - 7))
    whole = find_holds(times)[left]
    window = times[left - 7 : left + 8]  # 8 frames at or before, 7 after
    assert find_holds(window)[7] == whole


def test_slowed_times_have_the_same_holds():
    times = rising(*(0.0167,) * 6, 0.15, *(0.0167,) * 6, 0.3, *FRAME)
    slowed = [5 * time for time in times]
    assert find_holds(slowed, slow=5) == [m and 5 * m for m in find_holds(times)]


def test_the_usual_interval_is_one_of_the_intervals():
    assert usual_interval(rising(1, 2, 4, 8)) == 2
    assert usual_interval(rising()) is None
