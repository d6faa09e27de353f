from fractions import Fraction
from itertools import accumulate

import pytest

from lift.video.stream_frame import StreamFrame, with_holds
from tests.support.streams import interpolator, tensors

FRAME = Fraction(1, 25)
HELD = [0, *accumulate([FRAME] * 3 + [Fraction(404, 100)] + [FRAME] * 3)]


def streamed(times, **options):
    frames = [StreamFrame(None, Fraction(time), 0) for time in times]
    return list(with_holds(frames, **options))


def test_a_frame_before_a_long_gap_is_held_until_its_last_interval():
    assert [item.moving for item in streamed(HELD)] == [None] * 3 + [FRAME] + [None] * 4
    assert [item.time for item in streamed(HELD)] == HELD


def test_a_frame_waits_only_at_a_long_gap_for_more_than_the_next_one():
    read = 0

    def counted():
        nonlocal read
        for k in range(20):
            read += 1
            yield StreamFrame(None, k * FRAME, 0)

    for k, _ in enumerate(with_holds(counted())):
        assert read <= k + 2


@pytest.mark.parametrize("first", range(1, 4))
def test_a_stream_that_starts_in_the_middle_decides_alike(first):
    times = [0, *accumulate([FRAME] * 9 + [Fraction(1, 2)] + [FRAME] * 9)]
    assert [i.moving for i in streamed(times)][first:] == [
        i.moving for i in streamed(times[first:])
    ]


def test_the_model_sees_a_hold_as_its_moving_part(model):
    items = with_holds(
        StreamFrame(frame, Fraction(time), 0) for frame, time in zip(tensors(8), HELD, strict=True)
    )
    windows = interpolator(model, detect_scenes=False)._windows(items, 0)
    window = next(windows)[0]
    assert [frame.time for frame in window] == [k * FRAME for k in range(8)]
    assert [frame.display_time for frame in window] == HELD
