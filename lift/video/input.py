"""The frames that a job interpolates: those of a source after --trim, --loop and --slow."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from lift.errors import LiftError
from lift.io.animated_images import AnimatedWebP, is_animated_webp, play_count
from lift.io.color import FrameLayout
from lift.io.decode import VideoSource, open_frames
from lift.io.decoded_frame import DecodedFrame
from lift.io.frame_folder import FrameFolder
from lift.io.stdin import STDIN
from lift.io.timeline import usual_rate_of_times
from lift.io.timing import Timing
from lift.video.options import FileOptions
from lift.video.rates import common_tick, snap_rate
from lift.video.schedule import FixedRateSchedule, MultiplierSchedule, Schedule
from lift.video.timeline import (
    LoopSchedule,
    loop,
    parse_trim,
    slow,
    slow_schedule,
    trim,
    trimmed_end,
)


class Input:
    """A source, and how its frames are timed.

    Args:
        path: a video, a folder of frames, or the images of one sequence.
        options: what is asked for.

    Attributes:
        source: VideoSource, FrameFolder or AnimatedWebP.
        width, height: pixels.
        layout: depth, chroma and coding of the frames.
        dtype: of the pixels of generated frames.
        schedule: of the outputs.
        rate: frames per second of the output.
        tick: seconds of one tick of the output's clock.
        notes: sentences on what was asked for, known before the first frame.
        first_number, last_number: numbers in the source of the first frame of the latest `frames`
            and of the last one so far.

    Raises:
        LiftError: the source cannot be read, or the options do not fit it.
    """

    def __init__(self, path: Path | tuple[Path, ...], options: FileOptions):
        self.options = options
        self.notes: list[str] = []
        self.first_number = self.last_number = None
        self.source = self._open(path)
        self.width, self.height = self.source.width, self.source.height
        self.layout = layout_of(self.source)
        self.dtype = dtype_of(self.source, self.layout)
        fps = self.source.fps
        self.start, self.stop = Fraction(0), None
        if options.trim:
            self.start, self.stop = parse_trim(options.trim, fps)
        self.slow = options.slow or Fraction(1)
        self.schedule, self.rate = self._schedule(fps)
        tick = getattr(self.source, "time_base", 1 / fps)
        self.tick = common_tick(
            tick * self.slow / self.slow.numerator,
            options.factor * self.slow.denominator,
            None if isinstance(self.schedule, MultiplierSchedule) else self.rate,
        )

    def _open(self, path: Path | tuple[Path, ...]):
        options = self.options
        fps = options.source_fps
        if fps is not None:
            fps, note = snap_rate(fps)
            self.notes += [note] if note else []
        if isinstance(path, tuple):
            return FrameFolder.of_files(path, fps)
        if path.is_dir():
            return FrameFolder(path, fps, gaps=options.gaps)
        if options.gaps != "error":
            self.notes.append("--gaps has no effect on a video")
        if fps is not None:
            raise LiftError(
                f"{path}: --source_fps is for folders of frames, which state no rate; "
                "a video has its own"
            )
        if path != STDIN and is_animated_webp(path):
            return AnimatedWebP(path)
        return open_frames(path, strict=options.strict, deinterlace=options.deinterlace)

    def _schedule(self, fps: Fraction) -> tuple[Schedule, Fraction]:
        wanted, options = self.options.fps, self.options
        if wanted is not None:
            wanted, note = snap_rate(wanted, fps)
            self.notes += [note] if note else []
        if options.slow is not None:
            schedule, rate = slow_schedule(options.slow, fps, wanted)
            if isinstance(schedule, FixedRateSchedule):
                schedule, rate = slow_schedule(options.slow, self._usual_rate(), wanted)
                schedule = replace(schedule, start=self.first_time)
            if options.multi is not None:
                rate = fps * options.multi / options.slow
                schedule = MultiplierSchedule(options.multi)
        elif wanted is not None:
            usual = 1 / self._usual_rate()
            schedule, rate = FixedRateSchedule(wanted, self.first_time, usual), wanted
        else:
            schedule, rate = MultiplierSchedule(options.factor), fps * options.factor
        return (LoopSchedule(schedule) if options.loop else schedule), rate

    def _usual_rate(self) -> Fraction:
        """Frames per second of the source where no picture is held."""
        if self.is_video:
            return self.source.usual_rate()
        times = getattr(self.source, "timestamps", None)
        return usual_rate_of_times(self.source.fps, list(times or ()))

    @property
    def sound(self) -> str:
        """What becomes of the sound; see `lift.io.sound`."""
        if self.options.slow is None:
            return "copy"
        return self.options.sound or "stretch"

    @property
    def timing(self) -> Timing:
        """Which part of the source the output has, and how much slower."""
        return Timing(self.start, self.stop, self.slow)

    @property
    def first_time(self) -> Fraction:
        """Seconds of the output at which its first frame is displayed."""
        if self.options.trim:
            return Fraction(0)
        return getattr(self.source, "start", Fraction(0)) * self.slow

    @property
    def is_video(self) -> bool:
        """Whether the source is a video."""
        return isinstance(self.source, VideoSource)

    @property
    def other_streams(self) -> Path | None:
        """The file whose other streams the output has; None where there are none to read."""
        return self.source.path if self.is_video and self.source.path != STDIN else None

    @property
    def plays(self) -> int:
        """How often an animated image made of it is to be played; 0 for without end."""
        is_file = isinstance(self.source, VideoSource | AnimatedWebP) and self.source.path != STDIN
        return play_count(self.source.path) if is_file and not self.options.loop else 0

    @property
    def count(self) -> int | None:
        """Number of frames that the file states, without --trim; None where unknown."""
        return self.source.count

    def expected_outputs(self) -> int | None:
        """About how many frames the output will have; None where the source states no length."""
        seconds = self.stated_seconds()
        if seconds is None:
            return None
        frames = max(1, round(seconds * self.source.fps))
        count = self.source.count
        if count is not None and not self.options.trim:
            frames = count
        frames -= not self.options.loop
        return round(frames / self.source.fps * self.slow * self.rate) + (not self.options.loop)

    def stated_seconds(self) -> Fraction | None:
        """How long the part of the source is that is interpolated, as the file states."""
        count, seconds = self.source.count, getattr(self.source, "seconds", None)
        if count is not None:
            seconds = count / self.source.fps
        if seconds is None:
            return None
        return max(Fraction(0), trimmed_end(seconds, self.start, self.stop) or Fraction(0))

    def frames(self, first: int = 0) -> Iterator[tuple[DecodedFrame, Fraction]]:
        """The frames from the `first` on, with their times in the output, seconds.

        Args:
            first: index of the first frame that is wanted; those before are decoded, but not
                converted to RGB.
        """
        timed = self._trimmed(first)
        if self.options.loop:
            opening = None if first == 0 else next(self._trimmed(0))[0][0]
            timed = (
                ((opening if k == 0 < first else frame, number), time)
                for k, ((frame, number), time) in enumerate(timed)
            )
            timed = loop(timed, lambda: trimmed_end(self.source.report.end, self.start, self.stop))
        self.first_number = self.last_number = None
        for (frame, number), time in slow(islice(timed, first, None), self.slow):
            if self.first_number is None:
                self.first_number = self.last_number = number
            self.last_number = max(self.last_number, number)
            yield frame, time

    def source_time(self, time: Fraction) -> Fraction:
        """Seconds of the source at a time of the output."""
        return time / self.slow + self.start

    def _trimmed(self, first: int) -> Iterator[tuple[tuple[DecodedFrame | None, int], Fraction]]:
        """((frame, its number in the source), time) of the part of the source that is wanted."""
        seen = 0

        def is_skipped(time: Fraction) -> bool:
            nonlocal seen
            seen += time >= self.start
            return seen < first  # one less than could be: the frame before the start may count

        is_lazy = self.is_video and first > 1
        decoded = self.source.decoded(is_skipped) if is_lazy else self.source.decoded()
        timed = (((frame, number), time) for number, (frame, time) in enumerate(decoded))
        if not self.options.trim:
            return timed
        return trim(timed, self.start, self.stop, lambda: self.source.report.end)

    @property
    def end(self) -> Fraction | None:
        """Seconds of the output at which its last frame ends; known once all frames are read."""
        end = trimmed_end(self.source.report.end, self.start, self.stop)
        return None if end is None else end * self.slow


def layout_of(source) -> FrameLayout:
    """The layout of a source's frames; RGB for images."""
    if isinstance(source, VideoSource):
        return source.layout
    bits = {1: 8, 2: 16, 4: 32}[np.dtype(source.dtype).itemsize]
    names = {8: "gbrp", 16: "gbrp16le", 32: "gbrpf32le"}
    return FrameLayout(names[bits], bits, "rgb", source.has_alpha)


def dtype_of(source, layout: FrameLayout) -> np.dtype:
    """The dtype of a source's pixels."""
    if not isinstance(source, VideoSource):
        return np.dtype(source.dtype)
    return np.dtype(np.uint8 if layout.bits <= 8 else np.uint16)
