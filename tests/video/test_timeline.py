from fractions import Fraction
from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift.errors import LiftError
from lift.video.schedule import FixedRateSchedule, MultiplierSchedule
from lift.video.timeline import (
    LoopSchedule,
    loop,
    parse_time,
    parse_trim,
    slow,
    slow_schedule,
    trim,
    trimmed_end,
)

NTSC = Fraction(30000, 1001)


def clip(n, fps=25):
    return [(k, k / Fraction(fps)) for k in range(n)]


@pytest.mark.parametrize(
    "text, fps, seconds",
    (
        ("90", None, 90),
        ("90.25", None, Fraction(361, 4)),
        (".5", None, Fraction(1, 2)),
        ("1:30", None, 90),
        ("75:30", None, 4530),
        ("1:01:30.040", None, Fraction("3690.04")),
        ("00:00:01,5", None, Fraction(3, 2)),
        ("00:00:01:12", 25, Fraction(37, 25)),
        ("00:01:00:00", NTSC, 1800 / NTSC),
        ("00:01:00;02", NTSC, 1800 / NTSC),
        ("01:00:00;00", NTSC, 107892 / NTSC),
        ("00:10:00;00", 2 * NTSC, 35964 / (2 * NTSC)),
    ),
)
def test_times_are_read(text, fps, seconds):
    assert parse_time(text, fps) == seconds


@pytest.mark.parametrize(
    "text, fps",
    (
        ("", 25),
        ("x", 25),
        ("-3", 25),
        ("1:60", 25),
        ("1:60:00", 25),
        ("1:2:3:4:5", 25),
        ("1e3", 25),
        ("0:0:1:25", 25),
        ("0:0:1;0", 25),
        ("0:1:0;0", NTSC),
        ("0:0:1:0", None),
    ),
)
def test_what_is_no_time_is_refused(text, fps):
    with pytest.raises(LiftError, match="time"):
        parse_time(text, fps)


@pytest.mark.parametrize(
    "text, start, end",
    (
        ("2:5", 2, 5),
        ("2.5:", Fraction(5, 2), None),
        (":5", 0, 5),
        (":0:05", 0, 5),
        ("1:30:", 90, None),
        ("0:10:0:20", 10, 20),
        ("0:00:10:0:00:20.5", 10, Fraction(41, 2)),
        ("00:00:01:12:00:00:02:00", Fraction(37, 25), 2),
        ("5-0:20", 5, 20),
    ),
)
def test_parts_are_read(text, start, end):
    assert parse_trim(text, 25) == (start, end)


@pytest.mark.parametrize(
    "text", ("", ":", "5", "0:00:10", "a:b", "1:2:3:4:5", "-", "5-", "-5:10", "1-2-3")
)
def test_what_is_no_part_is_refused(text):
    with pytest.raises(LiftError, match="give|write"):
        parse_trim(text)


@pytest.mark.parametrize("text", ("5:5", "0:10:0:05"))
def test_a_part_without_length_is_refused(text):
    with pytest.raises(LiftError, match="its end must be later"):
        parse_trim(text)


def test_a_part_starts_at_zero_with_the_frame_on_display():
    assert list(trim(clip(10), Fraction("0.1"), Fraction("0.21"))) == [
        (2, 0), (3, Fraction("0.02")), (4, Fraction("0.06")), (5, Fraction("0.1"))
    ]  # fmt: skip
    assert list(trim(clip(10), Fraction("0.08"), Fraction("0.16"))) == [
        (2, 0),
        (3, Fraction("0.04")),
    ]
    assert list(trim(clip(3))) == clip(3)
    close = [(0, Fraction(0)), (1, Fraction(1, 15360)), (2, Fraction(1, 30))]
    assert list(trim(close, Fraction(0), Fraction(1))) == close


def test_a_part_shorter_than_a_frame_is_one_frame():
    assert list(trim(clip(3), Fraction("0.05"), Fraction("0.06"))) == [(1, 0)]


def test_the_last_frame_counts_as_long_as_it_is_displayed():
    assert list(trim(clip(3), Fraction("0.1"))) == [(2, 0)]
    assert list(trim(clip(3), Fraction(2), source_end=lambda: Fraction(3))) == [(2, 0)]
    for options in ({}, {"source_end": lambda: Fraction("0.12")}):
        with pytest.raises(LiftError, match="no frame is displayed after 0.120 s; the source ends"):
            list(trim(clip(3), Fraction("0.12"), **options))
    with pytest.raises(LiftError, match="no frame"):
        list(trim([]))


def test_a_part_of_an_endless_source_ends():
    endless = ((k, Fraction(k, 25)) for k in count())
    assert len(list(trim(endless, Fraction(1), Fraction(2)))) == 25
    assert next(endless)[0] == 51


@given(st.integers(1, 40), st.integers(0, 1600), st.integers(1, 1600))
def test_a_part_holds_the_frames_displayed_in_it(n, start, length):
    start = Fraction(start, 1000)
    end = start + Fraction(length, 1000)
    sliver = Fraction(1, 1000)
    kept = [
        k for k, time in clip(n) if time + Fraction(1, 25) > start + sliver and time < end - sliver
    ]
    if kept:
        parts = list(trim(clip(n), start, end, lambda: Fraction(n, 25)))
        assert parts[0][1] == 0
        frames = [k for k, _ in parts]
        assert frames == kept
        assert all(time == Fraction(k, 25) - start for k, time in parts[1:])


def test_the_end_of_a_part():
    assert trimmed_end(Fraction(10), Fraction(2), Fraction(5)) == 3
    assert trimmed_end(Fraction(4), Fraction(2), Fraction(5)) == 2
    assert trimmed_end(Fraction(4), Fraction(2)) == 2
    assert trimmed_end(None, Fraction(2), Fraction(5)) == 3
    assert trimmed_end(None) is None


def all_outputs(timed, schedule):
    times = [time for _, time in timed]
    pairs = zip(times, times[1:], strict=False)
    return [o for a, b in pairs for o in schedule.between(a, b)] + schedule.last(times[-1])


def test_slow_motion_keeps_the_rate_of_the_source():
    schedule, rate = slow_schedule(Fraction(4), Fraction(25))
    outputs = all_outputs(list(slow(clip(6), 4)), schedule)
    assert schedule == MultiplierSchedule(4) and rate == 25
    assert [time for _, time in outputs] == [Fraction(k, 25) for k in range(21)]


def test_slow_motion_by_a_fraction_keeps_the_rate_of_the_source():
    schedule, rate = slow_schedule(Fraction("2.5"), Fraction(25))
    outputs = all_outputs(list(slow(clip(6), Fraction("2.5"))), schedule)
    assert rate == 25
    assert [time for _, time in outputs] == [Fraction(k, 25) for k in range(13)]
    assert [t for t, _ in outputs][:6] == [0, *(Fraction(n, 5) for n in (2, 4, 1, 3)), 0]


def test_slow_motion_at_a_rate():
    schedule, rate = slow_schedule(Fraction(2), Fraction(25), Fraction(60))
    assert rate == 60 and schedule.fps == 60
    for factor in (1, "0.5"):
        with pytest.raises(LiftError, match="--slow must be above 1"):
            slow_schedule(Fraction(factor), Fraction(25))


@pytest.mark.parametrize(
    "schedule, n", ((MultiplierSchedule(2), 20), (FixedRateSchedule(Fraction(30)), 12))
)
def test_a_loop_leads_back_to_the_first_frame(schedule, n):
    looped = list(loop(clip(10)))
    assert looped == [*clip(10), (0, Fraction(10, 25))]
    outputs = all_outputs(looped, LoopSchedule(schedule))
    assert len(outputs) == n  # twice round, the rate is even
    assert outputs[-1].time < Fraction(10, 25) <= outputs[-1].time + outputs[1].time
    assert outputs[-1].t > 0


def test_a_loop_closes_when_the_last_frame_ends():
    assert list(loop(clip(3), lambda: Fraction(2)))[-1] == (0, 2)
    assert list(loop(clip(3), lambda: None))[-1] == (0, Fraction(3, 25))
    assert list(loop(clip(1)))[-1] == (0, 1)
    assert list(loop([])) == []


def test_transforms_are_lazy():
    endless = ((k, Fraction(k, 25)) for k in count())
    transformed = loop(slow(trim(endless, Fraction(1)), 2))
    assert list(islice(transformed, 2)) == [(25, 0), (26, Fraction(2, 25))]
