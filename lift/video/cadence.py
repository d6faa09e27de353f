"""Regular patterns of repeated frames, such as 24 frames/s inside 30 or 60.

A film at 24 frames/s in a video of 30 shows its frames for 1, 1, 1 and 2 intervals. They were taken
evenly, 1.25 intervals apart, and that is where they belong between generated frames. A pattern
counts as such pulldown where it repeats at least twice around a frame, where its positions are
those of an even clock rounded to the video's, and where the picture changes as much after a long
display as after a short one. Else, as where a capture dropped frames, all stay where they are.
"""

from collections.abc import Sequence
from fractions import Fraction

LONGEST = 12  # source intervals in a cycle
SHORTEST_PATTERN = 10  # source intervals, two cycles at least, that repeat themselves
LOOK_BACK = 36  # frames before the one in question that are looked at
UNEVEN = 1.25  # ratio of the changes after long and short displays, above which frames were dropped


def true_position(kept: Sequence[bool], changes: Sequence[float], at: int) -> Fraction:
    """Where an evenly taken frame belongs.

    Args:
        kept: of consecutive frames of one shot, whether each differs from the one before; LOOK_BACK
            of them before the one in question, or all from the first of the shot on.
        changes: of each kept frame, its mean difference to the kept one before, any unit.
        at: index of the frame, a kept one.

    Returns:
        Its position in source intervals from the start of `kept`, less than 1 from `at`; `at`
        itself where no pattern is clear. Where the shot starts with the pattern, its first frame
        keeps its position; later ones drift to where they deviate least from the positions at
        which they are shown, which LOOK_BACK frames later they have reached.
    """
    here = Fraction(at)
    if all(kept):
        return here
    best, cycle = (0, 0), 0
    for length in range(1, LONGEST + 1):
        span = _periodic_span(kept, at, length)
        if span is not None and span[1] - span[0] > best[1] - best[0]:
            best, cycle = span, length
    first, last = best
    positions = [k for k in range(first, last + 1) if kept[k]]
    frames = sum(kept[first : first + cycle])  # in a cycle
    if not cycle or frames < 2:
        return here
    step = Fraction(cycle, frames)
    offsets = [p - step * k for k, p in enumerate(positions)]
    if max(offsets) - min(offsets) >= 1 or len(set(offsets)) == 1:
        return here
    displays = [(b - a, b) for a, b in zip(positions, positions[1:], strict=False)]
    short = [changes[p] for length, p in displays if length < step]
    long = [changes[p] for length, p in displays if length > step]
    # after a dropped frame the picture has changed by more
    if sum(long) * len(short) > UNEVEN * sum(short) * len(long):
        return here
    mean = sum(offsets[:frames]) / frames
    # one frame of each cycle is then where it is shown, and stays an original
    phase = min(offsets[:frames], key=lambda offset: (abs(offset - mean), offset))
    if first == 0:
        near = min(Fraction(1), 2 * Fraction(max(0, LOOK_BACK - at), LOOK_BACK))
        phase += (offsets[0] - phase) * near
    return phase + step * positions.index(at)


def _periodic_span(kept: Sequence[bool], at: int, cycle: int) -> tuple[int, int] | None:
    """(first, last) of the longest part around `at` that repeats itself, two cycles at least."""
    best = None
    start = None
    for k in range(cycle, len(kept) + 1):
        if k < len(kept) and kept[k] == kept[k - cycle]:
            start = k if start is None else start
            continue
        if start is not None:
            first, last = start - cycle, k - 1
            if first <= at <= last and last - first >= max(2 * cycle, SHORTEST_PATTERN):
                if best is None or last - first > best[1] - best[0]:
                    best = first, last
        start = None
    return best
