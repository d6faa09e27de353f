"""Small folders in the layouts of published test sets."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from tests.support.video_samples import moving_frames


def write(paths: Iterable[Path], height: int = 16, width: int = 24) -> None:
    """Frames of a moving texture, one a path, in the order of the paths."""
    paths = list(paths)
    frames = moving_frames(len(paths), height, width)
    for path, frame in zip(paths, frames, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), frame[..., ::-1])


def touch(paths: Iterable[Path]) -> None:
    """Empty files, where only names count."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(sample) -> tuple[list[str], list[float], str]:
    """Names of the input frames, their times, and the name of the true frame."""
    return [frame.path.name for frame in sample.inputs], list(sample.times), sample.truth.path.name


def texture(*size: int) -> np.ndarray:
    """(H, W, 3) uint8 noise."""
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


UCF101_FILES = ("frame_00.png", "frame_01_gt.png", "frame_02.png")


def ucf101_folder(root: Path, numbers: Iterable[int], size: int = 256) -> Path:
    """Triplets of protocol ucf101, each of another colour."""
    for number in numbers:
        tint = (60 + number % 128, 90, 60)
        for name, frame in zip(UCF101_FILES, moving_frames(3, size, size, tint), strict=True):
            path = root / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), frame[..., ::-1])
    return root
