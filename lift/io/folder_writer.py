"""Frames to a folder of numbered images, which appears under its name when it is complete.

`PartFolder` writes frames under their numbers into a work folder, `publish` moves it to its name.
"""

import os
import shutil
import uuid
from pathlib import Path

import numpy as np

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
    """A work folder that receives frames, each under its number, in any order.

    Args:
        work: the folder; it is made.
        image_format: kind of the files.
        target: the final folder, for messages.

    Raises:
        LiftError: the folder cannot be made.
    """

    def __init__(self, work: Path, image_format: ImageFormat, target: Path):
        self.work, self.format, self.target = work, image_format, target
        try:
            work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(target, error) from error

    def file(self, number: int) -> Path:
        """Where the frame of this number is, or will be."""
        return self.work / f"{number:0{DIGITS}d}{self.format.suffix}"

    def write(self, frame: np.ndarray | DecodedFrame, number: int) -> None:
        """Write a frame, (H, W, 3) uint8, uint16 or float32 (scene-linear) RGB.

        Raises:
            LiftError: the disk is full, or the folder cannot be written.
        """
        frame = frame if isinstance(frame, DecodedFrame) else DecodedFrame(frame)
        data = self.format.encode(frame)
        try:
            self.file(number).write_bytes(data)  # cv2.imwrite does not report a full disk
        except OSError as error:
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
