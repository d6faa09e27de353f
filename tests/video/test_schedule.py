from fractions import Fraction

import pytest

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
    outputs = output_times(FixedRateSchedule(target), times)
    assert [time for _, time in outputs] == [start + k / target for k in range(len(outputs))]
    assert times[-1] - 1 / target < outputs[-1][1] <= times[-1] + Fraction(1, 25) / source
    assert all(
        abs(position - (time - start) * source) <= Fraction(1, 25) for position, time in outputs
    )
    if source == target:
        assert all(position == int(position) for position, _ in outputs)


def test_times_rounded_to_milliseconds_still_show_the_originals():
    times = [Fraction(round(1000 * k / Fraction(60000, 1001)), 1000) for k in range(300)]
    outputs = output_times(FixedRateSchedule(Fraction(120000, 1001)), times)
    assert sum(position == int(position) for position, _ in outputs) >= 300


def test_values_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="multi must be at least 2, got 1"):
        MultiplierSchedule(1)
    with pytest.raises(ValueError, match="fps must be positive"):
        FixedRateSchedule(Fraction(0))
