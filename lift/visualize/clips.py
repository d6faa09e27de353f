"""The inputs of the pictures: targets of a clip and the frames around them, one target at a time.

A target is a frame of the clip, so that the truth is known: every second frame is dropped, as
protocol `real16` does. Frame k is interpolated from k - 1 and k + 1, with k ± 3, k ± 5, ... as
context, within the shot.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lift.errors import LiftError
from lift.evaluation.protocols.real16 import context_indices
from lift.io.decode import open_frames
from lift.io.optional import require
from lift.scenes.detector import CutDetector

SMALLEST = 16  # pixels a side; SSIM needs more than ten
Progress = Callable[[Iterable], Iterable]


@dataclass(frozen=True)
class ClipTarget:
    """A target and its input frames.

    Attributes:
        number: of the target in the clip, from 0.
        indices: (T,), numbers of the input frames, ascending.
        times: (T,), in units of the reference interval, the references at 0 and 1.
        left: position of the left reference among the inputs.
        frames: (T, H, W, 3) uint8 RGB.
        truth: (H, W, 3) uint8 RGB, the target.
    """

    number: int
    indices: tuple[int, ...]
    times: tuple[float, ...]
    left: int
    frames: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class ClipSource:
    """A video or a folder of frames, and what is known after reading it once.

    Attributes:
        path: of the video or the folder.
        count: number of frames.
        source_size: (H, W) of its frames, pixels.
        size: (H, W) to which they are reduced.
        cuts: the first frame of each new shot.
    """

    path: Path
    count: int
    source_size: tuple[int, int]
    size: tuple[int, int]
    cuts: tuple[int, ...]

    def is_target(self, k: int) -> bool:
        """Whether frame k has a neighbour of its own shot on both sides."""
        return 1 <= k < self.count - 1 and k not in self.cuts and k + 1 not in self.cuts

    def check_target(self, k: int) -> None:
        """Raise a LiftError where frame k cannot be a target."""
        if self.is_target(k):
            return
        if not 0 <= k < self.count:
            cause = f"the clip has the frames 0 to {self.count - 1}"
        elif k in (0, self.count - 1):
            cause = "it has no neighbour on one side"
        else:
            cause = "a cut lies beside it, across which nothing is interpolated"
        raise LiftError(
            f"{self.path}: frame {k} cannot be a target: {cause}; choose another --frame"
        )

    def check_point(self, point: tuple[int, int]) -> None:
        """Raise a LiftError where (x, y), in pixels of the source's frames, lies outside them."""
        height, width = self.source_size
        if point[0] >= width or point[1] >= height:
            raise LiftError(
                f"{self.path}: --point {point[0]},{point[1]} lies outside of its frames of "
                f"{width}x{height}; X is 0 to {width - 1} and Y 0 to {height - 1}"
            )

    def spread_targets(self, count: int) -> list[int]:
        """At most `count` targets, evenly spread over the frames that can be one.

        Raises:
            LiftError: no frame can be a target.
        """
        valid = [k for k in range(self.count) if self.is_target(k)]
        if not valid:
            raise LiftError(
                f"{self.path}: no frame has a neighbour on both sides in {self.count} frames; "
                "give a clip with a shot of three frames or more"
            )
        positions = np.linspace(0, len(valid) - 1, count + 2)[1:-1]
        return sorted({valid[round(position)] for position in positions})

    def read_targets(self, targets: list[int], context_frames: int) -> Iterator[ClipTarget]:
        """Targets in ascending order with their input frames.

        The clip is decoded once; only frames that are still needed are in memory.

        Args:
            targets: frames that can be one.
            context_frames: largest number of input frames, references included.

        Raises:
            LiftError: the clip ends before its last frame was read.
        """
        waiting = [
            (k, *context_indices(k, self.count, self.cuts, context_frames))
            for k in sorted(set(targets))
        ]
        if not waiting:
            return
        held: dict[int, np.ndarray] = {}
        for i, frame in enumerate(open_frames(self.path).frames()):
            if any(i == k or i in indices for k, indices, _, _ in waiting):
                held[i] = reduce_frame(frame, self.size)
            while waiting and waiting[0][1][-1] <= i:
                k, indices, times, left = waiting.pop(0)
                frames = np.stack([held[index] for index in indices])
                yield ClipTarget(k, tuple(indices), tuple(times), left, frames, held[k])
                first = min((indices[0] for _, indices, _, _ in waiting), default=i)
                held = {k: frame for k, frame in held.items() if k >= first}
            if not waiting:
                return
        raise LiftError(
            f"{self.path} ends before frame {waiting[0][1][-1]}, which was there a moment ago; "
            "wait until the file is complete"
        )


def open_clip(
    path: str | Path, resize_short_side: int = 0, progress: Progress = iter
) -> ClipSource:
    """Read a clip once: count its frames and find its cuts.

    Args:
        path: a video, or a folder of numbered frames.
        resize_short_side: frames are reduced so that their short side has at most this many
            pixels; 0 keeps their size.
        progress: wraps the frames, for example with a progress bar.

    Raises:
        LiftError: there is no such clip, it cannot be read, or it has fewer than three frames.
    """
    source = open_frames(path)
    size = (source.height, source.width)
    if min(size) < SMALLEST:
        raise LiftError(
            f"{path} has frames of {size[1]}x{size[0]}; pictures need {SMALLEST} pixels a side"
        )
    detector, decisions = CutDetector(), []
    for frame in progress(source.frames()):
        decisions += detector.feed(frame)
    decisions += detector.finish()
    if len(decisions) < 3:
        raise LiftError(
            f"{path} has {len(decisions)} frames; give a clip of three or more: the middle one of "
            "three is dropped and interpolated"
        )
    cuts = tuple(k for k, is_cut in enumerate(decisions) if is_cut)
    return ClipSource(Path(path), len(decisions), size, reduced_size(size, resize_short_side), cuts)


def reduced_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """(H, W) with at most `short_side` pixels on the short side; 0 keeps the size."""
    scale = short_side / min(size)
    if not short_side or scale >= 1:
        return size
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def reduce_frame(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame (H, W, 3) uint8 area-resized to (H, W)."""
    if frame.shape[:2] == size:
        return frame
    cv2 = require("cv2", "reducing frames")
    return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
