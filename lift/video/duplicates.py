"""Frames that repeat the one before, found by content and removed, so that motion is even.

Animation is drawn on twos and threes, film is stretched to 30 or 60 frames/s, captures repeat what
they missed. Between two equal frames there is nothing to interpolate, and the judder of the source
would stay. Without the repeats, frames are generated over the whole time until the next picture.

Compression leaves small differences between equal frames. They are compared reduced to 256 pixels,
by the largest mean difference of a block, so that a small moving object counts as motion. A frame
repeats the one before where that difference is tiny, or small compared with the motion both before
and after it, spread over the picture as noise is, and none that a pan or a zoom of the whole
picture would make: behind a figure drawn on twos a camera may move in every frame.

Pictures that stand still for longer than a cadence or a hold allows (see `holds`), and the first
and the last frame of each shot, stay as they are. Everything is decided from the
`cadence.LOOK_BACK` frames before a frame and `LOOK_AHEAD` after it.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, NamedTuple, TypeVar

import cv2
import numpy as np

from lift.video.cadence import LONGEST, LOOK_BACK, true_position
from lift.video.holds import AT_LEAST, LONGER, usual_interval

WIDTH = 256  # pixels of the longer side; larger frames are reduced to it
BLOCK = 8  # pixels of a reduced frame
TINY, TRACE = 1.5, 0.02  # difference of a block that is none: of 255, and of the motion around it
SMALL, SHARE = 8.0, 0.25  # a duplicate's largest difference: of 255, and of the motion around it
CAMERA = 0.4  # share of a difference explained by a motion of the whole picture, that shows one
LOCAL = 6.0  # largest ratio of the largest difference to the 99th percentile: noise is everywhere
NEIGHBOURS = 5  # frames on each side whose motion counts
MOST_INTERVALS = 6  # source intervals for which one picture of a cadence is shown
LOOK_AHEAD = 16  # frames
REGULAR = 2  # ratio of neighbouring intervals up to which the source's rate counts as constant

Frame = TypeVar("Frame")


class Distinct(NamedTuple, Generic[Frame]):
    """A frame that does not repeat the one before.

    Attributes:
        frame: as it came.
        time: seconds; its true time where the source shows it by a regular pattern.
        shot: index of its shot.
        source_times: the times of the source's frames, removed ones too, from the last one at or
            before the `time` of the previous distinct frame to the first one at or after this
            `time`: what the schedule needs for the pair that this frame ends. Empty for the first.
    """

    frame: Frame
    time: Fraction
    shot: int
    source_times: tuple[Fraction, ...]


class DistinctFrames(Generic[Frame]):
    """Iterates over the distinct frames of a sequence, `LOOK_AHEAD` frames behind it.

    Args:
        numbered: ((frame, time in seconds), index of the shot), as `scenes.number_shots` yields.
        rgb: the (H, W, 3) RGB frame, uint8, uint16 over 0..65535 or float over 0..1, of a frame.
        max_gap: see `holds.find_holds`: pictures that stand still for longer stay as they are.
        slow: factor by which the times are stretched, see `timeline.slow`.

    Attributes:
        removed: number of frames removed so far.
    """

    def __init__(
        self,
        numbered: Iterable[tuple[tuple[Frame, Fraction], int]],
        rgb: Callable[[Frame], np.ndarray],
        *,
        max_gap: Fraction | None = None,
        slow: Fraction = Fraction(1),
    ):
        self._numbered, self._rgb = numbered, rgb
        self._max_gap, self._slow = max_gap, slow
        self.removed = 0

    def __iter__(self) -> Iterator[Distinct[Frame]]:
        shot = _Shot(0, None)
        previous = None
        for (frame, time), number in self._numbered:
            if number != shot.number:
                yield from self._timed(shot.close(self._limit), shot)
                shot, previous = _Shot(number, shot.clock), None
            reduced = _reduced(self._rgb(frame))
            change = Change(0, 0, 0) if previous is None else measure_change(previous, reduced)
            previous = reduced
            yield from self._timed(shot.add(_Entry(frame, time, change), self._limit), shot)
        yield from self._timed(shot.close(self._limit), shot)

    def _timed(self, entries, shot):
        for entry, time, source_times in entries:
            yield Distinct(entry, time, shot.number, source_times)
        self.removed += shot.take_removed()

    def _limit(self, times: list[Fraction]) -> Fraction:
        """Seconds for which a picture may be shown that is not a hold."""
        if self._max_gap is not None:
            return self._max_gap * self._slow
        usual = usual_interval(times) or Fraction(0)
        return max(LONGER * usual, AT_LEAST * self._slow)


# -- comparing two frames --------------------------------------------------------------------------


class Change(NamedTuple):
    """How a frame differs from the one before; luma, of 255.

    Attributes:
        largest: the largest mean difference of a block.
        high: the 99th percentile of the blocks.
        mean: that of the whole picture.
        camera: share of its squares, 0 to 1, that a small pan and zoom explain.
    """

    largest: float
    high: float
    mean: float
    camera: float = 0.0


def measure_change(before: np.ndarray, after: np.ndarray) -> Change:
    """The difference of two reduced frames, each (h, w) float32 luma over 0..255."""
    difference = cv2.absdiff(before, after)
    blocks = cv2.blur(difference, (BLOCK, BLOCK))
    flat = blocks.ravel()
    high = float(np.partition(flat, int(0.99 * (flat.size - 1)))[int(0.99 * (flat.size - 1))])
    largest = float(flat.max())
    camera = _explained_by_camera(before, after) if TINY < largest <= SMALL else 0.0
    return Change(largest, high, float(difference.mean()), camera)


def _explained_by_camera(before: np.ndarray, after: np.ndarray) -> float:
    """Share of the squared difference that a pan and a zoom by less than a pixel or two explain.

    By the first order of the brightness constancy: the difference is the gradient times the motion.
    """
    before, after = (cv2.GaussianBlur(luma, (0, 0), 1.5) for luma in (before, after))  # noise
    mean = (before + after) / 2
    h, w = mean.shape
    if min(h, w) < 3:
        return 0.0
    dx, dy = cv2.Sobel(mean, cv2.CV_32F, 1, 0), cv2.Sobel(mean, cv2.CV_32F, 0, 1)
    x = np.linspace(-1, 1, w, dtype=np.float32)
    y = np.linspace(-1, 1, h, dtype=np.float32)[:, None] * np.float32(h / w)
    basis = np.stack([dx, dy, dx * x + dy * y]).reshape(3, -1)
    difference = (after - before).ravel()
    total = float(difference @ difference)
    products = basis @ difference
    motion, *_ = np.linalg.lstsq(basis @ basis.T, products, rcond=None)
    return float(motion @ products) / total if total else 0.0


def repeats(changes: list[Change], at: int) -> bool:
    """Whether a frame repeats the one before.

    Args:
        changes: of consecutive frames of one shot, without its first one.
        at: index of the frame; `NEIGHBOURS` changes on each side count.
    """
    own = changes[at]
    if own.largest <= TINY:
        return True
    if own.camera > CAMERA:
        return False
    sides = changes[max(0, at - NEIGHBOURS) : at], changes[at + 1 : at + 1 + NEIGHBOURS]
    # a side that the shot cuts short may lie within a display of the same picture
    whole = [side for side in sides if len(side) == NEIGHBOURS] or [sides[0] + sides[1]]
    motion = min(max((c.largest for c in side), default=0.0) for side in whole)
    spread = max(LOCAL * own.high, TINY + TRACE * motion)
    return own.largest <= min(SMALL, SHARE * motion, spread)


def _reduced(rgb: np.ndarray) -> np.ndarray:
    h, w = rgb.shape[:2]
    scale = min(1.0, WIDTH / max(h, w))
    size = max(1, round(w * scale)), max(1, round(h * scale))
    rgb = rgb if rgb.dtype in (np.uint8, np.uint16) else rgb.astype(np.float32)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    if small.dtype == np.uint8:
        levels = small.astype(np.float32)
    elif small.dtype == np.uint16:
        levels = small.astype(np.float32) / 257
    else:  # scene-linear
        levels = 255 * np.nan_to_num(small).clip(0, 1) ** np.float32(1 / 2.2)
    return cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY)


# -- the frames of one shot ------------------------------------------------------------------------


@dataclass
class _Entry:
    frame: object
    time: Fraction
    change: Change  # to the frame before
    kept: bool | None = None  # None until decided


class _Shot:
    """A window of the frames of one shot, which decides which of them stay and at which times.

    Args:
        number: index of the shot.
        clock: time of the frame yielded last, in the shot before; None where there is none.
    """

    def __init__(self, number: int, clock: Fraction | None):
        self.number, self.clock = number, clock
        self._entries: list[_Entry] = []
        self._dropped = 0  # entries before those of the list
        self._marked = 0  # the next one to compare with its neighbours
        self._run = 0  # the latest one that is known to be distinct
        self._next = 0  # the next one to yield
        self._still = False  # whether that picture stands still for longer than a cadence allows
        self._shown: Fraction | None = None  # time of the latest frame that was yielded
        self._removed = 0

    def add(self, entry: _Entry, limit):
        """Receive a frame; yields (frame, time, source_times) of those that are decided by it."""
        self._entries.append(entry)
        count = self._dropped + len(self._entries)
        if count - self._marked > NEIGHBOURS:
            self._mark(limit)
        if count - self._next > LOOK_AHEAD:
            yield from self._advance(False)

    def close(self, limit):
        """The last frames, once there are no more in this shot."""
        count = self._dropped + len(self._entries)
        while self._marked < count:
            self._mark(limit, last=self._marked == count - 1)
        while self._next < count:
            yield from self._advance(self._next == count - 1)

    def take_removed(self) -> int:
        """Number of frames removed since the last call."""
        removed, self._removed = self._removed, 0
        return removed

    def _at(self, k: int) -> _Entry:
        return self._entries[k - self._dropped]

    def _mark(self, limit, last: bool = False) -> None:
        """Decide whether the next frame is distinct, and on those since the last one that is."""
        k, self._marked = self._marked, self._marked + 1
        first = max(1, k - NEIGHBOURS, self._dropped)
        near = self._entries[first - self._dropped : k + 1 + NEIGHBOURS - self._dropped]
        is_distinct = k == 0 or last or not repeats([e.change for e in near], k - first)
        run = range(self._run + 1, k)
        shown = self._at(k).time - self._at(self._run).time
        if not self._still:
            self._still = k - self._run > MOST_INTERVALS or shown > limit([e.time for e in near])
        if self._still or is_distinct:
            for each in run:
                self._at(each).kept = self._still
                if not self._still:
                    self._at(each).frame = None  # memory
                    self._removed += 1
            self._at(k).kept = True
            self._run, self._still = k, self._still and not is_distinct

    def _advance(self, is_last: bool):
        k, self._next = self._next, self._next + 1
        surplus = max(0, k - LOOK_BACK - self._dropped)
        del self._entries[:surplus]
        self._dropped += surplus
        entry = self._at(k)
        if not entry.kept:
            return
        time = entry.time if k == 0 or is_last else self._true_time(k)
        if self._shown is None:
            source_times = () if self.clock is None else (self.clock, time)
        else:
            source_times = tuple(self._source_times(self._shown, time))
        yield entry.frame, time, source_times
        entry.frame = None
        self._shown = self.clock = time

    def _true_time(self, k: int) -> Fraction:
        entries = [entry for entry in self._entries if entry.kept is not None]
        at = k - self._dropped
        near = [e.time for e in entries[max(0, at - LONGEST) : at + LONGEST]]
        gaps = [b - a for a, b in zip(near, near[1:], strict=False)]
        if max(gaps) > REGULAR * min(gaps):
            return entries[at].time
        position = true_position([e.kept for e in entries], [e.change.mean for e in entries], at)
        left = math.floor(position)
        if position == left:
            return entries[left].time
        a, b = entries[left].time, entries[left + 1].time
        time = a + (b - a) * (position - left)
        return entries[at].time if time <= self._shown else time

    def _source_times(self, after: Fraction, until: Fraction) -> list[Fraction]:
        """Those from the last one at or before `after` to the first one at or after `until`."""
        times = [entry.time for entry in self._entries]
        return times[bisect_right(times, after) - 1 : bisect_left(times, until) + 1]
