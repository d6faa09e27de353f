from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift.video.schedule import FixedRateSchedule, MultiplierSchedule


def output_times(schedule, times):
    """(position in frames, time) of all outputs of a sequence."""
    outputs = []
    for k, (a, b) in enumerate(zip(times, times[1:], strict=False)):
        outputs += [(k + t, time) for t, time in schedule.between(a, b)]
    return outputs + [(len(times) - 1 + t, time) for t, time in schedule.last(times[-1])]


@pytest.mark.parametrize("multi", (2, 3, 8))
@pytest.mark.parametrize("n", (1, 2, 9))
def test_a_multiple_keeps_every_original_at_its_time(multi, n):
    times = [Fraction(k * k, 30) for k in range(n)]  # a rate that varies
    outputs = output_times(MultiplierSchedule(multi), times)
    assert len(outputs) == (n - 1) * multi + 1
    assert [time for position, time in outputs if position == int(position)] == times
    assert [position for position, _ in outputs] == [
        Fraction(k, multi) for k in range(len(outputs))
    ]


@pytest.mark.parametrize(
    "source, target",
    (
        ("24", "60"),
        ("24000/1001", "60000/1001"),
        ("30", "24"),
        ("25", "25"),
        ("30000/1001", "60"),
        ("60", "7"),
    ),
)
def test_a_rate_is_met_exactly_without_drift(source, target):
    source, target = Fraction(source), Fraction(target)
    start = Fraction(1, 3)
    times = [start + k / source for k in range(500)]
    outputs = output_times(FixedRateSchedule(target, start), times)
    assert [time for _, time in outputs] == [start + k / target for k in range(len(outputs))]
    assert times[-1] - 1 / target < outputs[-1][1] <= times[-1] + Fraction(1, 25) / source
    assert all(
        abs(position - (time - start) * source) <= Fraction(1, 25) for position, time in outputs
    )
    if source == target:
        assert all(position == int(position) for position, _ in outputs)


def test_times_rounded_to_milliseconds_still_show_the_originals():
    times = [Fraction(round(1000 * k / Fraction(60000, 1001)), 1000) for k in range(300)]
    outputs = output_times(
        FixedRateSchedule(Fraction(120000, 1001), interval=Fraction(1001, 60000)), times
    )
    assert sum(position == int(position) for position, _ in outputs) >= 300


def test_values_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="multi must be at least 2, got 1"):
        MultiplierSchedule(1)
    with pytest.raises(ValueError, match="fps must be positive"):
        FixedRateSchedule(Fraction(0))


uneven = st.lists(st.integers(1, 4000), min_size=1, max_size=12)
schedules = st.one_of(
    st.integers(2, 8).map(MultiplierSchedule),
    st.builds(FixedRateSchedule, st.fractions(1, 200, max_denominator=1001)),
)


def rising(gaps):
    times = [Fraction(0)]
    for gap in gaps:
        times.append(times[-1] + Fraction(gap, 1000))
    return times


@given(uneven, schedules, st.booleans())
def test_each_output_belongs_to_one_pair_and_they_are_evenly_spaced(gaps, schedule, held):
    """Pairs are asked in any order, as when several parts are interpolated at once."""
    times = rising(gaps)
    moving = Fraction(1, 25) if held else None
    pairs = list(zip(times, times[1:], strict=False))
    found = [(time, t) for a, b in reversed(pairs) for t, time in schedule.between(a, b, moving)]
    found += [(time, t) for t, time in schedule.last(times[-1])]
    assert all(0 <= t < 1 for _, t in found)
    found.sort()
    shown = [time for time, _ in found]
    if isinstance(schedule, MultiplierSchedule):
        assert len(shown) == len(set(shown)) == len(pairs) * schedule.multi + 1
        assert shown[:: schedule.multi] == times
    else:
        assert shown == [k / schedule.fps for k in range(len(shown))]
        assert times[-1] - 1 / schedule.fps < shown[-1] + Fraction(1, 1000)
        assert shown[-1] <= times[-1] + Fraction(1, 1000)


def test_a_hold_at_a_multiple_moves_in_its_last_interval_only():
    moving = Fraction(1, 25)
    assert MultiplierSchedule(4).between(Fraction(1), Fraction(5), moving) == [
        (0, 1),
        *((Fraction(k, 4), 5 - moving + moving * Fraction(k, 4)) for k in (1, 2, 3)),
    ]


def test_a_hold_at_a_fixed_rate_repeats_the_left_frame():
    moving = Fraction(1, 25)
    outputs = FixedRateSchedule(Fraction(50)).between(Fraction(1), Fraction(5), moving)
    assert [time for _, time in outputs] == [1 + Fraction(k, 50) for k in range(200)]
    assert [t for t, _ in outputs] == [0] * 199 + [Fraction(1, 2)]


def test_a_moving_part_longer_than_the_interval_is_the_interval():
    for schedule in (MultiplierSchedule(3), FixedRateSchedule(Fraction(60))):
        assert schedule.between(Fraction(0), Fraction(1, 20), Fraction(1)) == schedule.between(
            Fraction(0), Fraction(1, 20)
        )


def test_a_hold_between_frames_of_the_source_moves_alike_with_their_times():
    pair, moving = (Fraction(1), Fraction(5)), Fraction(1, 25)
    schedule = MultiplierSchedule(4)
    assert schedule.between(*pair, moving, pair) == schedule.between(*pair, moving)


@pytest.mark.parametrize("multi", (2, 3))
def test_outputs_stay_at_the_times_of_frames_that_were_removed(multi):
    source = [Fraction(k, 30) for k in range(11)]
    shown = [Fraction(k, 24) for k in range(9)]  # 24 in 30, at their true times
    schedule = MultiplierSchedule(multi)
    outputs = [
        o
        for a, b in zip(shown, shown[1:], strict=False)
        for o in schedule.between(a, b, source_times=source)
    ] + schedule.last(shown[-1])
    assert [time for _, time in outputs] == [Fraction(k, 30 * multi) for k in range(10 * multi + 1)]
    positions = [24 * time for _, time in outputs]
    assert [t for t, _ in outputs] == [p - int(p) for p in positions]
