"""Samples of a test set: which frames are read, and which one is to be generated."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lift.data.clip import frames_around


@dataclass(frozen=True)
class Frame:
    """A frame on disk.

    Attributes:
        path: an image, or a video.
        index: number of the frame in a video, in display order; None for an image.
    """

    path: Path
    index: int | None = None


@dataclass(frozen=True)
class Sample:
    """A true frame and the input frames for it.

    Attributes:
        name: unique in its test set; also a relative path without suffix, so that frames can be
            saved under it.
        group: what means are formed over beside the whole set, such as a clip or a split.
        inputs: the input frames in the order of time, at most as many as methods read.
        times: their times, the references at 0 and 1.
        left: position of the left reference in `inputs`; the right one follows it.
        truth: the true frame; never among the inputs.
        t: its time, in (0, 1).
        split: such as `val`, where the set has several; else empty.
    """

    name: str
    group: str
    inputs: tuple[Frame, ...]
    times: tuple[float, ...]
    left: int
    truth: Frame
    t: float = 0.5
    split: str = ""

    def nearest(self, count: int) -> tuple[slice, list[float], int]:
        """The nearest `count` inputs: where they are, their times, and the left one's position."""
        before, after = frames_around(count)
        first, stop = max(0, self.left + 1 - before), self.left + 1 + after
        return slice(first, stop), list(self.times[first:stop]), self.left - first


@dataclass(frozen=True)
class Published:
    """A score that a paper states, under the paper's own rounding and RIFE's kind of SSIM.

    Attributes:
        psnr: dB, or None where the paper states none.
        ssim: or None.
        source: the paper or the third-party table.
        group: the group of samples that it is of; empty for the whole set.
        inputs: number of input frames.
    """

    psnr: float | None
    ssim: float | None
    source: str
    group: str = ""
    inputs: int = 2


@dataclass(frozen=True)
class TestSet:
    """A published test set, or a protocol for any frames.

    Attributes:
        name: what `--protocol` takes and what stands beside every number.
        description: how frames are chosen, prepared and scored, in one sentence or two.
        find: (root, largest number of input frames) -> the samples in a fixed order; raises
            LiftError where the layout is another one, or frames are missing.
        prepare: crop or resize of a frame (H, W, 3) uint8; None leaves frames as they are. Raises
            LiftError, a sentence that continues a path, where a frame does not fit.
        count: samples of the whole set; None where it is not fixed.
        published: scores of other models, by name.
        context_frames: the largest number of input frames that its samples have; None where its
            clips have as many as a method reads.
        metrics: metrics beside the standard ones that papers report on it.
        layout: the files that `find` reads, relative to the root.
    """

    __test__ = False  # not a class of tests

    name: str
    description: str
    find: Callable[[Path, int], list[Sample]]
    prepare: Callable[[np.ndarray], np.ndarray] | None = None
    count: int | None = None
    published: dict[str, tuple[Published, ...]] = field(default_factory=dict)
    context_frames: int | None = 2
    metrics: tuple[str, ...] = ()
    layout: str = ""
