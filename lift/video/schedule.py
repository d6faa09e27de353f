"""Output timestamps: which originals and which generated frames an output has.

A schedule answers for one pair of consecutive frames at a time and remembers nothing, so that work
may start at any pair. Each output timestamp belongs to exactly one pair, or to the last frame.

Where a frame is held (see `holds`), the pair moves only in its last `moving` seconds; before them
the outputs repeat the left frame. Where duplicates were removed (see `duplicates`), `source_times`
are the times of all source frames around the pair, so that outputs appear at every time at which
they would have appeared without the removal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

# an output timestamp this near to an original's, as a fraction of the interval, is that of the
# original: containers round times
SNAP = Fraction(1, 25)


class OutputTime(NamedTuple):
    """One output of a pair of frames.

    Attributes:
        t: position between the two frames, in [0, 1); 0 is the left frame itself, repeated.
        time: seconds.
    """

    t: Fraction
    time: Fraction


@dataclass(frozen=True)
class MultiplierSchedule:
    """Every original, and `multi - 1` evenly spaced frames between each two.

    n frames become (n - 1) * multi + 1.

    Attributes:
        multi: interpolation factor, at least 2.
    """

    multi: int

    def __post_init__(self):
        if self.multi < 2:
            raise ValueError(f"multi must be at least 2, got {self.multi}")

    def between(
        self,
        time0: Fraction,
        time1: Fraction,
        moving: Fraction | None = None,
        source_times: Sequence[Fraction] | None = None,
    ) -> list[OutputTime]:
        """The outputs from the left frame up to, but without, the right one.

        Args:
            time0, time1: when the two frames are displayed, seconds.
            moving: seconds before `time1` in which all motion lies; the whole interval where None
                or longer. The left frame is held until then and no output is spent on the hold.
            source_times: rising times of the source's frames, the first at or before `time0`, the
                last at or after `time1`; (time0, time1) where None. Each of their intervals is
                divided into `multi`.
        """
        start, moving = _motion(time0, time1, moving)
        if source_times is None:
            steps = [Fraction(k, self.multi) for k in range(self.multi)]
            return [OutputTime(t, start + moving * t if t else time0) for t in steps]
        outputs = []
        for a, b in zip(source_times, source_times[1:], strict=False):
            begin, length = _motion(a, b, moving)  # a gap of the source may be the hold itself
            slack = length * SNAP / self.multi
            for k in range(self.multi):
                time = begin + length * Fraction(k, self.multi) if k else a
                if time0 - slack < time <= time1 - slack:
                    outputs.append(OutputTime(_position(time, start, moving, slack), time))
        return outputs

    def last(self, time: Fraction) -> list[OutputTime]:
        """The outputs at the last frame."""
        return [OutputTime(Fraction(0), time)]


@dataclass(frozen=True)
class FixedRateSchedule:
    """The timestamps start + k / fps up to the last frame.

    Attributes:
        fps: frames per second, positive.
        start: the first timestamp, seconds; that of the first frame.
        interval: usual time between two frames of the source, seconds. A timestamp nearer than
            1/25 of it to that of an original shows the original.
    """

    fps: Fraction
    start: Fraction = Fraction(0)
    interval: Fraction = Fraction(1, 60)

    def __post_init__(self):
        if self.fps <= 0:
            raise ValueError(f"fps must be positive, got {self.fps}")

    def between(
        self,
        time0: Fraction,
        time1: Fraction,
        moving: Fraction | None = None,
        source_times: Sequence[Fraction] | None = None,
    ) -> list[OutputTime]:
        """The outputs from the left frame up to, but without, the right one.

        Args:
            time0, time1: when the two frames are displayed, seconds.
            moving: seconds before `time1` in which all motion lies; the whole interval where None
                or longer. The left frame is repeated until then.
            source_times: changes nothing, the outputs do not depend on the source's times.
        """
        start, moving = _motion(time0, time1, moving)
        slack = self._slack
        times = self._grid(time0 - slack, time1 - slack)
        return [OutputTime(_position(time, start, moving, slack), time) for time in times]

    def last(self, time: Fraction) -> list[OutputTime]:
        """The outputs at the last frame."""
        times = self._grid(time - self._slack, time + self._slack)
        return [OutputTime(Fraction(0), output) for output in times]

    @property
    def _slack(self) -> Fraction:
        # less than half a step, or two outputs would show one original
        return min(self.interval, 12 / self.fps) * SNAP

    def _grid(self, after: Fraction, until: Fraction) -> list[Fraction]:
        """The timestamps in (after, until]."""
        first = max(0, math.floor((after - self.start) * self.fps) + 1)
        stop = math.floor((until - self.start) * self.fps) + 1
        return [self.start + k / self.fps for k in range(first, stop)]


Schedule = MultiplierSchedule | FixedRateSchedule


def _motion(time0, time1, moving) -> tuple[Fraction, Fraction]:
    """When the motion starts, and how long it lasts."""
    interval = time1 - time0
    return (time0, interval) if moving is None or moving >= interval else (time1 - moving, moving)


def _position(time, start, moving, slack) -> Fraction:
    """t of an output; 0 until the motion starts."""
    return Fraction(0) if time - start < slack else (time - start) / moving
