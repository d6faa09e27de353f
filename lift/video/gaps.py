"""The frames a stream holds, and what lies between one and the next: each gap is looked at once,
for its own pair and the two beside it.
"""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch

from lift.io.decode import DecodedFrame, rgb_of
from lift.model.adjacent import AdjacentMotion, adjacent_frames, has_motion
from lift.model.types import FrameFeatures, Motion, ReferencePair
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

    pair: ReferencePair
    halfway: Motion | None = None


class Gaps:
    """What is between frames of a window, computed when it is first asked for and kept with the
    earlier frame.
    """

    def __init__(self, engine: Engine, upload: Uploader):
        self.engine, self.upload = engine, upload

    def pair(self, first: Held, second: Held, backwards: bool) -> ReferencePair:
        return self._gap(first, second, backwards).pair

    def halfway(self, first: Held, second: Held, backwards: bool) -> Motion:
        """The motion as seen half way from one frame to the next, or back."""
        gap = self._gap(first, second, backwards)
        if gap.halfway is None:
            half = torch.full((1,), float(HALF), device=self.engine.device)
            gap.halfway = self.engine.motion(gap.pair, half)
        return gap.halfway

    def adjacent_motion(
        self, window: list[Held], left: int, backwards: bool
    ) -> AdjacentMotion | None:
        """The motion beside window[left] and its successor.

        None where the window has no other frame.
        """
        if len(window) == 2:
            return None
        first, second = window[left : left + 2]
        interval = second.time - first.time
        frame_times = [float((held.time - first.time) / interval) for held in window]
        same_shot = [held.shot == first.shot for held in window]
        position, times, exists = (
            x[0].tolist()
            for x in adjacent_frames(torch.tensor([frame_times]), torch.tensor([same_shot]))
        )
        gaps = (window[position[0]], first), (second, window[position[1]])
        reference_difference = self.pair(first, second, backwards).difference
        found = []
        for gap, time, there in zip(gaps, times, exists, strict=True):
            if there:
                difference = self.pair(*gap, backwards).difference
                valid = has_motion(difference, reference_difference)
                flow = self.halfway(*gap, backwards).flow_01
            else:
                valid = torch.zeros_like(reference_difference, dtype=torch.bool)
                flow = torch.zeros_like(self.halfway(first, second, backwards).flow_01)
            found.append((flow, time, valid))
        if backwards:
            found = [(flow, 1 - time, valid) for flow, time, valid in reversed(found)]
        flows, times, valid = zip(*found, strict=True)
        times = numbers(times, self.engine.device)[None]
        return AdjacentMotion(*flows, times, torch.stack(valid, 1))

    def _gap(self, first: Held, second: Held, backwards: bool) -> Gap:
        if backwards not in first.gaps:
            pair = (second, first) if backwards else (first, second)
            images = [held.image(self.upload) for held in pair]
            features = [held.features for held in pair]
            first.gaps[backwards] = Gap(self.engine.pair(*images, *features))
        return first.gaps[backwards]
