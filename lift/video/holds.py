"""Holds: pictures that stand still on purpose, in sources whose frame times are uneven.

A screen recording or a GIF stores no frame while nothing changes. The next frame is then a new
picture and not the end of a motion that lasted seconds: the left frame is held, and all motion
happens in the last usual interval before the right one. What is usual is decided from the times of
the neighbouring frames alone, so that a stream that starts in the middle decides alike.
"""

import statistics
from collections.abc import Sequence
from fractions import Fraction

BEFORE, AFTER = 7, 6  # neighbouring intervals on each side that decide
LONGER = 4  # times the usual interval, above which a gap may be a hold ...
AT_LEAST = Fraction(1, 5)  # ... if it is longer than these seconds


def usual_interval(times: Sequence[Fraction]) -> Fraction | None:
    """The (lower) median of the intervals between rising times; None for fewer than two times."""
    intervals = [b - a for a, b in zip(times, times[1:], strict=False)]
    return statistics.median_low(intervals) if intervals else None


def find_holds(
    times: Sequence[Fraction], max_gap: Fraction | None = None, *, slow: Fraction = Fraction(1)
) -> list[Fraction | None]:
    """Which gaps between consecutive frames are holds.

    Args:
        times: rising times of the frames around a pair, seconds; up to 8 at or before its left
            frame and 7 at or after its right one decide as every other stream does.
        max_gap: seconds; longer gaps are holds. Where None, those that are more than four times as
            long as the usual interval around them and longer than 0.2 seconds; a sequence without
            other intervals has no holds then.
        slow: factor by which the times are stretched, see `timeline.slow`; thresholds are, too.

    Returns:
        For each gap None, or where it is a hold, the seconds at its end in which motion happens.

    Raises:
        ValueError: max_gap is not positive.
    """
    if max_gap is not None and max_gap <= 0:
        raise ValueError(f"max_gap must be positive, got {max_gap}")
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    least = AT_LEAST * slow if max_gap is None else max_gap * slow
    holds: list[Fraction | None] = [None] * len(gaps)
    for k, gap in enumerate(gaps):
        if gap <= least:
            continue
        neighbours = gaps[max(0, k - BEFORE) : k] + gaps[k + 1 : k + 1 + AFTER]
        usual = statistics.median_low(neighbours) if neighbours else None
        if max_gap is not None:
            holds[k] = least if usual is None else min(usual, least)
        elif usual is not None and gap > LONGER * usual:
            holds[k] = usual
    return holds
