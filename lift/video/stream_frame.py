"""A frame of a stream with what is known of it and of the interval after it."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch

from lift.io.decoded_frame import DecodedFrame
from lift.video.holds import AFTER, AT_LEAST, BEFORE, find_holds


class StreamFrame(NamedTuple):
    """A frame that is interpolated.

    Attributes:
        frame: as `Interpolator.stream` takes it.
        time: seconds at which it is displayed.
        shot: index of its shot; None where the stream shall find the cuts.
        moving: seconds before the next frame in which all motion lies, where the frame is held
            until then (see `holds`); None where there is motion in the whole interval.
        source_times: times of the source's frames around the interval after it, where duplicates
            in it were removed (see `duplicates`); None where there were none.
    """

    frame: torch.Tensor | np.ndarray | DecodedFrame
    time: Fraction | float
    shot: int | None = None
    moving: Fraction | None = None
    source_times: Sequence[Fraction] | None = None


def with_holds(
    frames: Iterable[StreamFrame],
    max_gap: Fraction | None = None,
    slow: Fraction = Fraction(1),
) -> Iterator[StreamFrame]:
    """The frames, with `moving` where a gap is a hold.

    A frame waits for the next one, and at a long gap for the frames that decide about it.

    Args:
        frames: in order.
        max_gap, slow: as of `find_holds`.
    """
    least = (AT_LEAST if max_gap is None else max_gap) * slow
    waiting: list[StreamFrame] = []
    past: list[Fraction] = []  # times of the frames before
    for item in frames:
        waiting.append(item)
        while len(waiting) > 1:
            is_long = waiting[1].time - waiting[0].time > least
            if is_long and len(waiting) < AFTER + 2:
                break
            yield _released(waiting, past, is_long, max_gap, slow)
    while waiting:
        is_long = len(waiting) > 1 and waiting[1].time - waiting[0].time > least
        yield _released(waiting, past, is_long, max_gap, slow)


def _released(waiting, past, is_long: bool, max_gap, slow) -> StreamFrame:
    item = waiting.pop(0)
    moving = None
    if is_long:
        times = [*past, item.time, *(each.time for each in waiting)]
        moving = find_holds(times, max_gap, slow=slow)[len(past)]
    past.append(item.time)
    del past[:-BEFORE]
    return item._replace(moving=moving)
