"""Where the frames of a job go: a video, an animated image, a folder of images, or a pipe.

Videos and folders are written part by part into the work folder; `publish` makes the output of the
finished parts. The frames of a part lie between `begin` and `end`.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from lift.files import atomic, write_error
from lift.io.animation import frames_of_parts, write_animation
from lift.io.codecs import Encoding
from lift.io.color import FrameLayout
from lift.io.decoded_frame import DecodedFrame
from lift.io.decoder import open_container, video_stream
from lift.io.encoder import VideoTags, probe
from lift.io.folder_writer import PartFolder, publish
from lift.io.image_format import ImageFormat
from lift.io.join import apart, join_parts
from lift.io.parts import PartWriter, part_times, read_part
from lift.io.stream_header import (
    add_video,
    finish_video,
    open_header,
    packet_filter,
)
from lift.io.stream_plan import StreamPlan
from lift.io.streams import plan_streams
from lift.io.timing import Timing

ON_TIME = Fraction(1, 4)  # of a frame, by which clocks of milliseconds round
Frame = np.ndarray | DecodedFrame
MATROSKA_TICK = Fraction(1, 1000)  # seconds


@dataclass
class PartStatistics:
    """What is known of a finished part.

    Attributes:
        frames, generated: numbers of output frames.
        cuts: index of the first frame of each new shot, and its time in seconds as text.
        size: bytes of its file, None where it has none.
    """

    frames: int = 0
    generated: int = 0
    cuts: list[tuple[int, str]] = field(default_factory=list)
    size: int | None = None


class NoParts:
    """Takes the place of `Parts` for a pipe, which has one part and no files.

    Attributes:
        finished: the statistics of the part, by number.
        outcome: what is known at the end of the source.
    """

    def __init__(self):
        self.finished: dict[int, PartStatistics] = {}
        self.outcome: SourceEnd | None = None

    def mark(self, part: int, statistics: PartStatistics) -> None:
        """Keep the statistics of a part."""
        self.finished[part] = statistics

    def mark_end(self, outcome: "SourceEnd") -> None:
        """Keep what is known at the end of the source."""
        self.outcome = outcome


@dataclass
class SourceEnd:
    """What is known once the source has been read to its end.

    Attributes:
        parts: number of parts.
        end: seconds at which the output ends, as text.
        damaged: number of packets or frames that could not be decoded.
        duplicates: number of frames that were generated anew because they repeated another.
        notes: sentences on the source.
    """

    parts: int
    end: str
    damaged: int = 0
    duplicates: int = 0
    notes: list[str] = field(default_factory=list)


class Parts:
    """The files of the parts in a work folder."""

    def __init__(self, work: Path):
        self.work = work

    def file(self, part: int, suffix: str) -> Path:
        """A file of a part."""
        return self.work / f"part{part:06d}{suffix}"

    def mark(self, part: int, statistics: PartStatistics) -> None:
        """Mark a part as finished."""
        _store(self.file(part, ".done"), replace(statistics, size=self._size(part)))

    def mark_end(self, outcome: SourceEnd) -> None:
        """Record what is known at the end of the source."""
        _store(self.work / "outcome.json", outcome)

    def write(self, name: str, values: dict) -> None:
        """Record something for later runs, as JSON."""
        with atomic(self.work / name) as file:
            file.write_text(json.dumps(values))

    def read(self, name: str) -> dict | None:
        """What was recorded; None where nothing was."""
        try:
            return json.loads((self.work / name).read_text())
        except (OSError, ValueError):
            return None

    def finished(self, part: int) -> PartStatistics | None:
        """The statistics of a finished part, None where it is not finished or was damaged."""
        found = _stored(self.file(part, ".done"), PartStatistics)
        return None if found is None or found.size != self._size(part) else found

    def _size(self, part: int) -> int | None:
        try:
            return self.file(part, ".mkv").stat().st_size
        except OSError:
            return None

    def outcome(self) -> SourceEnd | None:
        """What was recorded at the end of the source; None before."""
        return _stored(self.work / "outcome.json", SourceEnd)

    def all(self) -> dict[int, PartStatistics]:
        """The finished parts by number."""
        numbers = (int(file.stem.removeprefix("part")) for file in self.work.glob("part*.done"))
        found = ((number, self.finished(number)) for number in sorted(numbers))
        return {number: statistics for number, statistics in found if statistics is not None}

    def first_missing(self, start: int, stop: int | None) -> int | None:
        """The first part that is not finished in a range; None where there is none."""
        outcome, part = self.outcome(), start
        while (stop is None or part < stop) and (outcome is None or part < outcome.parts):
            if self.finished(part) is None:
                return part
            part += 1
        return None

    def next_finished(self, part: int, stop: int | None) -> int | None:
        """The first finished part after one; `stop` where there is none before it."""
        later = [number for number in self.all() if number > part]
        return min([*later, *([] if stop is None else [stop])], default=None)


def _store(path: Path, values) -> None:
    with atomic(path) as file:
        file.write_text(json.dumps(asdict(values)))


def _stored(path: Path, kind: type):
    try:
        return kind(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


class VideoOutput:
    """A video, or an animated image.

    Args:
        parts: of the work folder.
        target: the final file.
        size: width, height.
        encoding: of the output.
        rate: frames per second.
        tick: seconds of one tick of the output's clock.
        source: VideoSource whose colour tags and planes hold; None for BT.709.
        layout: of the frames.
        plays: how often an animated image is played; 0 for without end.

    Attributes:
        plan: what becomes of the source's other streams; see `plan_streams`.
    """

    def __init__(
        self,
        parts: Parts,
        target: Path,
        size: tuple[int, int],
        encoding: Encoding,
        rate: Fraction,
        tick: Fraction,
        source=None,
        layout: FrameLayout = FrameLayout(),  # noqa: B008  it is frozen
        plays: int = 0,
    ):
        self.parts, self.target, self.size, self.encoding = parts, target, size, encoding
        self._plays = plays
        self.rate, self.tick, self.source = rate, tick, source
        self.tags = VideoTags.of(source, encoding.pix_fmt)
        self.plan = StreamPlan(None)
        self.notes: list[str] = []
        self._encoding = encoding.for_parts(layout)
        # whose clock is coarse; equal times are better than late ones where all are closer
        self._is_coarse = encoding.container in ("matroska", "webm") and rate * MATROSKA_TICK < 1
        self._writer: PartWriter | None = None

    def plan_streams(
        self, suffix: str, source: Path | None, sound: str, timing: Timing, source_rate: Fraction
    ) -> tuple[str, ...]:
        """Decide what becomes of the other streams; a sentence for each that is not just copied.

        Args:
            suffix: of the output.
            source: video file that they come from, or None.
            sound, timing: as of `streams.plan_streams`.
            source_rate: frames per second of the source.

        Raises:
            LiftError: the encoder does not open, or the container does not hold its video.
        """
        if self.encoding.is_animation:
            return _left_out(source)
        with self._template(probe(self._encoding, self.size, self.rate, self.tags)) as template:
            index = 0 if source is None else video_index(source)
            plan = plan_streams(
                source,
                suffix,
                index,
                template=template,
                sound=sound,
                timing=timing,
                old_rate=source_rate,
                new_rate=self.rate,
                options=self._options(),
                add_picture=partial(self._add_picture, template),
            )
        self.plan = plan
        return plan.notes

    def _options(self) -> dict[str, str]:
        """Options of the container."""
        if self.tags.stereo is not None and self.encoding.container in ("mp4", "mov"):
            return {"strict": "unofficial"}
        return {}

    def _add_picture(self, template, container):
        """Add the stream of the picture to an output; it, and the filter for its packets."""
        stream = add_video(container, template, self.encoding, self.tags, self.rate)
        return stream, packet_filter(self.encoding, template, stream)

    def begin(self, part: int) -> None:
        """Open a part."""
        self._writer = PartWriter(
            self.parts.file(part, ".mkv"),
            self.size,
            self._encoding,
            self.rate,
            self.tick,
            self.source,
            self.target,
        )
        self._writer.__enter__()

    def write(self, frame: Frame, time: Fraction) -> None:
        """Append a frame to the open part."""
        self._writer.write(frame, time)

    def end(self, error: BaseException | None = None) -> None:
        """Finish the open part, or drop it after an error."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        if error is None:
            writer.__exit__(None, None, None)
            return
        with suppress(type(error)):  # the writer raises it again
            writer.__exit__(type(error), error, None)

    def publish(
        self, path: Path, counts: list[int], end: Fraction, overwrite: bool = False
    ) -> list[str]:
        """Make the output of the finished parts; sentences on what differs from the source.

        Args:
            path: the output, which is replaced where it exists.
            counts: number of frames in each part.
            end: seconds at which the last frame ends.
        """
        result = self.parts.work / f"output{path.suffix}"
        if self.encoding.is_animation:
            notes = self._animate(result, len(counts), end)
        else:
            packets = self._packets(len(counts), end)
            with self._template(self.parts.file(0, ".mkv")) as template:
                notes = join_parts(
                    result,
                    packets,
                    template,
                    self.plan,
                    time_base=self._time_base(len(counts), end),
                    name=path,
                    add_picture=partial(self._add_picture, template),
                    finish=lambda file: finish_video(file, self.encoding, self.tags),
                )
        try:
            os.replace(result, path)
        except OSError as error:
            raise write_error(path, error) from error
        return list(notes)

    def _template(self, part):
        """An av.VideoStream with the parameters of the output, as a context manager."""
        return open_header(part, self.tags)

    def _time_base(self, count: int, end: Fraction) -> Fraction:
        """Seconds of one tick; in AVI, which counts frames, a frame where the rate is constant."""
        if self.encoding.container != "avi":
            return self.tick
        times = [time for _, part in self._times(count, end) for time in part[:-1]]
        places = ((time - times[0]) * self.rate for time in times)
        is_constant = all(abs(place - k) < ON_TIME for k, place in enumerate(places))
        return 1 / self.rate if is_constant else self.tick

    def _times(self, count: int, end: Fraction) -> Iterator[tuple[int, list[Fraction]]]:
        """(part, times of its frames, and when its last one ends)."""
        times = self._part_times(0)
        for part in range(count):
            after = self._part_times(part + 1, times[-1]) if part + 1 < count else [end]
            yield part, [*times, max(after[0], times[-1] + self.tick)]
            times = after

    def _part_times(self, part: int, after: Fraction | None = None) -> list[Fraction]:
        times = part_times(self.parts.file(part, ".mkv"))
        return apart(times, MATROSKA_TICK, after) if self._is_coarse else times

    def _packets(self, count: int, end: Fraction) -> Iterator:
        for part, times in self._times(count, end):
            for packet, k in read_part(self.parts.file(part, ".mkv")):
                yield packet, times[k], times[k + 1] - times[k], packet.is_keyframe

    def _animate(self, path: Path, count: int, end: Fraction) -> tuple[str, ...]:
        frames = frames_of_parts([self.parts.file(part, ".mkv") for part in range(count)])
        times = [time for _, times in self._times(count, end) for time in times[:-1]]
        return write_animation(path, self.encoding, frames, times, end, self._plays)


def video_index(source: Path) -> int:
    """Index of the stream that is interpolated."""
    with open_container(source) as container:
        return video_stream(source, container).index


def _left_out(source: Path | None) -> tuple[str, ...]:
    """What an animated image does not hold of a video."""
    if source is None:
        return ()
    with open_container(source) as container:
        kinds = {stream.type for stream in container.streams}
    named = {"audio": "sound", "subtitle": "subtitles"}
    names = [name for kind, name in named.items() if kind in kinds]
    return (f"{' and '.join(names)} left out: an animated image has none",) if names else ()


class FolderOutput:
    """A folder of numbered images."""

    def __init__(self, parts: Parts, target: Path, image_format: ImageFormat):
        self.parts, self.target, self.format = parts, target, image_format
        self.notes: list[str] = []

    @property
    def format_name(self) -> str:
        """Kind of the images."""
        return self.format.name

    def begin(self, part: int) -> None:
        """Open a part."""
        folder = self.parts.file(part, "")
        shutil.rmtree(folder, ignore_errors=True)
        self._folder, self._count = PartFolder(folder, self.format, self.target), 0

    def write(self, frame: Frame, time: Fraction) -> None:
        """Append a frame to the open part; images carry no time."""
        frame = frame if isinstance(frame, DecodedFrame) else DecodedFrame(frame)
        for note in self.format.notes(frame.rgb.dtype, frame.alpha is not None):
            if note not in self.notes:
                self.notes.append(note)
        self._folder.write(frame, self._count)
        self._count += 1

    def end(self, error: BaseException | None = None) -> None:
        """Finish the open part; a part without its mark is not used."""

    def publish(
        self, path: Path, counts: list[int], end: Fraction, overwrite: bool = False
    ) -> list[str]:
        """Number the frames of all parts through and move them to their folder."""
        whole = self.parts.work / "frames"
        try:
            result = PartFolder(whole, self.format, path)
            number = 0
            for part, count in enumerate(counts):
                folder = PartFolder(self.parts.file(part, ""), self.format, path)
                for k in range(count):
                    # a copy where the disk has no links: an interruption leaves the part whole
                    _link(folder.file(k), result.file(number))
                    number += 1
        except OSError as error:
            raise write_error(path, error) from error
        publish(whole, path, overwrite)
        return []


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
