"""Output timestamps: which originals and which generated frames an output has."""

from dataclasses import dataclass, field
from fractions import Fraction

# an output timestamp this near to an original's, as a fraction of the interval, is that of the
# original: containers round times
SNAP = Fraction(1, 25)

# t in [0, 1) between two frames (0 is the left frame itself), and the time in seconds
OutputTime = tuple[Fraction, Fraction]


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

    def between(self, time0, time1) -> list[OutputTime]:
        """The output timestamps in [time0, time1)."""
        steps = [Fraction(k, self.multi) for k in range(self.multi)]
        return [(t, time0 + (time1 - time0) * t) for t in steps]

    def last(self, time) -> list[OutputTime]:
        """The output timestamps at the last frame."""
        return [(Fraction(0), time)]


@dataclass
class FixedRateSchedule:
    """The timestamps start + k / fps up to the last frame.

    `between` must be called in order, once for each pair of consecutive frames.

    Attributes:
        fps: frames per second, positive.
    """

    fps: Fraction
    _start: Fraction | None = field(default=None, init=False)
    _next: int = field(default=0, init=False)
    # how far the last frame's time may be before its output timestamp
    _slack: Fraction = field(default=Fraction(0), init=False)

    def __post_init__(self):
        if self.fps <= 0:
            raise ValueError(f"fps must be positive, got {self.fps}")

    def between(self, time0, time1) -> list[OutputTime]:
        """The output timestamps in [time0, time1)."""
        if self._start is None:
            self._start = time0
        self._slack = (time1 - time0) * SNAP
        outputs = []
        while True:
            time = self._start + self._next / self.fps
            t = (time - time0) / (time1 - time0)
            if t > 1 - SNAP:  # the left frame of the next pair
                return outputs
            outputs.append((Fraction(0) if t < SNAP else t, time))
            self._next += 1

    def last(self, time) -> list[OutputTime]:
        """The output timestamps at the last frame."""
        if self._start is None:
            self._start = time
        outputs = []
        while (output := self._start + self._next / self.fps) <= time + self._slack:
            outputs.append((Fraction(0), output))
            self._next += 1
        return outputs
