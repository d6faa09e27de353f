"""When the frames of a video are displayed, and until when."""

import statistics
from collections import deque
from fractions import Fraction

from lift.io.decoder import seconds, stated_end

RECENT = 64  # intervals from which the usual one is taken
# containers that state how long each frame is displayed; others let FFmpeg guess
WITH_DURATIONS = ("mov", "matroska", "gif", "apng", "webp", "avif")
TOO_SHORT = Fraction(1, 2)  # of the usual interval: a stated duration that is not meant
LONGEST_LAST = 16  # intervals that a last frame is displayed where the rate is constant
CROWDED = 8  # such a part of an interval after the one before is a frame whose time does not rise
CROWD = 4  # of them in a row; more have no usable times
UNEVEN = Fraction(3, 2)  # a rate of most frames this many times higher than the mean is theirs
LYING = 2  # a rate this many times higher than the frames' own is wrong


class Timeline:
    """The times of frames in the order in which they are displayed.

    Args:
        stream: av.VideoStream.
        fps: mean rate, for frames without a usable time.

    Attributes:
        last: seconds at which the latest frame starts to be displayed; None before the first one.
        end: seconds at which it stops.
    """

    def __init__(self, stream, fps: Fraction):
        self._stream, self._fps = stream, fps
        name = stream.container.format.name
        self._stated = any(kind in name for kind in WITH_DURATIONS)
        self._intervals = deque(maxlen=RECENT)
        self._shift = None
        self._crowd = 0  # latest frames in a row whose times do not rise
        self.last: Fraction | None = None
        self.end = Fraction(0)

    def add(self, frame) -> Fraction:
        """Seconds at which the next frame (av.VideoFrame) is displayed; they rise."""
        time = seconds(frame, self._stream)
        if self.last is None:
            time = Fraction(0) if time is None else time
            self._shift = self._start() - time
        elif time is None or time <= self.last:
            self._crowd += 1
            # no usable time: go on at the mean rate; a single one must not delay those after it
            alone = time is not None and self._crowd <= CROWD
            time = self.last + 1 / self._fps / (CROWDED if alone else 1)
        else:
            self._crowd = 0
        if self.last is not None:
            self._intervals.append(time - self.last)
        self.last = time
        self.end = time + self._duration(frame)
        return time

    def finish(self, duration: Fraction = Fraction(0)) -> Fraction:
        """Seconds at which the last frame of a whole file stops being displayed.

        Args:
            duration: seconds that the last packet of the file states. In MP4 they are how long the
                last frame is displayed, also where frames are reordered.
        """
        if self.last is not None and "mov" in self._stream.container.format.name:
            self.end = max(self.end, self.last + duration)
        stated = stated_end(self._stream)
        if stated is None or self.last is None:
            return self.end
        stated -= max(self._shift, Fraction(0))
        whole = self._stream.container.duration
        if whole is not None and stated > Fraction(whole, 10**6) + 1:
            return self.end  # left from a longer file
        if stated >= self.last + self.usual / 2:
            self.end = stated
        return self.end

    @property
    def usual(self) -> Fraction:
        """The median of the latest intervals; at the mean rate where there is none."""
        return statistics.median_low(self._intervals) if self._intervals else 1 / self._fps

    def _duration(self, frame) -> Fraction:
        usual = self.usual
        stated = frame.duration * Fraction(frame.time_base or self._stream.time_base)
        if self._stated or not self._intervals:
            return stated if stated >= TOO_SHORT * usual else usual
        return usual

    def _start(self) -> Fraction:
        """Where the clock of the file starts, in seconds; its packets may have been shifted."""
        start = self._stream.start_time
        return Fraction(0) if start is None else start * Fraction(self._stream.time_base)


def mean_rate(stream, missing: Fraction) -> Fraction:
    """Frames per second that the file states; `missing` where it states none.

    A constant rate is that of the intervals, however long the last frame is displayed.
    """
    rate = Fraction(stream.average_rate or stream.guessed_rate or stream.base_rate or missing)
    if stream.frames < 2 or not stream.duration or not stream.base_rate:
        return rate
    interval = 1 / Fraction(stream.base_rate)
    last = stream.duration * Fraction(stream.time_base) - (stream.frames - 1) * interval
    return 1 / interval if interval / 2 < last <= LONGEST_LAST * interval else rate


def usual_rate(rate: Fraction, times: list[Fraction]) -> Fraction:
    """A stated rate, or that of the frames displayed at `times` where it is that of the clock."""
    intervals = [b - a for a, b in zip(times, times[1:], strict=False) if b > a]
    usual = statistics.median_low(intervals) if intervals else Fraction(0)
    return 1 / usual if rate * usual >= LYING else rate


def usual_rate_of_times(rate: Fraction, times: list[Fraction]) -> Fraction:
    """The mean rate, or where holds make it low, that of the frames between them.

    Args:
        rate: mean frames per second.
        times: seconds at which some frames in a row are displayed, in any order.
    """
    times = sorted(set(times))
    intervals = [b - a for a, b in zip(times, times[1:], strict=False)]
    usual = statistics.median_low(intervals) if intervals else 1 / rate
    return 1 / usual if usual * rate * UNEVEN <= 1 else rate
