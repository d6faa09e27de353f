"""Frames to a video file (H.264) or a folder of PNG images; an output appears when complete.

H.264 with halved chroma (yuv420p) has no odd sides. A video with an odd side is written with full
chroma (yuv444p), which some hardware players do not support.
"""

import os
import shutil
import uuid
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import numpy as np

from lift.config import InferenceConfig
from lift.errors import LiftError
from lift.files import atomic
from lift.io.color import (
    BT709,
    FULL,
    LIMITED,
    UNSPECIFIED,
    YuvCoding,
    planes_to_frame,
    rgb_to_frame,
)
from lift.io.decode import DecodedFrame, VideoSource, rgb_of
from lift.io.images import IMAGE_SUFFIXES
from lift.io.optional import require
from lift.io.remux import StreamCopy

OUTPUT_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
DIGITS = 6


def is_video_name(path: Path) -> bool:
    """Whether `path` asks for a video (else a folder of frames).

    Raises:
        LiftError: a suffix that is neither.
    """
    suffix = path.suffix.lower()
    if suffix in OUTPUT_SUFFIXES:
        if path.is_dir():
            raise LiftError(
                f"{path}: is a folder; give a file name, or a folder name without {suffix}"
            )
        return True
    if suffix and not path.is_dir():
        raise LiftError(
            f"{path}: videos are written as {', '.join(OUTPUT_SUFFIXES)}; "
            "a name without a suffix gives a folder of frames"
        )
    return False


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Check that writing `path` replaces nothing but an earlier output, and that only on request.

    Raises:
        LiftError: `path` exists and `overwrite` is false, or it is a folder with more than images.
    """
    if path.is_dir():
        entries = [p for p in path.iterdir() if not p.name.startswith(".")]
        others = [p for p in entries if p.suffix.lower() not in IMAGE_SUFFIXES or p.is_dir()]
        if others:
            raise LiftError(
                f"{path}: this folder holds more than frames ({others[0].name}); "
                "choose a new folder"
            )
        if entries and not overwrite:
            raise LiftError(
                f"{path}: this folder is not empty; "
                "choose a new one, or pass --overwrite to replace it"
            )
    elif path.exists() and not overwrite:
        raise LiftError(
            f"{path}: this file exists; choose another name, or pass --overwrite to replace it"
        )


def _unwritten(path: Path, error: Exception) -> LiftError:
    cause = getattr(error, "strerror", None) or str(error)
    return LiftError(
        f"{path}: could not be written ({cause}); nothing was left under this name, "
        "free some space or choose another disk"
    )


class VideoWriter:
    """An H.264 file in MP4, MOV or Matroska; a context manager.

    The file appears when the block ends without an error.

    Args:
        path: the file; its suffix chooses the container.
        width, height: of every frame, pixels.
        rate: nominal frames per second.
        time_base: seconds of one tick; every time must be a multiple of it (the nearest tick is
            taken). Matroska rounds to milliseconds.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        source: video whose audio, subtitles, pixel aspect, colour tags, matrix and range are kept;
            BT.709 in limited range where None.
        overwrite: replace an existing file.

    Attributes:
        notes: sentences on streams that the container does not support, once the block has ended.

    Raises:
        LiftError: the file exists, no encoder, a full disk.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        rate: Fraction,
        time_base: Fraction,
        *,
        crf: int = InferenceConfig.crf,
        source: VideoSource | None = None,
        overwrite: bool = False,
    ):
        self.path = Path(path)
        if not 0 <= crf <= 51:
            raise LiftError(f"crf must be 0 (lossless) to 51 (worst), got {crf}")
        refuse_existing(self.path, overwrite)
        self.width, self.height = width, height
        self.rate, self.time_base = rate, time_base
        self.crf, self.source = crf, source
        self.coding = YuvCoding() if source is None else source.coding
        self.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        self.notes: list[str] = []
        self.written = 0

    def __enter__(self) -> "VideoWriter":
        self._av = require("av", "writing a video")
        with ExitStack() as stack:
            try:
                part = stack.enter_context(atomic(self.path))
                self._container = self._av.open(str(part.resolve()), "w")
                stack.callback(self._close_quietly)
                self._stream = self._add_stream()
                self._copy = None
                if self.source is not None:
                    self._copy = StreamCopy(self._av, self.source.path, self._container)
                    stack.callback(self._copy.close)
            except (self._av.error.FFmpegError, OSError) as error:
                raise _unwritten(self.path, error) from error
            self._stack = stack.pop_all()
        return self

    def _add_stream(self):
        try:
            stream = self._container.add_stream(
                "libx264", rate=self.rate, options={"crf": str(self.crf)}
            )
        except (ValueError, LookupError, self._av.error.FFmpegError) as error:
            raise LiftError(
                f"{self.path}: this PyAV has no encoder libx264 ({error}); "
                "install PyAV's own wheel (pip install av), or write a folder of frames"
            ) from error
        stream.width, stream.height = self.width, self.height
        stream.pix_fmt = self.pix_fmt
        codec = stream.codec_context
        codec.time_base = self.time_base
        codec.colorspace = self.coding.matrix
        codec.color_range = FULL if self.coding.full_range else LIMITED
        codec.color_primaries = codec.color_trc = BT709
        if self.source is None:
            return stream
        if self.source.primaries not in (0, UNSPECIFIED):
            codec.color_primaries = self.source.primaries
        if self.source.transfer not in (0, UNSPECIFIED):
            codec.color_trc = self.source.transfer
        if self.source.aspect != 1:
            codec.sample_aspect_ratio = self.source.aspect
        return stream

    def write(self, frame: np.ndarray | DecodedFrame, time: Fraction) -> None:
        """Append a frame that is displayed from `time` (seconds) on; times must rise.

        Args:
            frame: (H, W, 3) uint8 RGB, or a frame of `source`, whose YUV is then encoded unchanged.
            time: a multiple of `time_base`.
        """
        rgb = rgb_of(frame)
        if rgb.shape != (self.height, self.width, 3) or rgb.dtype != np.uint8:
            raise ValueError(
                f"VideoWriter.write: frame must be ({self.height}, {self.width}, 3) uint8, "
                f"got {rgb.shape} {rgb.dtype}"
            )
        if self.source is not None and isinstance(frame, DecodedFrame) and frame.yuv is not None:
            video_frame = planes_to_frame(frame.yuv, self.pix_fmt, self.coding)
        else:
            video_frame = rgb_to_frame(rgb, self.pix_fmt, self.coding)
        video_frame.pts, video_frame.time_base = round(time / self.time_base), self.time_base
        try:
            self._container.mux(self._stream.encode(video_frame))
            if self._copy is not None:
                self._copy.copy_until(time)
        except (self._av.error.FFmpegError, OSError) as error:
            raise _unwritten(self.path, error) from error
        self.written += 1

    def __exit__(self, kind, error, trace) -> None:
        try:
            # closes the container, then moves the file to its name, or deletes it
            with self._stack:
                if error is not None:
                    raise error
                self._finish()
        except (self._av.error.FFmpegError, OSError) as failure:
            if failure is error:
                raise
            raise _unwritten(self.path, failure) from failure

    def _finish(self) -> None:
        if self.written == 0:
            raise LiftError(f"{self.path}: no frame was written, so there is no video")
        self._container.mux(self._stream.encode(None))
        if self._copy is not None:
            self._copy.copy_until(None)
            self.notes += self._copy.notes
        self._container.close()

    def _close_quietly(self) -> None:
        try:
            # a second close does nothing; after a failure it may fail again
            self._container.close()
        except (self._av.error.FFmpegError, OSError):
            pass


class FolderWriter:
    """A folder of numbered PNG images; a context manager.

    The folder appears when the block ends without an error.

    Args:
        path: the folder; parents are made.
        overwrite: replace a folder that holds images only; any other content is never touched.

    Raises:
        LiftError: the folder is not empty, or the disk is full.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False):
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise LiftError(f"{self.path}: is a file; give a folder for the frames")
        refuse_existing(self.path, overwrite)
        self.notes: list[str] = []
        self.written = 0

    def __enter__(self) -> "FolderWriter":
        self._part = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            self._part.mkdir(parents=True)
        except OSError as error:
            raise _unwritten(self.path, error) from error
        return self

    def write(self, frame: np.ndarray | DecodedFrame, time: Fraction | None = None) -> None:
        """Append a frame, (H, W, 3) uint8 RGB, under the next number; images carry no time."""
        cv2 = require("cv2", "writing an image")
        data = cv2.imencode(".png", np.ascontiguousarray(rgb_of(frame)[..., ::-1]))[1]
        file = self._part / f"{self.written:0{DIGITS}d}.png"
        try:
            file.write_bytes(data.tobytes())  # cv2.imwrite does not report a full disk
        except OSError as error:
            raise _unwritten(self.path, error) from error
        self.written += 1

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._move()
        except OSError as failure:
            raise _unwritten(self.path, failure) from failure
        finally:
            shutil.rmtree(self._part, ignore_errors=True)

    def _move(self) -> None:
        if not self.path.exists():
            os.replace(self._part, self.path)
            return
        aside = self._part.with_suffix(".old")
        os.replace(self.path, aside)
        try:
            os.replace(self._part, self.path)
        except OSError:
            os.replace(aside, self.path)
            raise
        shutil.rmtree(aside, ignore_errors=True)
