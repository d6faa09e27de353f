"""A video or a folder of numbered frames, one frame at a time, each with its exact time.

Memory does not grow with length. Frames are 8-bit RGB and upright: the display matrix of a video
and the EXIF orientation of an image are applied.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from lift.errors import LiftError
from lift.io.color import RgbConverter, YuvCoding, coding_of, yuv_planes
from lift.io.frame_folder import FOLDER_FPS, FrameFolder
from lift.io.optional import require
from lift.io.orientation import UPRIGHT, Orientation, of_display_matrix

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .m2ts .wmv .flv .ogv .y4m".split()
)
MISSING_SECONDS = Fraction(1, 2)  # a file that ends earlier was truncated
ATTACHED_PICTURE = 0x400  # FFmpeg's disposition of a cover


@dataclass(frozen=True)
class DecodedFrame:
    """A frame as RGB and as the video stores it, so that it can be written again unchanged.

    Attributes:
        rgb: (H, W, 3) uint8, upright.
        yuv: Y, U, V, each (h, w) uint8, upright, or None; chroma is halved, but full where a side
            is odd. Coded as the source's `coding` says.
    """

    rgb: np.ndarray
    yuv: tuple[np.ndarray, ...] | None = None


def rgb_of(frame):
    """The RGB pixels of a DecodedFrame; anything else as it is."""
    return frame.rgb if isinstance(frame, DecodedFrame) else frame


def open_frames(path: str | Path, fps: Fraction | None = None) -> "VideoSource | FrameFolder":
    """Open a video or a folder of numbered frames.

    Args:
        path: a video that FFmpeg decodes, or a folder of png, jpg, bmp, tif or webp files whose
            names differ in their number.
        fps: frames per second of a folder (24 where None); a video has its own.

    Returns:
        A source with `path`, `width`, `height` (upright pixels), `fps` (mean rate, Fraction),
        `count` (number of frames that the file states, or None), `frames()`, an iterator of
        (H, W, 3) uint8 RGB, and `timed()`, an iterator of (frame, seconds as a Fraction), times
        rising. `decoded()` is `timed()` with a `DecodedFrame` for each frame of a video.

    Raises:
        LiftError: the path does not exist, is no video, holds no frames, a number is missing or
            there twice. The iterators raise it where a file is damaged or the size changes.
    """
    path = Path(path)
    if not path.exists():
        raise LiftError(
            f"{path}: no such file or folder; give a video or a folder of numbered frames"
        )
    return FrameFolder(path, fps) if path.is_dir() else VideoSource.open(path)


@dataclass(frozen=True)
class VideoSource:
    """The first video stream of a file; see `open_frames`.

    Attributes:
        time_base: seconds in one tick of the file's clock.
        aspect: width of an upright pixel over its height.
        primaries, transfer: colour tags by their numbers in ISO/IEC 23091-2; 2 where untagged.
        coding: matrix and range of the frames.
        notes: always empty.
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
    coding: YuvCoding
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path) -> "VideoSource":
        """Decode the first frame of a file and read its properties."""
        with open_container(path) as container:
            stream = video_stream(path, container)
            frame = next(decode_frames(path, container, stream), None)
            if frame is None:
                raise LiftError(f"{path}: no frame in this video can be decoded; give another file")
            orientation = orientation_of(frame)
            height, width = orientation.size(frame.height, frame.width)
            aspect = Fraction(stream.sample_aspect_ratio or 1)
            fps = stream.average_rate or stream.guessed_rate or stream.base_rate or FOLDER_FPS
            return cls(
                path=path,
                width=width,
                height=height,
                fps=Fraction(fps),
                count=stream.frames or None,
                time_base=Fraction(stream.time_base),
                aspect=1 / aspect if orientation.transpose else aspect,
                primaries=int(frame.color_primaries),
                transfer=int(frame.color_trc),
                coding=YuvCoding() if frame.format.is_rgb else coding_of(frame),
            )

    def frames(self) -> Iterator[np.ndarray]:
        """All frames in order, each (H, W, 3) uint8 RGB."""
        return (frame.rgb for frame, _ in self._decoded(with_yuv=False))

    def timed(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        """All frames in order, each with its time in seconds."""
        return ((frame.rgb, time) for frame, time in self._decoded(with_yuv=False))

    def decoded(self) -> Iterator[tuple[DecodedFrame, Fraction]]:
        """All frames in order, as RGB and YUV, each with its time in seconds."""
        return self._decoded(with_yuv=True)

    def _decoded(self, with_yuv: bool) -> Iterator[tuple[DecodedFrame, Fraction]]:
        to_frame = FrameConverter()
        with open_container(self.path) as container:
            stream = video_stream(self.path, container)
            last = None
            for count, frame in enumerate(decode_frames(self.path, container, stream)):
                decoded = to_frame(frame, with_yuv and coding_of(frame) == self.coding)
                height, width = decoded.rgb.shape[:2]
                if (height, width) != (self.height, self.width):
                    raise LiftError(
                        f"{self.path}: the frame size changes from {self.width}x{self.height} to "
                        f"{width}x{height} at frame {count}; re-encode the video to one size"
                    )
                time = _seconds(frame, stream)
                if last is not None and (time is None or time <= last):
                    time = last + 1 / self.fps  # no usable time: go on at the mean rate
                last = Fraction(0) if time is None else time
                yield decoded, last
            end = _stated_end(stream)
            if end is not None and last is not None and last + 1 / self.fps < end - MISSING_SECONDS:
                raise _truncated(self.path, count + 1, last)


class FrameConverter:
    """From what FFmpeg decodes to upright frames; the same for every reader."""

    def __init__(self):
        self._to_rgb = RgbConverter()

    def __call__(self, frame, with_yuv: bool = False) -> DecodedFrame:
        """An av.VideoFrame as a DecodedFrame."""
        upright = orientation_of(frame).apply
        rgb = np.ascontiguousarray(upright(self._to_rgb(frame)))
        planes = None
        if with_yuv:
            planes = yuv_planes(frame, full_chroma=bool(frame.height % 2 or frame.width % 2))
        if planes is not None:  # copies: the decoder reuses its memory
            planes = tuple(upright(plane).copy() for plane in planes)
        return DecodedFrame(rgb, planes)


def open_container(path: Path):
    """Open a video file (av.container.InputContainer).

    Raises:
        LiftError: PyAV is missing, or the file cannot be read as a video.
    """
    av = require("av", "reading a video")
    try:
        return av.open(str(path.resolve()))  # relative, a colon would mark a protocol
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, (PermissionError, IsADirectoryError)):
            raise LiftError(
                f"{path}: cannot be opened ({error.strerror}); make it readable"
            ) from error
        raise LiftError(
            f"{path}: not a readable video (damaged, truncated, or another kind of file); "
            "give a video that plays"
        ) from error


def video_stream(path: Path, container):
    """The first video stream that is not a cover picture.

    Raises:
        LiftError: there is none.
    """
    for stream in container.streams.video:
        disposition = getattr(stream.disposition, "value", stream.disposition)
        if not disposition & ATTACHED_PICTURE:
            stream.thread_type = "AUTO"
            return stream
    raise LiftError(f"{path}: no video stream in this file; give a video")


def decode_frames(path: Path, container, stream) -> Iterator:
    """Decoded frames (av.VideoFrame) in the order in which they are displayed.

    A recording may begin inside a group of pictures: frames that cannot be decoded are skipped at
    the beginning.

    Raises:
        LiftError: a packet or frame after the first is damaged.
    """
    av = require("av", "reading a video")
    count, time = 0, Fraction(0)
    packets = container.demux(stream)
    while True:
        packet = None
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except av.error.FFmpegError as error:
            if isinstance(error, EOFError):
                return
            if count or isinstance(error, OSError):
                raise _truncated(path, count, time) from error
            frames, packet = [], None
        for frame in frames:
            if frame.is_corrupt and count == 0:
                continue
            if frame.is_corrupt:
                raise _truncated(path, count, time)
            count += 1
            time = _seconds(frame, stream, time)
            yield frame
        if packet is not None and packet.is_corrupt and count:
            raise _truncated(path, count, time)


def orientation_of(frame) -> Orientation:
    """How a decoded frame becomes upright, by the file's display matrix."""
    for data in frame.side_data:
        if getattr(data.type, "name", "") == "DISPLAYMATRIX":
            return of_display_matrix(bytes(data))
    return UPRIGHT


def _seconds(frame, stream, missing: Fraction | None = None) -> Fraction | None:
    if frame.pts is None:
        return missing
    return frame.pts * Fraction(frame.time_base or stream.time_base)


def _truncated(path: Path, count: int, time: Fraction) -> LiftError:
    return LiftError(
        f"{path}: damaged or truncated after frame {count} ({float(time):.2f} s); "
        "copy the file again, or re-encode the part that plays"
    )


def _stated_end(stream) -> Fraction | None:
    """Seconds at which a Matroska file states that the stream ends.

    In other containers FFmpeg itself reports a truncated file.
    """
    match = re.fullmatch(r"(\d+):(\d+):(\d+)(\.\d+)?", stream.metadata.get("DURATION", ""))
    if match is None:
        return None
    hours, minutes, seconds, rest = match.groups()
    whole = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    return whole + Fraction(rest or 0)
