"""Which moments the output shows: originals and what is made between them."""

from dataclasses import dataclass, field
from fractions import Fraction

SNAP = Fraction(
    1, 25
)  # a moment this near an original (share of the gap) is it: containers round times

Moment = tuple[
    Fraction, Fraction
]  # t in [0, 1) between two frames (0: the left one itself), time in seconds


@dataclass(frozen=True)
class Multiple:
    """Every original, and `multi - 1` made frames evenly between each two: n frames become (n - 1)
    * multi + 1.
    """

    multi: int

    def __post_init__(self):
        if self.multi < 2:
            raise ValueError(f"multi must be at least 2, got {self.multi}")

    def between(self, time0, time1) -> list[Moment]:
        """The moments in [time0, time1)."""
        steps = [Fraction(k, self.multi) for k in range(self.multi)]
        return [(t, time0 + (time1 - time0) * t) for t in steps]

    def last(self, time) -> list[Moment]:
        """The moments at the last frame."""
        return [(Fraction(0), time)]


@dataclass
class Rate:
    """The moments start + k / fps, up to the last frame; `between` must be asked in order, once for
    each pair.
    """

    fps: Fraction
    _start: Fraction | None = field(default=None, init=False)
    _next: int = field(default=0, init=False)
    _slack: Fraction = field(
        default=Fraction(0), init=False
    )  # how far the last frame's stated time may lie before its moment

    def __post_init__(self):
        if self.fps <= 0:
            raise ValueError(f"fps must be positive, got {self.fps}")

    def between(self, time0, time1) -> list[Moment]:
        if self._start is None:
            self._start = time0
        self._slack = (time1 - time0) * SNAP
        moments = []
        while True:
            time = self._start + self._next / self.fps
            t = (time - time0) / (time1 - time0)
            if t > 1 - SNAP:  # the next pair's left frame
                return moments
            moments.append((Fraction(0) if t < SNAP else t, time))
            self._next += 1

    def last(self, time) -> list[Moment]:
        if self._start is None:
            self._start = time
        moments = []
        while (moment := self._start + self._next / self.fps) <= time + self._slack:
            moments.append((Fraction(0), moment))
            self._next += 1
        return moments
