"""Frame rates as users type them, and the clock of an output."""

import math
import re
from fractions import Fraction

from lift.errors import LiftError

# the names that FFmpeg accepts
NAMES = {
    "ntsc": Fraction(30000, 1001),
    "pal": Fraction(25),
    "qntsc": Fraction(30000, 1001),
    "qpal": Fraction(25),
    "sntsc": Fraction(30000, 1001),
    "spal": Fraction(25),
    "film": Fraction(24),
    "ntsc-film": Fraction(24000, 1001),
}
HIGHEST_RATE = 1000
SIMPLE = 12  # largest denominator of the ratio of two rates of which one is meant from the other
FINEST_TICK = 2**31 - 1  # containers store the clock's denominator in 32 bits
FINE_TICK = 2_000_000  # a denominator up to which a clock has both the source's ticks and the rate
COARSE_TICK = 10_000  # a denominator from which the time when the last frame ends is exact enough


def parse_rate(text: str) -> Fraction:
    """Frames per second from a number, a ratio or one of FFmpeg's names.

    Args:
        text: such as "60", "59.94", "60000/1001", "ntsc", "pal" or "film".

    Raises:
        LiftError: no rate above 0 and up to 1000.
    """
    name = text.strip().lower()
    rate = NAMES.get(name)
    if rate is None and re.fullmatch(r"\d*\.?\d+|\d+\.|\d+[/:]\d+", name):
        numerator, _, denominator = name.replace(":", "/").partition("/")
        if not denominator or int(denominator):
            rate = Fraction(numerator) / Fraction(denominator or 1)
    if rate is None or not 0 < rate <= HIGHEST_RATE:
        raise LiftError(
            f"{text!r} is not a frame rate up to {HIGHEST_RATE}; give frames per second such as "
            "60, 59.94 or 60000/1001, or one of ntsc, pal, film and ntsc-film"
        )
    return rate


def snap_rate(rate: Fraction, source_fps: Fraction | None = None) -> tuple[Fraction, str | None]:
    """The exact rate that a rounded one such as 59.94 or 23.976 means.

    Rates of television are multiples of 1000/1001. A decimal with two digits or more after the
    point that rounds such a rate means that rate. Whole numbers stay as they are, and so does a
    rate that is a simple multiple of a source whose rate is the decimal itself.

    Args:
        rate: frames per second as typed.
        source_fps: frames per second of the source; None for a source that states none.

    Returns:
        (frames per second, a sentence where the rate was changed, else None).
    """
    rate = Fraction(rate)
    if source_fps and (rate / Fraction(source_fps)).denominator <= SIMPLE:
        return rate, None
    digits = _decimals(rate)
    if digits is None or digits < 2:
        return rate, None
    whole = round(rate * 1001 / 1000)
    exact = Fraction(whole * 1000, 1001)
    if (whole % 12 and whole % 15) or abs(exact - rate) > Fraction(1, 2 * 10**digits):
        return rate, None
    return exact, f"{float(rate):.10g} frames/s is taken as {exact}, the exact rate of television"


def common_tick(source_tick: Fraction, multi: int = 1, fps: Fraction | None = None) -> Fraction:
    """The tick of an output's clock, one part of a second, of which its timestamps are multiples.

    Args:
        source_tick: seconds; times of the source are multiples of it.
        multi: interpolation factor; its timestamps divide the intervals of the source.
        fps: frames per second instead of `multi`; its timestamps are multiples of 1 / fps.

    Returns:
        Seconds, 1 / n, n below 2^31. It divides the source's tick as well where n stays small, so
        that the end of the last frame is exact; else the clock is that of the rate. Where nothing
        exact fits into 32 bits it is a microsecond.
    """
    if fps is None:
        tick = Fraction(1, (Fraction(source_tick) / multi).denominator)
    else:
        step = 1 / Fraction(fps)
        tick = Fraction(1, math.lcm(Fraction(source_tick).denominator, step.denominator))
        if tick.denominator > FINE_TICK:
            # every timestamp is a multiple of the step
            n = step.denominator
            tick = Fraction(1, n * 2 ** max(0, math.ceil(math.log2(COARSE_TICK / n))))
    return tick if tick.denominator <= FINEST_TICK else Fraction(1, 1_000_000)


def _decimals(rate: Fraction) -> int | None:
    """Digits after the point that write a rate exactly; None where no number of them does."""
    digits = 0
    while digits <= 9:
        if 10**digits % rate.denominator == 0:
            return digits
        digits += 1
    return None
