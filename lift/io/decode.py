"""A video or a folder of numbered frames, one frame at a time, each with its exact time.

Memory does not grow with length. Frames are RGB and upright: the display matrix of a video and the
EXIF orientation of an image are applied. `decoded()` is for making a new video: it keeps the depth
of the source, its planes and its alpha channel, deinterlaces, and goes on past damage. `frames()`
and `timed()` are for training and measuring: 8 bits, fields as they are, damage is an error.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from lift.errors import LiftError
from lift.io.chroma_location import stated_location
from lift.io.color import FULL, LIMITED, YCGCO, FrameLayout, YuvCoding, coding_of
from lift.io.decoded_frame import DecodedFrame, ReadReport
from lift.io.decoded_frame import rgb_of as rgb_of
from lift.io.decoder import (
    Damage,
    Tail,
    alpha_decoder,
    decode_frames,
    matroska_ends_early,
    matroska_holes,
    open_container,
    seconds,
    stated_seconds,
    truncated,
    video_stream,
)
from lift.io.deinterlace import KEPT_FIELDS, NOTE, Deinterlacer
from lift.io.frame_folder import FOLDER_FPS, FrameFolder
from lift.io.hdr import HdrMetadata, dynamic_hdr_note, hdr_of, stereo_of
from lift.io.optional import require
from lift.io.orientation import UPRIGHT, Orientation, of_display_matrix
from lift.io.planes import UprightPlanes, storage_of
from lift.io.stdin import STDIN
from lift.io.timeline import Timeline, mean_rate, usual_rate, usual_rate_of_times
from lift.io.to_rgb import RgbConverter

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .m2ts .mts .wmv .flv .ogv .y4m "
    ".3gp .3g2 .asf .dv .f4v .m2t .m2v .mxf .nut .qt .rm .vob".split()
)
DEINTERLACE = ("auto", "off")
PROBED_FRAMES = 9  # from which the rate is taken where the stated one may be that of the clock
PROBED_PACKETS = 500  # that show the usual interval where pictures are held
USUAL_RATES = 60  # frames per second up to which a stated rate is believed
BICUBIC = 0x4 | 0x40000 | 0x2000 | 0x4000  # swscale: accurate rounding, full chroma


def open_frames(
    path: str | Path,
    fps: Fraction | None = None,
    *,
    strict: bool = False,
    deinterlace: str = "auto",
) -> "VideoSource | FrameFolder":
    """Open a video or a folder of numbered frames.

    Args:
        path: a video that FFmpeg decodes, or a folder of png, jpg, bmp, tif or webp files whose
            names differ in their number.
        fps: frames per second of a folder (24 where None); a video has its own.
        strict: `decoded()` of a video stops with an error at damage; else it goes on, and the
            source's report says where.
        deinterlace: "auto", or "off" to leave the fields of interlaced frames as they are.

    Returns:
        A source with `path`, `width`, `height` (upright pixels), `fps` (mean rate, Fraction),
        `count` (number of frames that the file states, or None), `frames()`, an iterator of
        (H, W, 3) uint8 RGB, and `timed()`, an iterator of (frame, seconds as a Fraction), times
        rising. `decoded()` gives (frame, seconds) with a `DecodedFrame` for each frame of a video.

    Raises:
        LiftError: the path does not exist, is no video, holds no frames, a number is missing or
            there twice. `frames()` and `timed()`, and with `strict` `decoded()`, raise it where a
            file is damaged or the size changes.
        ValueError: `deinterlace` is neither.
    """
    if deinterlace not in DEINTERLACE:
        raise ValueError(f'open_frames: deinterlace must be "auto" or "off", got {deinterlace!r}')
    path = Path(path)
    if path != STDIN and not path.exists():
        raise LiftError(
            f"{path}: no such file or folder; give a video or a folder of numbered frames"
        )
    if path.is_dir():
        return FrameFolder(path, fps)
    return VideoSource.open(path, strict, deinterlace)


@dataclass(frozen=True)
class VideoSource:
    """The first video stream of a file; see `open_frames`.

    Attributes:
        time_base: seconds in one tick of the file's clock.
        aspect: width of an upright pixel over its height.
        primaries, transfer: colour tags by their numbers in ISO/IEC 23091-2; 2 where untagged.
        layout: depth, chroma and coding of the upright frames.
        mastering: HDR metadata, or None.
        stereo: FFmpeg's name of how a frame packs two views ("side by side"), or None.
        chroma_location: FFmpeg's name of where 4:2:0 chroma lies ("topleft"), None where it is not
            stated or frames were turned upright.
        codec: FFmpeg's name of the decoder.
        start: seconds at which the first frame is displayed.
        seconds: how long the video is, as the file states; None where it is unknown.
        strict, deinterlace: as in `open_frames`.
        report: what the first frame has shown, then all of them; `decoded()` starts it anew.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    count: int | None
    time_base: Fraction
    aspect: Fraction
    primaries: int
    transfer: int
    layout: FrameLayout
    mastering: HdrMetadata | None = None
    stereo: str | None = None
    chroma_location: str | None = None
    codec: str = ""
    start: Fraction = Fraction(0)
    seconds: Fraction | None = None
    strict: bool = False
    deinterlace: str = "auto"
    report: ReadReport = field(default_factory=ReadReport, compare=False)

    @classmethod
    def open(cls, path: Path, strict: bool = False, deinterlace: str = "auto") -> "VideoSource":
        """Decode the first frame of a file and read its properties."""
        with open_container(path) as container:
            stream = video_stream(path, container)
            # before threads decode: one that logs meanwhile would wait for Python's lock forever
            location = stated_location(stream)
            decoder = alpha_decoder(stream)
            frames = decode_frames(path, container, stream, None if strict else Damage(), decoder)
            frame = next(frames, None)
            if frame is None:
                raise LiftError(f"{path}: no frame in this video can be decoded; give another file")
            orientation = orientation_of(frame)
            height, width = orientation.size(frame.height, frame.width)
            aspect = Fraction(stream.sample_aspect_ratio or 1)
            is_interlaced = _deinterlacer(stream, "auto").is_interlaced(frame)
            notes = [KEPT_FIELDS if deinterlace == "off" else NOTE] if is_interlaced else []
            notes += filter(None, [dynamic_hdr_note(frame)])
            return cls(
                path=path,
                width=width,
                height=height,
                fps=_rate(stream, frame, frames),
                count=stream.frames or None,
                time_base=Fraction(stream.time_base),
                aspect=1 / aspect if orientation.transpose else aspect,
                primaries=int(frame.color_primaries),
                transfer=int(frame.color_trc),
                layout=_layout(frame, orientation),
                mastering=hdr_of(frame),
                stereo=stereo_of(frame),
                chroma_location=location if orientation == UPRIGHT else None,
                codec=stream.codec_context.name,
                start=seconds(frame, stream, Fraction(0)),
                seconds=stated_seconds(path, container, stream),
                strict=strict,
                deinterlace=deinterlace,
                report=ReadReport(notes=notes),
            )

    @property
    def coding(self) -> YuvCoding:
        """Matrix and range of the frames."""
        return self.layout.coding

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what reading the frames has shown so far."""
        return tuple(self.report.notes)

    def usual_rate(self) -> Fraction:
        """Frames per second between most frames: more than `fps` where pictures are held."""
        if self.path == STDIN:
            return self.fps
        av, times = require("av", "reading a video"), []
        with open_container(self.path) as container, suppress(av.error.FFmpegError):
            stream = video_stream(self.path, container)
            for packet in islice(container.demux(stream), PROBED_PACKETS):
                if packet.pts is not None:
                    times.append(packet.pts * Fraction(stream.time_base))
        return usual_rate_of_times(self.fps, times)

    def frames(self) -> Iterator[np.ndarray]:
        """All frames in order, each (H, W, 3) uint8 RGB."""
        return (frame for frame, _ in self.timed())

    def timed(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        """All frames in order, each with its time in seconds."""
        convert = FrameConverter()
        with open_container(self.path) as container:
            stream = video_stream(self.path, container)
            timeline, count = Timeline(stream, self.fps), 0
            for frame in decode_frames(self.path, container, stream):
                rgb = convert(frame).rgb
                self._check_size(rgb.shape[:2], count)
                count += 1
                yield rgb, timeline.add(frame)
            self._check_end(stream, timeline, count)

    def decoded(
        self, is_skipped: Callable[[Fraction], bool] | None = None
    ) -> Iterator[tuple[DecodedFrame | None, Fraction]]:
        """All frames in order as the source has them, each with its time in seconds.

        Args:
            is_skipped: called with the time of each frame; where it returns true the frame is not
                converted to RGB, and None stands for it.

        The report grows with every frame and is complete once the iterator has ended.
        """
        report, damage = self.report, None if self.strict else Damage()
        report.end, report.damaged, report.notes = Fraction(0), 0, []
        count, timeline = 0, None
        try:
            with open_container(self.path) as container:
                stream = video_stream(self.path, container)
                timeline = Timeline(stream, self.fps)
                decoder = alpha_decoder(stream)
                convert = _SourceConverter(self)
                filter_ = _deinterlacer(stream, self.deinterlace)
                tail = Tail()
                decoded = decode_frames(self.path, container, stream, damage, decoder, tail=tail)
                for count, (pixels, stored) in enumerate(filter_(decoded), 1):
                    if filter_.used and NOTE not in report.notes:
                        report.notes.append(NOTE)
                    if count == 1 and (note := dynamic_hdr_note(stored)):
                        report.notes.append(note)
                    time = timeline.add(stored)
                    is_wanted = is_skipped is None or not is_skipped(time)
                    frame = convert(pixels, count - 1, time) if is_wanted else None
                    report.end = timeline.end
                    report.damaged = 0 if damage is None else len(damage.times)
                    yield frame, time
                if self.strict:
                    self._check_end(stream, timeline, count)
                if damage is None or not damage.truncated:
                    report.end = timeline.finish(tail.duration)
        finally:
            if damage is not None and count:
                report.damaged = len(damage.times)
                report.notes += damage.notes(count, timeline.last)

    def _check_size(self, size: tuple[int, int], count: int) -> None:
        height, width = size
        if size != (self.height, self.width):
            raise LiftError(
                f"{self.path}: the frame size changes from {self.width}x{self.height} to "
                f"{width}x{height} at frame {count}; re-encode the video to one size"
            )

    def _check_end(self, stream, timeline: Timeline, count: int) -> None:
        last = timeline.last or Fraction(0)
        if matroska_ends_early(self.path, stream, last) or matroska_holes(self.path, stream):
            raise truncated(self.path, count, last)


class FrameConverter:
    """From what FFmpeg decodes to upright frames of 8-bit RGB; the same for every reader."""

    def __init__(self):
        self._to_rgb = RgbConverter()

    def __call__(self, frame) -> DecodedFrame:
        """An av.VideoFrame as a DecodedFrame without planes."""
        upright = orientation_of(frame).apply
        return DecodedFrame(np.ascontiguousarray(upright(self._to_rgb(frame))))


class _SourceConverter:
    """From what FFmpeg decodes to the frames of one source, all of one size and layout."""

    def __init__(self, source: VideoSource):
        self._source, self._to_rgb = source, RgbConverter()
        self._planes: UprightPlanes | None = None
        self._size = self._storage = self._scaler = None
        self._scaled = False

    def __call__(self, frame, index: int, time: Fraction) -> DecodedFrame:
        if self._planes is None:
            self._planes = UprightPlanes.of(frame, orientation_of(frame))
            self._size, self._storage = (frame.width, frame.height), storage_of(frame.format)
        elif (frame.width, frame.height) != self._size or storage_of(frame.format) != self._storage:
            frame = self._conform(frame, index, time)
        rgb, planes, alpha = self._to_rgb.native(frame)
        orientation = self._planes.orientation
        if planes is not None and coding_of(frame) == self._source.coding:
            planes = self._planes(planes)
        else:
            planes = None
        if not self._source.layout.has_alpha:
            alpha = None
        if alpha is not None:
            alpha = orientation.apply(alpha).copy()
        return DecodedFrame(np.ascontiguousarray(orientation.apply(rgb)), planes, alpha)

    def _conform(self, frame, index: int, time: Fraction):
        """A frame of another size or pixel format as one of the source's."""
        width, height = self._size
        if (frame.width, frame.height) != self._size:
            if self._source.strict:
                raise LiftError(
                    f"{self._source.path}: the frame size changes from {width}x{height} to "
                    f"{frame.width}x{frame.height} at frame {index}; re-encode it to one size"
                )
            self._note_size(f"{frame.width}x{frame.height}", time)
        coding, wanted = coding_of(frame), self._source.coding
        exact = YCGCO not in (coding.matrix, wanted.matrix)
        if self._scaler is None:
            self._scaler = require("av.video.reformatter", "decoding").VideoReformatter()
        frame = self._scaler.reformat(
            frame,
            width=width,
            height=height,
            format=self._storage.planar,
            src_colorspace=coding.swscale_matrix if exact else None,
            dst_colorspace=wanted.swscale_matrix if exact else None,
            src_color_range=FULL if coding.full_range else LIMITED,
            dst_color_range=FULL if wanted.full_range else LIMITED,
            interpolation=BICUBIC,
        )
        if self._storage.chroma != "rgb":
            frame.colorspace = wanted.matrix
            frame.color_range = FULL if wanted.full_range else LIMITED
        return frame

    def _note_size(self, size: str, time: Fraction) -> None:
        if not self._scaled:
            width, height = self._size
            self._source.report.notes.append(
                f"the frame size changes from {width}x{height} to {size} at {float(time):.2f} s; "
                f"frames of another size are scaled to {width}x{height}"
            )
        self._scaled = True


def orientation_of(frame) -> Orientation:
    """How a decoded frame becomes upright, by the file's display matrix."""
    for data in frame.side_data:
        if getattr(data.type, "name", "") == "DISPLAYMATRIX":
            return of_display_matrix(bytes(data))
    return UPRIGHT


def _deinterlacer(stream, deinterlace: str) -> Deinterlacer:
    codec = stream.codec_context
    filter_ = Deinterlacer(codec.name, getattr(codec, "field_order", 0))  # PyAV 17 has none
    filter_.off |= deinterlace == "off"
    return filter_


def _layout(frame, orientation: Orientation) -> FrameLayout:
    """The layout of the source of which this is the first frame."""
    layout = UprightPlanes.of(frame, orientation).layout
    if frame.format.has_palette or frame.format.name == "bgra":  # GIF: colours may be opaque
        alpha = RgbConverter().native(frame)[2]
        return replace(layout, has_alpha=bool(alpha.min() < 255))
    return layout


def _rate(stream, frame, frames: Iterator) -> Fraction:
    """Mean frames per second; from the first frames where the stated rate is that of a clock."""
    rate = mean_rate(stream, FOLDER_FPS)
    if rate <= USUAL_RATES:
        return rate
    first = [frame, *islice(frames, PROBED_FRAMES - 1)]
    times = [time for f in first if (time := seconds(f, stream)) is not None]
    return usual_rate(rate, times)
