"""Cut clips from long sequences: which frames are inputs, which is the target, and their times.

There are two ways. `skip`: every s-th frame is an input and the target any frame between the
references, as at inference, where the frame to be generated does not exist. `dense`: sixteen
consecutive frames, 0 to 15, target 8, references 7 and 9, the other thirteen as context.
"""

from collections.abc import Sequence as Numbers
from dataclasses import dataclass

import numpy as np

from lift.data.clip import frames_around

BEFORE, AFTER = 7, 6  # context frames around the references of a clip of fifteen
DENSE = 16  # frames a dense window spans


@dataclass(frozen=True)
class Window:
    """A clip as frame numbers of a sequence.

    Attributes:
        indices: numbers of the input frames, in the order of time, without frames that do not
            exist.
        times: their times; the references are at 0 and 1.
        left: position of the left reference in `indices`; the right one follows it.
        target: number of the target frame; never among `indices`.
        t: the target's time, in (0, 1).
    """

    indices: tuple[int, ...]
    times: tuple[float, ...]
    left: int
    target: int
    t: float

    def __post_init__(self):
        if len(self.indices) != len(self.times):
            raise ValueError(
                "Window: indices and times must be of one length, "
                f"got {len(self.indices)} and {len(self.times)}"
            )
        if not 0 <= self.left < len(self.indices) - 1:
            raise ValueError(f"Window: left must be in 0..{len(self.indices) - 2}, got {self.left}")


def skip(
    left: int,
    stride: int,
    step: int,
    shot: tuple[int, int],
    frames: int = 15,
    timestamps: Numbers[float] | None = None,
) -> Window:
    """The window whose inputs are `stride` frames apart, with the target `step` after the left one.

    Args:
        left: number of the left reference; the right one is left + stride.
        stride: frames from input to input, at least 2.
        step: 1 .. stride - 1.
        shot: first frame of the shot and of the next one; no input is outside.
        frames: the largest number of inputs, references included.
        timestamps: seconds of every frame of the sequence, for a variable frame rate; evenly spaced
            when None.

    Raises:
        ValueError: the references are not in the shot, or a number is out of range.
    """
    if not 1 <= step < stride:
        raise ValueError(f"skip: step must be in 1..stride - 1 = {stride - 1}, got {step}")
    if not shot[0] <= left <= left + stride < shot[1]:
        raise ValueError(
            f"skip: references {left} and {left + stride} must be in the shot "
            f"{shot[0]}..{shot[1] - 1}"
        )
    before, after = frames_around(frames)
    inputs = [
        (left + k * stride)
        for k in range(1 - before, after + 1)
        if shot[0] <= left + k * stride < shot[1]
    ]
    return _window(inputs, left, left + stride, left + step, timestamps)


def dense(
    first: int, shot: tuple[int, int], frames: int = 15, timestamps: Numbers[float] | None = None
) -> Window:
    """The window of sixteen consecutive frames, with the target in the middle.

    Frame i of them is at time (i - 7) / 2; target 8 is between the references 7 and 9. Frames
    outside the shot are omitted; target and references must be inside. Arguments as for `skip`.
    """
    target = first + BEFORE + 1
    if not shot[0] <= target - 1 <= target + 1 < shot[1]:
        raise ValueError(
            f"dense: frames {target - 1} to {target + 1} must be in the shot "
            f"{shot[0]}..{shot[1] - 1}"
        )
    before, after = frames_around(frames)
    inputs = [
        i
        for i in range(target - before, target + 1 + after)
        if i != target and shot[0] <= i < shot[1]
    ]
    return _window(inputs, target - 1, target + 1, target, timestamps)


def _window(
    inputs: list[int], left: int, right: int, target: int, timestamps: Numbers[float] | None
) -> Window:
    def clock(i):
        return float(i if timestamps is None else timestamps[i])

    start, unit = clock(left), clock(right) - clock(left)
    times = tuple((clock(i) - start) / unit for i in inputs)
    return Window(tuple(inputs), times, inputs.index(left), target, (clock(target) - start) / unit)


def drop_context(window: Window, frames: int, rng: np.random.Generator) -> Window:
    """The same window with at most `frames` inputs: the references, and others at random."""
    if frames < 2:
        raise ValueError(f"drop_context: frames must be at least 2 (the references), got {frames}")
    context = [i for i in range(len(window.indices)) if i not in (window.left, window.left + 1)]
    if len(context) <= frames - 2:
        return window
    kept = sorted(
        [window.left, window.left + 1, *rng.choice(context, frames - 2, replace=False).tolist()]
    )
    indices, times = (tuple(values[i] for i in kept) for values in (window.indices, window.times))
    return Window(indices, times, kept.index(window.left), window.target, window.t)


# -- valid windows ---------------------------------------------------------------------------------


def shots(length: int, cuts: Numbers[int]) -> list[tuple[int, int]]:
    """The shots of a sequence, each as (first frame, first frame of the next shot).

    Args:
        length: frames of the sequence.
        cuts: the first frame of each new shot.
    """
    edges = sorted({0, length, *(c for c in cuts if 0 < c < length)})
    return [(a, b) for a, b in zip(edges, edges[1:], strict=False) if a < b]


def skip_lefts(
    length: int, stride: int, cuts: Numbers[int] = (), duplicates: Numbers[int] = ()
) -> np.ndarray:
    """Left references whose interval of `stride` frames has no cut and no duplicate; sorted, int64.

    A duplicate is a frame that repeats the one before it.
    """
    if length <= stride:
        return np.empty(0, np.int64)
    bad = np.zeros(length, np.int64)
    bad[[i for i in (*cuts, *duplicates) if 0 < i < length]] = 1
    total = np.cumsum(bad)
    return np.flatnonzero(total[stride:] == total[:-stride])


def dense_firsts(length: int, cuts: Numbers[int] = (), duplicates: Numbers[int] = ()) -> np.ndarray:
    """First frames of the dense windows that have no cut or duplicate between the references.

    They are negative near the start of a sequence.
    """
    return skip_lefts(length, 2, cuts, duplicates) - BEFORE
