"""Frames to a folder of numbered images, which appears under its name when it is complete.

The parts are of use alone: `PartFolder` writes frames under their final numbers into a work folder,
also of a run that goes on with what an earlier one left there, and `publish` moves it to its name.
"""

import os
import shutil
import uuid
from fractions import Fraction
from pathlib import Path

import numpy as np

from lift.errors import LiftError
from lift.files import write_error
from lift.io.decoded_frame import DecodedFrame
from lift.io.image_format import ImageFormat
from lift.io.names import refuse_existing

DIGITS = 6
SHORT_NAME = 64  # bytes that a hidden name may have, however short the final one is


def work_name(path: Path) -> Path:
    """A new hidden name beside `path`, no longer than the final one, or than a short one."""
    tail = f".{uuid.uuid4().hex[:8]}.part"
    longest = max(len(os.fsencode(path.name)), SHORT_NAME)
    stem = os.fsencode(path.name)[: longest - len(tail) - 1]
    return path.with_name("." + stem.decode(errors="ignore") + tail)


class PartFolder:
    """A work folder that receives frames, each under its final number, in any order.

    Each file appears when it is complete.

    Args:
        work: the folder; it is made, and may hold frames of an earlier run.
        image_format: kind of the files.
        target: the final folder, for messages.

    Raises:
        LiftError: the folder cannot be made.
    """

    def __init__(self, work: Path, image_format: ImageFormat, target: Path):
        self.work, self.format, self.target = work, image_format, target
        try:
            work.mkdir(parents=True, exist_ok=True)
            for leftover in work.glob(".*.part"):
                leftover.unlink()
        except OSError as error:
            raise write_error(target, error) from error

    def file(self, number: int) -> Path:
        """Where the frame of this number is, or will be."""
        return self.work / f"{number:0{DIGITS}d}{self.format.suffix}"

    def has(self, number: int) -> bool:
        """Whether the frame of this number is there."""
        return self.file(number).exists()

    def write(self, frame: np.ndarray | DecodedFrame, number: int) -> None:
        """Write a frame, (H, W, 3) uint8, uint16 or float32 (scene-linear) RGB.

        Raises:
            LiftError: the disk is full, or the folder cannot be written.
        """
        frame = frame if isinstance(frame, DecodedFrame) else DecodedFrame(frame)
        data, file = self.format.encode(frame), self.file(number)
        part = file.with_name(f".{file.name}.part")
        try:
            part.write_bytes(data)  # cv2.imwrite does not report a full disk
            os.replace(part, file)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise write_error(self.target, error) from error


def publish(work: Path, path: Path, overwrite: bool = False) -> None:
    """Move a complete work folder to its name, in the place of an earlier output.

    Raises:
        LiftError: `path` holds more than images, or images and `overwrite` is false; it cannot be
            moved. `path` is then unchanged.
    """
    refuse_existing(path, overwrite)
    try:
        if not path.exists():
            os.replace(work, path)
            return
        aside = work_name(path)
        os.replace(path, aside)
        try:
            os.replace(work, path)
        except OSError:
            os.replace(aside, path)
            raise
    except OSError as error:
        raise write_error(path, error) from error
    shutil.rmtree(aside, ignore_errors=True)


class FolderWriter:
    """A folder of numbered images; a context manager.

    The folder appears when the block ends without an error.

    Args:
        path: the folder; parents are made.
        image_format: kind of the files; png where None.
        overwrite: replace a folder that holds images only; any other content is never touched.

    Attributes:
        notes: sentences on what the files do not hold of the frames.
        written: number of frames so far.

    Raises:
        LiftError: the folder is not empty, or cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        image_format: ImageFormat | None = None,
        *,
        overwrite: bool = False,
    ):
        self.path = Path(path)
        self.format = image_format or ImageFormat()
        self.overwrite = overwrite
        if str(path) == "-":
            raise LiftError("-: frames cannot be written to a pipe; give a folder for the frames")
        try:
            if self.path.exists() and not self.path.is_dir():
                raise LiftError(f"{self.path}: is a file; give a folder for the frames")
            refuse_existing(self.path, overwrite)
        except OSError as error:  # a name that is too long
            raise write_error(self.path, error) from error
        self.notes: list[str] = []
        self.written = 0

    def __enter__(self) -> "FolderWriter":
        self._work = work_name(self.path)
        self._part = PartFolder(self._work, self.format, self.path)
        return self

    def write(self, frame: np.ndarray | DecodedFrame, time: Fraction | None = None) -> None:
        """Append a frame, (H, W, 3) RGB, under the next number; images carry no time."""
        frame = frame if isinstance(frame, DecodedFrame) else DecodedFrame(frame)
        for note in self.format.notes(frame.rgb.dtype, frame.alpha is not None):
            if note not in self.notes:
                self.notes.append(note)
        self._part.write(frame, self.written)
        self.written += 1

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                publish(self._work, self.path, self.overwrite)
        finally:
            shutil.rmtree(self._work, ignore_errors=True)
