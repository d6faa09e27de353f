"""A folder of numbered image files as a sequence of frames: in order, or by index.

Which files are frames, and in which order, is the rule of `lift.io.numbering`, the same for every
command.
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from lift.config import InferenceConfig
from lift.errors import LiftError
from lift.io.bit_depth import deepest, opaque, with_depth
from lift.io.decoded_frame import DecodedFrame, ReadReport
from lift.io.image_headers import has_other_colors
from lift.io.images import (
    IMAGE_SUFFIXES,
    check_complete,
    decode_image,
    image_depth,
    image_size,
    is_image,
    read_image,
)
from lift.io.numbering import numbered_files

FOLDER_FPS = Fraction(InferenceConfig.folder_fps)
OTHER_COLORS = "the images have a colour profile, which is left out: colours are taken as sRGB"
ACCEPTED = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)


class FrameFolder:
    """Numbered images at a constant rate.

    Args:
        path: the folder.
        fps: frames per second; 24 where None.
        name: for messages; the folder's own when None.
        check_files: read the header and the end of every file now; else a truncated file or a
            frame of another size is found when it is read.
        gaps: "error" refuses numbers that do not rise by one; "sort" takes the files in natural
            order whatever their numbers; "time" displays the frame of number k at k / fps, so that
            missing frames make longer intervals.

    Attributes:
        files: the images in their order.
        width, height: of the upright frames, pixels.
        timestamps: seconds of every frame where they are not evenly spaced, else None.
        suffix: ending of the first file's name, such as ".png".
        cuts, duplicates: indices of frames that open a shot; that repeat the one before.
        notes: sentences on images that were left out.
        report: what reading the frames has shown; each iterator starts it anew.

    Raises:
        LiftError: no numbered image, a number is missing or there twice, names that begin
            differently, a file that is no image, frames of two sizes.
    """

    def __init__(
        self,
        path: str | Path,
        fps: Fraction | None = None,
        *,
        name: str | None = None,
        check_files: bool = False,
        gaps: str = "error",
    ):
        path = Path(path)
        images = list_images(path)
        if not images:
            raise LiftError(
                f"{path}: no frames in this folder; numbered {ACCEPTED} files are accepted"
            )
        found = numbered_files(path, images, gaps)
        self._open(path, found.files, fps, name or path.name, check_files)
        self.notes = [*found.notes, *self.notes]
        if found.numbers is not None:
            first = found.numbers[0]
            self.timestamps = tuple((number - first) / self.fps for number in found.numbers)

    @classmethod
    def of_files(cls, paths: Sequence[str | Path], fps: Fraction | None = None) -> "FrameFolder":
        """Image files in the order in which they are given, whatever their names.

        Raises:
            LiftError: there is none, a file is no image, or their sizes differ.
        """
        files = [Path(path) for path in paths]
        if not files:
            raise LiftError("no image was given; give two or more")
        folder = cls.__new__(cls)
        folder._open(files[0].parent, files, fps, files[0].name, check_files=True)
        return folder

    def _open(
        self, path: Path, files: list[Path], fps: Fraction | None, name: str, check_files: bool
    ) -> None:
        self.path, self.files, self.name = path, files, name
        self.fps = FOLDER_FPS if fps is None else Fraction(fps)
        self.height, self.width = image_size(files[0])
        self.suffix = files[0].suffix.lower()
        self.timestamps: tuple[Fraction, ...] | None = None
        self.notes: list[str] = [OTHER_COLORS] if has_other_colors(files[0]) else []
        self.report = ReadReport()
        self.cuts: tuple[int, ...] = ()
        self.duplicates: tuple[int, ...] = ()
        for file in files if check_files else ():
            check_complete(file)
            self._check_size(file, image_size(file))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.height, self.width

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.files)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def dtype(self) -> np.dtype:
        """dtype of the pixels of `decoded`: that of the deepest file."""
        return self._depth_and_alpha[0]

    @property
    def has_alpha(self) -> bool:
        """Whether the frames of `decoded` have alpha: whether any file has."""
        return self._depth_and_alpha[1]

    @cached_property
    def _depth_and_alpha(self) -> tuple[np.dtype, bool]:
        # programs that optimize images store an opaque or grey frame with fewer channels and bits
        found = [image_depth(file) for file in self.files]
        return deepest(kind for kind, _ in found), any(alpha for _, alpha in found)

    def frames(self) -> Iterator[np.ndarray]:
        """All frames in order, each (H, W, 3) uint8 RGB.

        Raises:
            LiftError: a file is no image or has another size than the first one.
        """
        return (frame for frame, _ in self.timed())

    def timed(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        """All frames in order, each with its time in seconds."""
        for file, time in self._timed_files():
            yield self._read(file), time

    def decoded(self) -> Iterator[tuple[DecodedFrame, Fraction]]:
        """All frames in order as the files store them, each with its time in seconds.

        Pixels have this folder's `dtype`, and alpha where it `has_alpha`.

        Raises:
            LiftError: a file is no image or has another size than the first one.
        """
        for file, time in self._timed_files():
            yield self._decode(file), time

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """These frames, (n, H, W, 3) uint8 RGB.

        Raises:
            LiftError: a file is no image or has another size than the first one.
        """
        return np.stack([self._read(self.files[i]) for i in indices])

    def _timed_files(self) -> Iterator[tuple[Path, Fraction]]:
        self.report = ReadReport()
        for k, file in enumerate(self.files):
            time = k / self.fps if self.timestamps is None else self.timestamps[k]
            self.report.end = time + 1 / self.fps
            yield file, time

    def _read(self, file: Path) -> np.ndarray:
        frame = read_image(file)
        self._check_size(file, frame.shape[:2])
        return frame

    def _decode(self, file: Path) -> DecodedFrame:
        frame = decode_image(file)
        self._check_size(file, frame.rgb.shape[:2])
        frame = with_depth(frame, self.dtype)
        if frame.alpha is None and self.has_alpha:
            frame = DecodedFrame(frame.rgb, None, opaque(self.size, self.dtype))
        return frame

    def _check_size(self, file: Path, size: tuple[int, int]) -> None:
        if size != self.size:
            raise LiftError(
                f"{self.path}: frames of two sizes, {self.files[0].name} is "
                f"{self.width}x{self.height} and {file.name} is {size[1]}x{size[0]}; "
                "resize them to one size or put them in two folders"
            )


def list_images(folder: Path) -> list[Path]:
    """The image files right inside `folder`, sorted by name; hidden ones are left out."""
    return sorted(p for p in folder.iterdir() if is_image(p) and p.is_file())


def is_frame_folder(folder: Path) -> bool:
    """Whether a folder directly holds at least two images with a number."""
    return sum(1 for p in folder.iterdir() if is_image(p) and re.search(r"\d", p.stem)) >= 2
