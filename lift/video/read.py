"""Frames in: a video file or a folder of numbered pictures, one frame at a time, each with its
exact time.

Memory does not grow with length. Pixels are RGB, 8 bit; a rotation stored in the file is applied.
PyAV is imported only where a video is opened.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lift.config import InferenceConfig
from lift.errors import LiftError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
FOLDER_FPS = Fraction(InferenceConfig.folder_fps)
MISSING_SECONDS = Fraction(1, 2)  # a video that ends this much before its stated end was cut short


def open_frames(path: str | Path, fps: Fraction | None = None) -> "VideoSource | FolderSource":
    """Open a video or a folder of numbered frames.

    Args:
        path: a video that PyAV reads, or a folder of png, jpg, bmp, tif or webp files whose names
            differ in their number alone.
        fps: frames per second of a folder (24 where None); a video has its own.

    Returns:
        A source with `path`, `width`, `height` (pixels, after rotation), `fps` (Fraction, mean
        rate), `count` (frames as the file states them, or None), `frames()` -> iterator of (H, W,
        3) uint8 RGB, and `timed()` -> iterator of (frame, time in seconds as a Fraction), times
        rising.

    Raises:
        LiftError: nothing there, not a video, no frames in it, a missing or doubled number.
            `frames` and `timed` raise it where a file is damaged or cut short and where the size
            changes.
    """
    path = Path(path)
    if not path.exists():
        raise LiftError(
            f"{path}: no such file or folder; give a video or a folder of numbered frames"
        )
    if path.is_dir():
        return FolderSource(path, _numbered(path), FOLDER_FPS if fps is None else Fraction(fps))
    return VideoSource.open(path)


# -- a folder of numbered pictures -----------------------------------------------------------------


def list_pictures(folder: Path) -> list[Path]:
    """The picture files right inside `folder`, hidden ones left out, in no particular order."""
    return [
        p
        for p in folder.iterdir()
        if p.suffix.lower() in PICTURES and not p.name.startswith(".") and p.is_file()
    ]


def _numbered(folder: Path) -> list[Path]:
    """The pictures of `folder` in the order of their numbers, which must follow each other without
    a gap.
    """
    files = list_pictures(folder)
    if not files:
        raise LiftError(
            f"{folder}: no frames in this folder; numbered {', '.join(s[1:] for s in PICTURES)} files are accepted"
        )
    parts = {f: re.split(r"(\d+)", f.stem) for f in files}  # text, digits, text, ..., text
    first = min(files)
    for f in files:
        if len(parts[f]) < 3:
            raise LiftError(
                f"{f}: no number in the name of this frame; number the frames like 0001.png"
            )
        if parts[f][::2] != parts[first][::2]:
            raise LiftError(
                f"{folder}: {min(f, first).name} and {max(f, first).name} are named differently; "
                "keep one numbered sequence in a folder"
            )
    varying = [
        i for i in range(1, len(parts[first]), 2) if len({int(parts[f][i]) for f in files}) > 1
    ]
    if len(varying) > 1:
        raise LiftError(
            f"{folder}: more than one number varies in the names of its frames ({min(files).name} to {max(files).name}); "
            "keep one numbered sequence in a folder"
        )
    place = varying[0] if varying else len(parts[first]) - 2
    files.sort(key=lambda f: (int(parts[f][place]), f.name))
    for before, after in zip(files, files[1:], strict=False):
        a, b = int(parts[before][place]), int(parts[after][place])
        if a == b:
            raise LiftError(
                f"{folder}: number {a} stands twice, in {before.name} and {after.name}; keep one of them"
            )
        if b != a + 1:
            missing = f"frame {a + 1} is" if b == a + 2 else f"frames {a + 1} to {b - 1} are"
            raise LiftError(
                f"{folder}: {missing} missing between {before.name} and {after.name}; "
                "add what is missing or number the frames without gaps"
            )
    return files


def read_picture(file: Path) -> np.ndarray:
    """One picture file as (H, W, 3) uint8 RGB; 16-bit ones are reduced to 8, alpha is dropped."""
    data = file.read_bytes()
    # OpenCV fills the lost part of a cut file with grey and says nothing: look for the end mark
    end = {b"\x89P": b"IEND", b"\xff\xd8": b"\xff\xd9"}.get(data[:2])
    whole = len(data) > 0 and (end is None or end in data[len(data) // 2 :])
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if whole else None
    if image is None:
        raise LiftError(f"{file}: not a readable picture (damaged or cut short); replace it")
    return np.ascontiguousarray(image[..., ::-1])


@dataclass(frozen=True)
class FolderSource:
    """Numbered pictures at a constant rate; see `open_frames`."""

    path: Path
    files: list[Path] = field(repr=False)
    fps: Fraction
    width: int = field(init=False)
    height: int = field(init=False)

    def __post_init__(self):
        height, width = read_picture(self.files[0]).shape[:2]
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "height", height)

    @property
    def count(self) -> int:
        return len(self.files)

    def frames(self) -> Iterator[np.ndarray]:
        for file in self.files:
            image = read_picture(file)
            if image.shape[:2] != (self.height, self.width):
                raise LiftError(
                    f"{self.path}: frames of two sizes, {self.files[0].name} is {self.width}x{self.height} and {file.name} is "
                    f"{image.shape[1]}x{image.shape[0]}; bring them to one size"
                )
            yield image

    def timed(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        for k, image in enumerate(self.frames()):
            yield image, k / self.fps


# -- a video ---------------------------------------------------------------------------------------


def import_av():
    """PyAV, or one sentence on how to get it."""
    try:
        import av
    except ImportError as error:
        raise LiftError(
            f"reading and writing videos needs PyAV, which cannot be imported ({error}); pip install av, or use folders of "
            "frames"
        ) from error
    return av


@dataclass(frozen=True)
class VideoSource:
    """The first video stream of a file; see `open_frames`.

    Attributes:
        time_base: seconds in one tick of the file's clock.
        aspect: width of a pixel over its height.
        primaries, transfer: colour tags by their numbers in ISO 23091-2; 2 where the file states
            none.
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

    @classmethod
    def open(cls, path: Path) -> "VideoSource":
        av = import_av()
        with _container(av, path) as container:
            stream = _video_stream(path, container)
            frame = next(_decode(av, path, container, stream), None)
            if frame is None:
                raise LiftError(
                    f"{path}: no frame in this video can be decoded; give a video that plays"
                )
            turned = _quarter_turns(frame) % 2 == 1
            size = (frame.height, frame.width) if turned else (frame.width, frame.height)
            aspect = Fraction(stream.sample_aspect_ratio or 1)
            fps = stream.average_rate or stream.guessed_rate or stream.base_rate or FOLDER_FPS
            return cls(
                path,
                *size,
                Fraction(fps),
                stream.frames or None,
                Fraction(stream.time_base),
                1 / aspect if turned else aspect,
                int(frame.color_primaries),
                int(frame.color_trc),
            )

    def frames(self) -> Iterator[np.ndarray]:
        for image, _ in self.timed():
            yield image

    def timed(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        av = import_av()
        with _container(av, self.path) as container:
            stream = _video_stream(self.path, container)
            last = None
            for count, frame in enumerate(_decode(av, self.path, container, stream)):
                image = _rgb(frame)
                if image.shape[:2] != (self.height, self.width):
                    raise LiftError(
                        f"{self.path}: the frame size changes from {self.width}x{self.height} to "
                        f"{image.shape[1]}x{image.shape[0]} at frame {count}; bring the video to one size"
                    )
                time = (
                    None
                    if frame.pts is None
                    else frame.pts * Fraction(frame.time_base or stream.time_base)
                )
                if last is not None and (time is None or time <= last):
                    time = (
                        last + 1 / self.fps
                    )  # no time stated, or one that does not rise: go on at the mean rate
                last = Fraction(0) if time is None else time
                yield image, last
            end = _stated_end(stream)
            if end is not None and last is not None and last + 1 / self.fps < end - MISSING_SECONDS:
                raise _cut_short(self.path, count + 1, last)


def _container(av, path: Path):
    try:
        return av.open(
            str(path.resolve())
        )  # absolute: a colon in a relative name would read as a protocol
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, (PermissionError, IsADirectoryError)):
            raise LiftError(
                f"{path}: cannot be opened ({error.strerror}); make it readable"
            ) from error
        raise LiftError(
            f"{path}: not a readable video (damaged, cut short, or another kind of file); give a video that plays"
        ) from error


def _video_stream(path: Path, container):
    for stream in container.streams.video:
        if (
            not int(getattr(stream, "disposition", 0)) & 0x400
        ):  # 0x400: an attached picture such as a cover
            stream.thread_type = "AUTO"
            return stream
    raise LiftError(f"{path}: no video stream in this file; give a video")


def _decode(av, path: Path, container, stream) -> Iterator:
    """Decoded frames in the order they are shown; a damaged packet after the first frame ends in a
    LiftError.
    """
    count, time = 0, Fraction(0)
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except av.error.FFmpegError as error:
            if isinstance(error, EOFError):
                return
            if count == 0 and not isinstance(
                error, OSError
            ):  # a recording may begin inside a group of pictures
                frames, packet = [], None
            else:
                raise _cut_short(path, count, time) from error
        for frame in frames:
            if frame.is_corrupt and count == 0:
                continue
            if frame.is_corrupt:
                raise _cut_short(path, count, time)
            count += 1
            time = (
                time
                if frame.pts is None
                else frame.pts * Fraction(frame.time_base or stream.time_base)
            )
            yield frame
        if packet is not None and packet.is_corrupt and count:
            raise _cut_short(path, count, time)


def _cut_short(path: Path, count: int, time: Fraction) -> LiftError:
    return LiftError(
        f"{path}: damaged or cut short after frame {count} ({float(time):.2f} s); "
        "get the whole file, or re-encode the part that plays"
    )


def _stated_end(stream) -> Fraction | None:
    """Where a Matroska file says that the stream ends, in seconds; the other containers report the
    damage themselves.
    """
    match = re.fullmatch(r"(\d+):(\d+):(\d+)(\.\d+)?", stream.metadata.get("DURATION", ""))
    if match is None:
        return None
    hours, minutes, seconds, rest = match.groups()
    return Fraction(int(hours) * 3600 + int(minutes) * 60 + int(seconds)) + Fraction(rest or 0)


def _quarter_turns(frame) -> int:
    """Counter-clockwise quarter turns that bring a decoded frame upright."""
    return round(getattr(frame, "rotation", 0) / 90) % 4


def _rgb(frame) -> np.ndarray:
    from av.video.reformatter import Colorspace

    tagged = {
        1: Colorspace.ITU709,
        5: Colorspace.ITU601,
        6: Colorspace.ITU601,
        9: Colorspace.BT2020,
        10: Colorspace.BT2020,
    }
    # untagged: players take the high-definition matrix from 720 lines on
    matrix = tagged.get(
        int(frame.colorspace), Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
    )
    image = (
        frame if frame.format.is_rgb else frame.reformat(format="rgb24", src_colorspace=matrix)
    ).to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(image, _quarter_turns(frame)))
