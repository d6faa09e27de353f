"""Where a time of the source is in the output: cut out of it, and slower or faster."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Timing:
    """Maps seconds of the source to seconds of the output.

    Attributes:
        start, end: the part of the source that is kept, from the first frame that is kept on;
            `end` None for all the rest.
        factor: seconds of output for one second of the source; 2 is half the speed.
    """

    start: Fraction = Fraction(0)
    end: Fraction | None = None
    factor: Fraction = Fraction(1)

    def __call__(self, time: Fraction) -> Fraction:
        return (time - self.start) * self.factor

    @property
    def is_cut(self) -> bool:
        """Whether anything of the source is left out."""
        return self.start > 0 or self.end is not None

    def holds(self, time: Fraction) -> bool:
        """Whether an instant of the source is kept; all before 0 is where nothing is cut."""
        if not self.is_cut:
            return True
        return self.start <= time and (self.end is None or time < self.end)

    def clip(self, start: Fraction, end: Fraction) -> tuple[Fraction, Fraction] | None:
        """What is kept of an interval, in seconds of the output; None where nothing is."""
        start = max(start, self.start)
        end = end if self.end is None else min(end, self.end)
        return (self(start), self(end)) if start < end else None

    def without_factor(self) -> "Timing":
        """The same cut at the speed of the source."""
        return Timing(self.start, self.end)


WHOLE = Timing()  # all of the source, at its own speed
