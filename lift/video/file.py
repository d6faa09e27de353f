"""Interpolate a file: read it, generate frames, write the result in parts and join them.

The work is cut into parts of some seconds. A part is finished or it does not exist, and it does not
depend on where the run that made it began. So an interrupted run goes on with the first part that
is missing, several devices make parts side by side, and a part that did not fit into the memory is
made again in smaller tiles.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from lift.errors import LiftError
from lift.files import atomic
from lift.io.bit_depth import as_8_bits
from lift.io.codecs import HDR_TRANSFERS, choose_encoding
from lift.io.decoded_frame import DecodedFrame
from lift.io.image_format import ImageFormat
from lift.io.names import ANIMATIONS, check_distinct, is_video_name, refuse_existing
from lift.io.outputs import FolderOutput, NoParts, Parts, PartStatistics, SourceEnd, VideoOutput
from lift.io.pipes import PipeOutput
from lift.io.stdin import STDIN
from lift.scenes.detector import CutDetector, number_shots
from lift.video.compare import doubled, side_by_side
from lift.video.cut_list import KnownCuts, note_late_cuts, read_cut_list
from lift.video.devices import DeviceWorkers
from lift.video.duplicates import Distinct, DistinctFrames
from lift.video.fingerprint import fingerprint
from lift.video.input import Input
from lift.video.memory_budget import OutOfMemory
from lift.video.options import FileOptions
from lift.video.progress import Progress
from lift.video.stream_frame import StreamFrame, with_holds
from lift.video.summary import Summary, report_path
from lift.video.threads import WriteBehind, read_ahead
from lift.video.transfers import Download
from lift.video.work_folder import WorkFolder

QUEUE_DEPTH = 4  # frames decoded ahead, and frames not yet encoded
PART_FRAMES = 240  # output frames of a part, about
LEAD = 48  # source frames before a part's first that its decisions and its context may need
CONDITIONS = "conditions.json"  # of the first run, in the work folder
PIPE = STDIN
UNEVEN = "the times of frames vary, and y4m has one rate: --format nut keeps the times"

Note = Callable[[str], None]


def interpolate_file(
    interpolator,
    source: Path | tuple[Path, ...],
    target: Path,
    options: FileOptions,
    progress: Progress | None = None,
    note: Note | None = None,
    workers: DeviceWorkers | None = None,
) -> Summary:
    """Interpolate one video, folder of frames or pair of images.

    Args:
        interpolator: the Interpolator with the model.
        source: a video, a folder of numbered frames, images in order, or `-` for a pipe.
        target: a video (.mp4, .mkv ...), an animated image, a folder, or `-` for a pipe.
        options: what is asked for.
        progress: is informed of every output frame.
        note: is called with a sentence for everything that differs from the source: before the
            first frame where it is known by then.
        workers: makes parts on several devices.

    Returns:
        What was written.

    Raises:
        LiftError: the source cannot be read or the target cannot be written, which is then
            unchanged.
    """
    if target.is_symlink():
        target = target.resolve()  # the link stays
    if target != PIPE and isinstance(source, Path) and source != PIPE:
        check_distinct(source, target)
    if PIPE in (source, target) and options.resume:
        raise LiftError("a pipe cannot be resumed; leave --resume out, or name files")
    if target == PIPE and options.report:
        raise LiftError("a pipe has no place for a report; leave --report out, or use --json")
    job = Job(interpolator, source, target, options, progress or Progress(), note)
    if target == PIPE:
        return job.pipe()
    is_video_name(target)
    refuse_existing(target, options.overwrite)
    job_print = fingerprint(interpolator, source, target, options, job.cuts)
    with WorkFolder(target, job_print, resume=options.resume) as work:
        for text in work.notes:
            job.note(text)
        return job.run(Parts(work.path), workers)


class Job:
    """One file on its way through the interpolator."""

    def __init__(self, interpolator, source, target: Path, options: FileOptions, progress, note):
        self.interpolator, self.options = interpolator, options
        self.progress, self.target, self.path = progress, target, source
        self.notes: list[str] = []
        self.duplicates = 0  # frames that repeated another and were generated anew
        self._note = note
        self.input = Input(source, options)
        self.size = self.input.width, self.input.height
        if options.compare:
            self.size = doubled(self.size)
        self.is_video = target != PIPE and is_video_name(target)
        step = self.input.rate / self.input.source.fps / self.input.slow
        self.part_length = max(1, round(PART_FRAMES / max(step, Fraction(1, 8))))
        self.cuts = None
        if options.cuts is not None:
            self.cuts = read_cut_list(options.cuts, self.input.source.fps)
        for text in (*self.input.notes, *self.input.source.notes, *self._lost_in_images()):
            self.note(text)

    def note(self, text: str) -> None:
        """Add a sentence to the summary, once, and say it."""
        if text not in self.notes:
            self.notes.append(text)
            if self._note is not None:
                self._note(text)

    def _lost_in_images(self) -> list[str]:
        """Sentences on what images and animations do not state of a video."""
        if self.target == PIPE or self.is_video and self.target.suffix.lower() not in ANIMATIONS:
            return []
        aspect, notes = Fraction(getattr(self.input.source, "aspect", 1)), []
        if aspect != 1:
            shape = f"{aspect.numerator}:{aspect.denominator}"
            notes.append(f"pixels are not square ({shape}), which images do not state: scale them")
        name = HDR_TRANSFERS.get(getattr(self.input.source, "transfer", 0))
        if name is not None:
            notes.append(
                f"HDR ({name}): its values are written as they are, and images do not say so; "
                "they look pale where sRGB is assumed"
            )
        return notes

    # -- parts -------------------------------------------------------------------------------------

    def run(self, parts: Parts, workers: DeviceWorkers | None) -> Summary:
        """Make the parts that are missing, then the output."""
        output = self.open_output(parts)
        done = sum(each.frames for each in parts.all().values())
        self.progress.start(self.input.expected_outputs(), done)
        self._use_recorded(parts)
        if workers is not None:
            make = partial(_make_parts, self.path, self.target, self.options, parts.work)
            workers.make_parts(make, self.expected_parts(), self.progress)
        self.make_parts(parts, output)
        finished, outcome = parts.all(), parts.outcome()
        counts = [finished[part].frames for part in sorted(finished)]
        for text in outcome.notes:
            self.note(text)
        end = Fraction(outcome.end)
        for text in output.publish(self.target, counts, end, self.options.overwrite):
            self.note(text)
        self.progress.finish()
        return self._summary(finished, outcome, output)

    def make_parts(self, parts: Parts, output, start: int = 0, stop: int | None = None) -> None:
        """Make the parts that are missing, from `start` up to but without `stop`."""
        self._use_recorded(parts)
        while (part := parts.first_missing(start, stop)) is not None:
            try:
                self._make_from(parts, output, part, parts.next_finished(part, stop))
                continue
            except OutOfMemory as error:
                failure = error.with_traceback(None)  # which holds the memory of its frames
            height, width = failure.tile
            if self.path == PIPE or not self.interpolator.use_smaller_tiles():
                raise failure  # a pipe cannot be read again
            self.progress.go_back(sum(each.frames for each in parts.all().values()))
            self.note(
                f"the memory was too small for {width}x{height} pixels at a time; "
                "smaller tiles were used"
            )
            self._record(parts)

    def _use_recorded(self, parts: Parts) -> None:
        """Compute as the run that made the first parts: free memory and load may have changed."""
        generator = getattr(self.interpolator, "generator", None)
        if generator is None:
            return
        recorded = parts.read(CONDITIONS)
        if recorded is None:
            self._record(parts)
            return
        torch.set_num_threads(recorded["threads"])
        if generator.tile == "auto":
            generator.use_area(self.input.height, self.input.width, recorded["tile_area"])

    def _record(self, parts: Parts) -> None:
        grid = self.interpolator.generator.grid(self.input.height, self.input.width)
        area = None if len(grid) == 1 else grid.tile_height * grid.tile_width
        parts.write(CONDITIONS, {"tile_area": area, "threads": torch.get_num_threads()})

    def _make_from(self, parts: Parts, output, part: int, stop: int | None) -> None:
        """Make consecutive parts until `stop`, or until the source ends."""
        first = part * self.part_length
        lead = max(0, first - LEAD)
        if self.options.duplicates == "fill":
            lead = 0  # which frame has which index is known from the beginning only
        feeder = _Feeder(self, parts, output)
        reached_stop = False
        with feeder, ExitStack() as threads:
            frames = self._stream_frames(lead)
            timed = threads.enter_context(closing(read_ahead(frames, QUEUE_DEPTH)))
            write = threads.enter_context(WriteBehind(feeder.write, QUEUE_DEPTH))
            stream = self.interpolator.stream(
                timed,
                self.input.schedule,
                first_index=lead,
                start_index=first,
            )
            for out in threads.enter_context(closing(stream)):
                current = out.index // self.part_length
                reached_stop = stop is not None and current >= stop
                if reached_stop:
                    break
                download = Download(out.frame, self.input.dtype, out.alpha)
                held = out.held if self.options.compare else None
                write(download, held, out.time, current, out.is_generated)
                self.progress.update()
        if not reached_stop:
            source = self.input.source
            notes = list(source.report.notes)
            if self.cuts is not None and self.input.stop is None:
                late = note_late_cuts(self.cuts, self.input.last_number, source.report.end)
                notes += [late] if late else []
            parts.mark_end(
                SourceEnd(
                    parts=feeder.part + 1 if feeder.part is not None else part,
                    end=str(self.input.end),
                    damaged=source.report.damaged,
                    duplicates=self.duplicates,
                    notes=notes,
                )
            )

    def _stream_frames(self, lead: int) -> Iterator[StreamFrame]:
        """The source's frames from the `lead`-th on, with their shots, without duplicates."""
        options, slow = self.options, self.input.slow
        with closing(self.input.frames(lead)) as frames:
            numbered = self._with_shots(frames)
            if options.duplicates == "fill":
                distinct = DistinctFrames(numbered, pixels_of, max_gap=options.max_gap, slow=slow)
                items = _with_interval_after(distinct)
            else:
                items = (StreamFrame(frame, time, shot) for (frame, time), shot in numbered)
            yield from with_holds(items, options.max_gap, slow)
            if options.duplicates == "fill":
                self.duplicates = distinct.removed

    def _with_shots(self, frames: Iterator) -> Iterator[tuple[tuple[DecodedFrame, Fraction], int]]:
        """((frame, time), index of its shot), by the list of cuts or by detection."""
        first = next(frames, None)
        if first is None:
            return iter(())
        detector = None
        if self.cuts is not None:
            detector = KnownCuts(self.cuts, self.input.first_number)
        elif self.interpolator.detect_scenes:
            detector = self.interpolator.new_detector()
        return number_shots(
            chain([first], frames),
            lambda item: pixels_of(item[0]),
            detector,
            lambda item: self.input.source_time(item[1]),
        )

    def open_output(self, parts: Parts):
        """The output; what becomes of other streams is decided and said here."""
        options, layout, source = self.options, self.input.layout, self.input.source
        if options.compare:
            layout = replace(layout, has_alpha=False)
        if not self.is_video:
            return self._open_folder(parts, layout)
        encoding = choose_encoding(
            self.target.suffix,
            layout,
            size=self.size,
            source_codec=getattr(source, "codec", None),
            transfer=getattr(source, "transfer", 2),
            primaries=getattr(source, "primaries", 2),
            codec=options.codec,
            pix_fmt=options.pix_fmt,
            preset=options.preset,
            crf=options.crf,
        )
        if options.image_format is not None:
            raise LiftError("--format is for folders of images; a video's name chooses its format")
        video = source if self.input.is_video else None
        output = VideoOutput(
            parts,
            self.target,
            self.size,
            encoding,
            self.input.rate,
            self.input.tick,
            video,
            layout,
            plays=self.input.plays,
        )
        notes = output.plan_streams(
            self.target.suffix,
            self.input.other_streams,
            self.input.sound,
            self.input.timing,
            source.fps,
        )
        for text in (*encoding.notes, *notes):
            self.note(text)
        return output

    def _open_folder(self, parts: Parts, layout) -> FolderOutput:
        options = self.options
        for flag in ("codec", "pix_fmt", "preset"):
            if getattr(options, flag) is not None:
                raise LiftError(
                    f"--{flag} is for videos, and {self.target} is a folder of images; "
                    "give it the name of a video, or use --format"
                )
        if options.crf is not None:
            self.note("--crf has no effect on a folder of images")
        if self.target.suffix:
            self.note(f"{self.target.suffix} is the name of no video: images go into this folder")
        chosen = ImageFormat.choose(options.image_format, None, self.input.dtype)
        for text in chosen.notes(self.input.dtype, layout.has_alpha):
            self.note(text)
        return FolderOutput(parts, self.target, chosen)

    def expected_parts(self) -> int | None:
        """About how many parts there will be; None where the source states no length."""
        seconds = self.input.stated_seconds()
        if seconds is None:
            return None
        return -(-round(seconds * self.input.source.fps) // self.part_length)

    # -- the result --------------------------------------------------------------------------------

    def pipe(self) -> Summary:
        """Write to stdout as frames come, without parts."""
        options, source = self.options, self.input.source
        output = PipeOutput(
            options.image_format,
            self.size,
            self.input.rate,
            self.input.tick,
            replace(self.input.layout, has_alpha=False) if options.compare else self.input.layout,
            source if self.input.is_video else None,
            codec=options.codec,
            pix_fmt=options.pix_fmt,
            preset=options.preset,
            crf=options.crf,
        )
        for text in output.notes:
            self.note(text)
        self.part_length = 1 << 62
        self.progress.start(self.input.expected_outputs())
        parts = NoParts()
        with output:
            self._make_from(parts, output, 0, None)
        for text in (*parts.outcome.notes, *([UNEVEN] if output.is_uneven else [])):
            self.note(text)
        self.progress.finish()
        return self._summary(parts.finished, parts.outcome, output)

    def _summary(self, finished: dict, outcome: SourceEnd, output) -> Summary:
        cuts = sorted({tuple(cut) for each in finished.values() for cut in each.cuts})
        encoding = getattr(output, "encoding", None)
        summary = Summary(
            path=self.target,
            frames=sum(each.frames for each in finished.values()),
            generated=sum(each.generated for each in finished.values()),
            cuts=len(cuts),
            width=self.size[0],
            height=self.size[1],
            rate=self.input.rate,
            notes=list(self.notes),
            dtype=self.interpolator.engine.dtype,
            seconds=Fraction(outcome.end),
            cut_times=[Fraction(time) for _, time in cuts],
            duplicates=outcome.duplicates,
            damaged=outcome.damaged,
            codec=encoding.codec if encoding else output.format_name,
            pix_fmt=encoding.pix_fmt if encoding else "",
        )
        if self.options.report:
            with atomic(report_path(self.target)) as file:
                file.write_text(json.dumps(summary.as_json(), indent=2) + "\n")
        return summary


class _Feeder:
    """Passes frames to an output, part by part, in the thread that encodes; a context manager."""

    def __init__(self, job: Job, parts: Parts, output):
        self._job, self._parts, self._output = job, parts, output
        self.part: int | None = None
        self._statistics = PartStatistics()

    def write(self, download, held, time: Fraction, part: int, is_generated: bool) -> None:
        """Write a frame; the first of a part ends the part before it."""
        frame = download.wait()
        if held is not None:
            frame = side_by_side(held, frame)
        if part != self.part:
            self._finish()
            self.part = part
            self._output.begin(part)
        self._output.write(frame, time)
        self._statistics.frames += 1
        self._statistics.generated += is_generated

    def _finish(self) -> None:
        if self.part is None:
            return
        self._output.end()
        length = self._job.part_length
        cuts = self._job.interpolator.cut_times
        self._statistics.cuts = [
            (index, str(time)) for index, time in list(cuts) if index // length == self.part
        ]
        self._parts.mark(self.part, self._statistics)
        self._statistics = PartStatistics()

    def __enter__(self) -> "_Feeder":
        return self

    def __exit__(self, kind, error, trace) -> None:
        if error is None:
            self._finish()
        elif self.part is not None:
            self._output.end(error)


def find_cuts(
    source: Path, options: FileOptions, threshold: float | None = None
) -> list[tuple[int, Fraction]]:
    """The scene cuts of a video or a folder of frames.

    Args:
        threshold: as of `CutDetector`; its default where None.

    Returns:
        For each cut the number of the first frame of the new shot, from 0, and its time in seconds,
        both of the source.
    """
    detector = CutDetector() if threshold is None else CutDetector(threshold)
    frames = Input(source, options)
    numbered = number_shots(frames.frames(), lambda item: pixels_of(item[0]), detector)
    cuts, last = [], 0
    for k, ((_, time), shot) in enumerate(numbered):
        if shot != last:
            cuts.append((frames.first_number + k, frames.source_time(time)))
        last = shot
    return cuts


def _with_interval_after(distinct: Iterable[Distinct]) -> Iterator[StreamFrame]:
    """Each frame with the source's times in the interval after it."""
    before = None
    for item in distinct:
        if before is not None:
            yield StreamFrame(before.frame, before.time, before.shot, None, item.source_times)
        before = item
    if before is not None:
        yield StreamFrame(before.frame, before.time, before.shot)


def pixels_of(frame: DecodedFrame) -> np.ndarray:
    """8-bit RGB of a frame, to look for cuts and duplicates."""
    return as_8_bits(frame.rgb)


def _make_parts(source, target: Path, options: FileOptions, work: Path, *task) -> None:
    """Make parts in a process of `DeviceWorkers`."""
    interpolator, start, stop, progress = task
    job, parts = Job(interpolator, source, target, options, progress, None), Parts(work)
    job.make_parts(parts, job.open_output(parts), start, stop)
