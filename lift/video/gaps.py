"""The frames a stream holds, and what lies between one and the next: each gap is looked at once,
for its own pair and the two beside it.
"""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch

from lift.io.decode import DecodedFrame, rgb_of
from lift.model.features import FrameFeatures, Motion, Neighbours, Pair
from lift.model.lift import BESIDE
from lift.video.engine import Engine
from lift.video.transfers import Uploader, as_image, numbers

HALF = Fraction(1, 2)


@dataclass
class Held:
    """A frame of the window: `frame` as it came and, once they were needed, the same on the device
    (`uploaded`) and its features, all until no pair looks at them any more.

    Its keys and values lie at `place` of the ring when it is `encoded`. `gaps` holds the gap to the
    next frame, by whether time runs backwards.
    """

    frame: torch.Tensor | np.ndarray | DecodedFrame | None
    time: Fraction | float
    shot: int
    place: int
    encoded: bool = False
    uploaded: torch.Tensor | None = None
    features: FrameFeatures | None = None
    gaps: "dict[bool, Gap]" = field(default_factory=dict)

    def release(self) -> None:
        """It is no reference any more; one that was never needed may still be, as context."""
        if self.encoded:
            self.frame = self.uploaded = self.features = None
            self.gaps.clear()

    def image(self, upload: Uploader) -> torch.Tensor:
        """(1, 3, H, W) float32 in [0, 1] on the device; the frame travels there once."""
        if self.uploaded is None:
            self.uploaded = upload(rgb_of(self.frame))
        return as_image(self.uploaded)


@dataclass
class Gap:
    """Two frames, both encoded, made ready as references, and their motion half way once it was
    asked for.
    """

    pair: Pair
    halfway: Motion | None = None


class Gaps:
    """What is between frames of a window, computed when it is first asked for and kept with the
    earlier frame.
    """

    def __init__(self, engine: Engine, upload: Uploader):
        self.engine, self.upload = engine, upload

    def pair(self, first: Held, second: Held, backwards: bool) -> Pair:
        return self._gap(first, second, backwards).pair

    def halfway(self, first: Held, second: Held, backwards: bool) -> Motion:
        """The motion as seen half way from one frame to the next, or back."""
        gap = self._gap(first, second, backwards)
        if gap.halfway is None:
            half = torch.full((1,), float(HALF), device=self.engine.device)
            gap.halfway = self.engine.motion(gap.pair, half)
        return gap.halfway

    def neighbours(self, window: list[Held], left: int, backwards: bool) -> Neighbours | None:
        """The motion beside window[left] and its successor; None where the window holds nothing
        else.
        """
        if len(window) == 2:
            return None
        first, second = window[left : left + 2]
        unit, between = second.time - first.time, self.pair(first, second, backwards).difference
        found = []
        for outer, gap in (
            (left - 1, window[max(left - 1, 0) : left + 1]),
            (left + 2, window[left + 1 : left + 3]),
        ):
            beside = 0 <= outer < len(window) and window[outer].shot == first.shot
            time = (
                float((window[outer].time - first.time) / unit)
                if beside
                else -1.0
                if outer < left
                else 2.0
            )
            if beside and -BESIDE <= time <= 1 + BESIDE:
                known = Neighbours.moved(self.pair(*gap, backwards).difference, between)
                found.append((self.halfway(*gap, backwards).across, time, known))
            else:
                still = torch.zeros_like(self.halfway(first, second, backwards).across)
                found.append((still, time, torch.zeros_like(between, dtype=torch.bool)))
        if backwards:
            found = [(motion, 1 - time, known) for motion, time, known in reversed(found)]
        motions, times, known = zip(*found, strict=True)
        return Neighbours(*motions, numbers(times, self.engine.device)[None], torch.stack(known, 1))

    def _gap(self, first: Held, second: Held, backwards: bool) -> Gap:
        if backwards not in first.gaps:
            pair = (second, first) if backwards else (first, second)
            images = [held.image(self.upload) for held in pair]
            features = [held.features for held in pair]
            first.gaps[backwards] = Gap(self.engine.pair(*images, *features))
        return first.gaps[backwards]
