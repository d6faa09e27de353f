"""A folder of numbered image files as a sequence of frames: in order, or by index.

The numbering rule, the same for every command: names begin alike and differ in one number, which
rises by one from frame to frame, padded or not. Images without a number are left out.
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from lift.config import InferenceConfig
from lift.errors import LiftError
from lift.io.images import IMAGE_SUFFIXES, image_size, is_image, read_image

FOLDER_FPS = Fraction(InferenceConfig.folder_fps)
ACCEPTED = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)


class FrameFolder:
    """Numbered images at a constant rate.

    Args:
        path: the folder.
        fps: frames per second; 24 where None.
        name: for messages; the folder's own when None.
        check_sizes: read the header of every file now; else a frame of another size is found when
            it is read.

    Attributes:
        files: the images in the order of their numbers.
        width, height: of the upright frames, pixels.
        cuts, duplicates: indices of frames that open a shot; that repeat the one before.
        notes: sentences on images that were left out.

    Raises:
        LiftError: no numbered image, a number is missing or there twice, names that begin
            differently, a file that is no image, frames of two sizes.
    """

    timestamps = None  # evenly spaced

    def __init__(
        self,
        path: str | Path,
        fps: Fraction | None = None,
        *,
        name: str | None = None,
        check_sizes: bool = False,
    ):
        self.path = Path(path)
        self.name = name or self.path.name
        self.fps = FOLDER_FPS if fps is None else Fraction(fps)
        self.files, self.notes = _numbered(self.path)
        self.height, self.width = image_size(self.files[0])
        self.cuts: tuple[int, ...] = ()
        self.duplicates: tuple[int, ...] = ()
        for file in self.files[1:] if check_sizes else ():
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

    def frames(self) -> Iterator[np.ndarray]:
        """All frames in order, each (H, W, 3) uint8 RGB.

        Raises:
            LiftError: a file is no image or has another size than the first one.
        """
        return (self._read(file) for file in self.files)

    def timed(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        """All frames in order, each with its time in seconds."""
        return ((frame, k / self.fps) for k, frame in enumerate(self.frames()))

    decoded = timed  # images have no YUV planes to pass on

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """These frames, (n, H, W, 3) uint8 RGB.

        Raises:
            LiftError: a file is no image or has another size than the first one.
        """
        return np.stack([self._read(self.files[i]) for i in indices])

    def _read(self, file: Path) -> np.ndarray:
        frame = read_image(file)
        self._check_size(file, frame.shape[:2])
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


def _numbered(folder: Path) -> tuple[list[Path], list[str]]:
    """The numbered images of `folder` in order, and a note on those without a number."""
    images = list_images(folder)
    files = [file for file in images if re.search(r"\d", file.stem)]
    if not images:
        raise LiftError(
            f"{folder}: no frames in this folder; numbered {ACCEPTED} files are accepted"
        )
    if not files:
        raise LiftError(
            f"{images[0]}: no number in the name of this frame; number the frames like 0001.png"
        )
    numbers = _frame_numbers(folder, files)
    files.sort(key=numbers.__getitem__)
    for before, after in zip(files, files[1:], strict=False):
        _check_step(folder, before, after, numbers[before], numbers[after])
    others = [file.name for file in images if file not in numbers]
    if not others:
        return files, []
    return files, [f"{len(others)} image(s) without a number left out ({others[0]})"]


def _frame_numbers(folder: Path, files: list[Path]) -> dict[Path, int]:
    """The number of each file: the first one in the names that is not the same in all."""
    parts = {file: re.split(r"(\d+)", file.stem) for file in files}  # text, digits, text, ...
    groups = min(len(each) for each in parts.values()) // 2
    values = [{file: int(parts[file][2 * g + 1]) for file in files} for g in range(groups)]
    varying = [g for g in range(groups) if len(set(values[g].values())) > 1]
    varying_group = varying[0] if varying else groups - 1
    first = files[0]
    for file in files:
        if parts[file][: 2 * varying_group + 1 : 2] != parts[first][: 2 * varying_group + 1 : 2]:
            raise LiftError(
                f"{folder}: {first.name} and {file.name} are named differently; "
                "keep one numbered sequence in a folder"
            )
    if len(varying) > 1:
        raise LiftError(
            f"{folder}: more than one number varies in the names of its frames "
            f"({first.name} to {files[-1].name}); keep one numbered sequence in a folder"
        )
    return values[varying_group]


def _check_step(folder: Path, before: Path, after: Path, a: int, b: int) -> None:
    if a == b:
        raise LiftError(
            f"{folder}: {before.name} and {after.name} have the same number {a}; keep one of them"
        )
    if b != a + 1:
        missing = f"frame {a + 1} is" if b == a + 2 else f"frames {a + 1} to {b - 1} are"
        raise LiftError(
            f"{folder}: {missing} missing between {before.name} and {after.name}; "
            "add what is missing, or number the frames without gaps"
        )
