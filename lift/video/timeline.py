"""What happens to the times of a source before it is interpolated: a part, slower, as a loop.

Each function takes and returns an iterator over (frame, time in seconds), lazily and in constant
memory, and has a twin for the time at which the last frame stops being displayed.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from lift.errors import LiftError
from lift.io.timecode import dropped, frame_number
from lift.video.schedule import FixedRateSchedule, MultiplierSchedule, OutputTime, Schedule

Frame = TypeVar("Frame")
# returns the time at which the last frame stops being displayed; None where that is unknown. It is
# called when the frames have been read
End = Callable[[], Fraction | None]

SLIVER = Fraction(1, 1000)  # seconds; times are typed and stored rounded to it
FORMS = "seconds (90.5), hh:mm:ss.fff or a timecode (hh:mm:ss:ff)"


# -- a part: --trim START:END ----------------------------------------------------------------------


def parse_time(text: str, fps: Fraction | None = None) -> Fraction:
    """Seconds from "90.5", "1:30.5", "0:01:30.5" or the timecode "00:01:30:12".

    Args:
        text: a time since the first frame.
        fps: frames per second, for the frame number of a timecode. A timecode with ";" before the
            frame number is drop-frame, which exists at multiples of 30000/1001.

    Raises:
        LiftError: no time, or a timecode without fps.
    """
    text = text.strip()
    if match := re.fullmatch(r"(\d+):(\d+):(\d+)([:;])(\d+)", text):
        hours, minutes, seconds, frame = (int(match[g]) for g in (1, 2, 3, 5))
        return _timecode(text, hours, minutes, seconds, frame, match[4] == ";", fps)
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d*)?|[.,]\d+)", text)
    if match:
        hours, minutes = int(match[1] or 0), int(match[2] or 0)
        seconds = Fraction("0" + match[3].replace(",", ".").rstrip("."))
        if (match[2] is None or seconds < 60) and (match[1] is None or minutes < 60):
            return (hours * 60 + minutes) * 60 + seconds
    raise LiftError(f"{text!r} is not a time; give {FORMS}")


def _timecode(text, hours, minutes, seconds, frame, drops, fps) -> Fraction:
    if not fps:
        raise LiftError(f"timecode {text!r} needs a frame rate; give {FORMS.split(' or ')[0]}")
    nominal = round(fps)  # frames that a timecode counts in a second
    if drops and (nominal % 30 or Fraction(fps).denominator == 1):
        raise LiftError(
            f"timecode {text!r} is drop-frame, which {float(fps):.5g} frames/s does not have; "
            'write ":" before the frame number'
        )
    skipped = drops and minutes % 10 and seconds == 0 and frame < dropped(nominal)
    if minutes >= 60 or seconds >= 60 or frame >= nominal or skipped:
        raise LiftError(f"{text!r} is not a timecode at {float(fps):.5g} frames/s")
    return frame_number(60 * hours + minutes, seconds, frame, nominal, drops) / Fraction(fps)


def parse_trim(text: str, fps: Fraction | None = None) -> tuple[Fraction, Fraction | None]:
    """The two times of "START:END".

    Either may be empty. Where times themselves have colons, both are written alike ("0:10:0:20" is
    from 10 to 20 seconds), or "-" stands between them ("5-0:20").

    Args:
        text: the two times, each as for `parse_time`.
        fps: frames per second, for timecodes.

    Returns:
        (start, end) in seconds; end is None for that of the source.

    Raises:
        LiftError: no two times, or the start is not before the end.
    """
    first, last = _two_times(text.strip())
    start = parse_time(first, fps) if first else Fraction(0)
    end = parse_time(last, fps) if last else None
    if end is not None and end <= start:
        raise LiftError(f"nothing lies in {text!r}; its end must be later than its start")
    return start, end


def _two_times(text: str) -> tuple[str, str]:
    first, _, last = (part.strip() for part in text.partition("-"))
    if first and last:
        return first, last
    fields = re.split(r"([:;])", text)
    values, marks = fields[::2], fields[1::2]
    if len(values) > 1 and any(values):
        if not values[0]:
            return "", text[1:]
        if not values[-1]:
            return text[:-1], ""
        half = len(values) // 2
        if len(values) % 2 == 0 and marks[half - 1] == ":":
            return tuple(
                "".join(fields[a:b]) for a, b in ((0, 2 * half - 1), (2 * half, len(fields)))
            )
    raise LiftError(
        f"{text!r} is not START:END; write both times alike, each {FORMS}, or put - between them; "
        "with a colon either may be empty"
    )


def trim(
    timed: Iterable[tuple[Frame, Fraction]],
    start: Fraction = Fraction(0),
    end: Fraction | None = None,
    source_end: End | None = None,
) -> Iterator[tuple[Frame, Fraction]]:
    """The frames that are displayed between two times; the first one is then at 0.

    A frame already displayed at `start` is the first one, unless less than a millisecond of it
    would be left: times are rounded. Reading stops at `end`.

    Args:
        timed: (frame, time).
        start, end: seconds; the end of the source where `end` is None.
        source_end: when the last frame of the source stops being displayed; where None, it is
            displayed as long as the one before it.

    Raises:
        LiftError: no frame is displayed between the two.
    """
    pending = stop = None  # the latest frame that is displayed from before `start`, and its time
    interval = SLIVER
    found = ended = False
    for frame, time in timed:
        ended = end is not None and time >= end - SLIVER
        if ended:
            break
        whole = pending is not None and pending[1] >= start  # two frames within a millisecond
        if time <= start + SLIVER and not whole:
            interval = interval if pending is None else time - pending[1]
            pending = frame, time
            continue
        if pending is not None:
            yield pending[0], Fraction(0)
            pending, found = None, True
        yield frame, time - start if found else Fraction(0)
        found = True
    if pending is not None:
        frame, time = pending
        stop = source_end() if source_end and not ended else None
        stop = time + interval if stop is None else stop
        if ended or stop > start + SLIVER:
            yield frame, Fraction(0)
            found = True
    if not found:
        ends = "" if stop is None else f"; the source ends at {float(stop):.3f} s"
        raise LiftError(f"no frame is displayed after {float(start):.3f} s{ends}; trim less of it")


def trimmed_end(
    source_end: Fraction | None, start: Fraction = Fraction(0), end: Fraction | None = None
) -> Fraction | None:
    """When the last frame after `trim` stops being displayed; None where that is unknown.

    Args:
        source_end: the same of the source.
        start, end: as for `trim`.
    """
    if source_end is None or end is not None and end < source_end:
        source_end = end
    return None if source_end is None else source_end - start


# -- slower: --slow N ------------------------------------------------------------------------------


def slow(
    timed: Iterable[tuple[Frame, Fraction]], factor: Fraction
) -> Iterator[tuple[Frame, Fraction]]:
    """The frames at times `factor` times as far apart; the first one keeps its time if it is 0.

    The time at which the last one stops being displayed and the ticks of the source's clock grow
    by the same factor.
    """
    return ((frame, time * factor) for frame, time in timed)


def slow_schedule(
    factor: Fraction, source_fps: Fraction, fps: Fraction | None = None
) -> tuple[Schedule, Fraction]:
    """The schedule for slowed frames, and frames per second of the output.

    By default the output has the source's rate: a whole factor N gives N times as many frames, each
    original among them; a factor such as 2.5 gives the times k / source_fps, at which every fifth
    frame of the output is an original.

    Args:
        factor: how many times slower the output plays, above 1.
        source_fps: frames per second of the source before it is slowed.
        fps: frames per second of the output instead.

    Raises:
        LiftError: factor is not above 1.
    """
    factor, source_fps = Fraction(factor), Fraction(source_fps)
    if factor <= 1:
        raise LiftError(f"--slow must be above 1, got {float(factor):g}")
    if fps is None and factor.denominator == 1:
        return MultiplierSchedule(int(factor)), source_fps
    rate = source_fps if fps is None else Fraction(fps)
    return FixedRateSchedule(rate, interval=factor / source_fps), rate


# -- a loop: --loop --------------------------------------------------------------------------------


def loop(
    timed: Iterable[tuple[Frame, Fraction]], source_end: End | None = None
) -> Iterator[tuple[Frame, Fraction]]:
    """The frames, and the first one once more at the time at which the last one ends.

    With `LoopSchedule` the outputs lead from the last frame back to the first one, and the repeated
    frame itself is not displayed. The time at which the output ends stays.

    Args:
        timed: (frame, time).
        source_end: when the last frame stops being displayed; where None or not after the last
            frame, it is displayed as long as the one before it, or a second if it is the only one.
    """
    first = last = None
    interval = Fraction(1)
    for frame, time in timed:
        if last is None:
            first = frame
        else:
            interval = time - last
        last = time
        yield frame, time
    if last is not None:
        end = source_end() if source_end else None
        yield first, last + interval if end is None or end <= last else end


@dataclass(frozen=True)
class LoopSchedule:
    """A schedule without the last frame, which `loop` appends.

    Attributes:
        schedule: that of the frames.
    """

    schedule: Schedule

    def between(self, time0, time1, moving=None, source_times=None) -> list[OutputTime]:
        """The outputs from the left frame up to, but without, the right one."""
        return self.schedule.between(time0, time1, moving, source_times)

    def last(self, time: Fraction) -> list[OutputTime]:
        """Nothing: the last frame is the first one once more."""
        return []
