"""Scene cuts in a stream of frames, two frames behind it.

A frame opens a new shot where neither motion nor brightness explains it from the frame before
(`frame_change`). The frames around decide what this leaves open: a fade goes on in the next frame
as it came from the one before, and a jump within one scene, which motion explains in part, is a
change that stands alone.

The thresholds lie between what was measured on 124 clips (24,807 frames, 14 cuts), pairs of frames
of different clips and synthesised sequences. Unexplained share of the picture: 0.59 to 0.98 in 1200
pairs of frames of different clips (0.50 at 6 per cent of their brightness); within shots 0.02
(median) and 0.17 (99.5 per cent), at most 0.49, in a drone chase (0.67 in fog that drifts on);
0.20 to 0.26 at three jumps within a scene. Share not in its place: 0.59 or more at cuts from scene
to scene; 0.56 in lightning over half of the picture.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, TypeVar

import cv2
import numpy as np

from lift.scenes.frame_change import ReducedFrame, compare

LOOK_AHEAD = 2  # frames on each side that a decision depends on
THRESHOLD = 0.5  # share of the picture that is unexplained, from which there is a cut
MIN_DISPLACED = 0.57  # share of the picture that is not in its place: a lamp moves nothing
JUMP_POWER = 2.6  # of the threshold: from it on, 0.165 of 0.5, a change that stands alone is a cut
JUMP_RATIO = 2.5  # of such a change to those of the frames around it
JUMP_DIFFERENCE = 10.0  # its mean difference of colour, of 255
JUMP_DISPLACED = 0.25  # share of the picture that moves in it, more than around it
MIN_MOTION = 0.5  # of one of those: animation on threes stands still between its steps
MIN_DIFFERENCE = 3.0  # mean difference of colour, of 255, below which there is no cut
NOISE_DIFFERENCE = 10.0  # below which it must exceed one of those around it, unlike noise
NOISE_RATIO = 1.5
FADE_COSINE = 0.5  # between two steps of one fade
DRIFT_COSINE = 0.85  # between two steps of brightness alone
FADE_RATIO = 3.0  # between their lengths, at most

Item = TypeVar("Item")


class FindsCuts(Protocol):
    """What `number_shots` asks for: a `CutDetector`, or `KnownCuts`."""

    needs_frames: bool

    def feed(self, frame: np.ndarray | None, time: Fraction | None = None) -> list[bool]: ...

    def finish(self) -> list[bool]: ...


@dataclass(frozen=True)
class _Step:
    """From one frame to the next: what changed."""

    unexplained: float  # share of the picture, 0..1
    displaced: float  # likewise
    difference: float  # mean over pixels and colours, of 255
    change: np.ndarray  # (h / 4, w / 4, 3) float32, the difference itself

    @classmethod
    def between(cls, a: ReducedFrame, b: ReducedFrame) -> "_Step":
        h, w = b.luma.shape  # reduced once more, against noise
        change = cv2.resize(b.color - a.color, (w // 4, h // 4), interpolation=cv2.INTER_AREA)
        return cls(*compare(a, b), float(np.abs(change).sum(-1).mean()), change)

    def continues(self, other: "_Step") -> bool:
        """Whether both are steps of one fade: the same change, again."""
        if not self._repeats(other.change, self.change, FADE_COSINE):
            return False
        a, b = (s.change - s.change.mean((0, 1)) for s in (self, other))
        if min((a**2).sum(-1).mean(), (b**2).sum(-1).mean()) < 4:  # flat: no shape to compare
            return True
        return self._repeats(a, b, FADE_COSINE)

    def drifts_on(self, before: "_Step") -> bool:
        """Whether brightness goes on as in the step before: fog, or light that dies away."""
        return self._repeats(before.change, self.change, DRIFT_COSINE)

    @staticmethod
    def _repeats(a: np.ndarray, b: np.ndarray, cosine: float) -> bool:
        aa, bb, ab = (float((p * q).sum()) for p, q in ((a, a), (b, b), (a, b)))
        return ab >= cosine * (aa * bb) ** 0.5 and max(aa, bb) <= FADE_RATIO**2 * min(aa, bb)


class CutDetector:
    """Whether each frame opens a new shot, `LOOK_AHEAD` frames behind the frames it receives.

    Args:
        threshold: share of the picture that neither motion nor a change of brightness explains
            from the frame before, 0..1, from which a frame opens a new shot. Higher means fewer
            cuts, and 1 none at all.
    """

    needs_frames = True

    def __init__(self, threshold: float = THRESHOLD):
        if not 0 < threshold <= 1:
            raise ValueError(
                f"CutDetector: threshold must lie in 0..1 (0 excluded), got {threshold}"
            )
        self.threshold = threshold
        self._received = 0
        self._last: ReducedFrame | None = None
        # steps to frames k-1, k, k+1, k+2, where k is decided next; None where there is none
        self._steps: deque[_Step | None] = deque([None] * 4, maxlen=4)

    def feed(self, frame: np.ndarray, time: Fraction | None = None) -> list[bool]:
        """Receive the next frame, (H, W, 3) RGB: uint8, uint16 over 0..65535 or linear float.

        Its time does not matter.

        Returns:
            For each frame decided by it, in order, whether it opens a new shot.
        """
        reduced = ReducedFrame(frame)
        step = None if self._last is None else _Step.between(self._last, reduced)
        self._last = reduced
        self._received += 1
        self._steps.append(step)
        return [self._decide()] if self._received > LOOK_AHEAD else []

    def finish(self) -> list[bool]:
        """The decisions on the last frames, once there are no more."""
        decisions = []
        for _ in range(LOOK_AHEAD):
            self._steps.append(None)
            decisions.append(self._decide())
        return decisions[-min(LOOK_AHEAD, self._received) :] if self._received else []

    def _decide(self) -> bool:
        before, step, after, later = self._steps
        if step is None or step.difference < MIN_DIFFERENCE:
            return False
        if step.unexplained < self.threshold**JUMP_POWER:
            return False
        around = [other for other in (before, after) if other is not None]
        least = min((other.difference for other in around), default=0.0)
        if step.difference < min(NOISE_DIFFERENCE, NOISE_RATIO * least):
            return False
        if any(step.continues(other) for other in around):
            return False
        if before is not None and step.drifts_on(before):
            return False
        if step.unexplained >= self.threshold:
            return step.displaced >= MIN_DISPLACED
        near = around
        if later is not None and later.unexplained < self.threshold:
            near = [*around, later]  # a picture that halts and catches up has moved before
        most = max((other.unexplained for other in near), default=0.0)
        motion = max((other.difference for other in near), default=0.0)
        return (
            motion >= MIN_MOTION
            and step.difference >= max(JUMP_DIFFERENCE, JUMP_RATIO * motion)
            and step.unexplained >= JUMP_RATIO * most
            and step.displaced >= JUMP_DISPLACED + max(other.displaced for other in near)
        )


def number_shots(
    items: Iterable[Item],
    rgb: Callable[[Item], np.ndarray],
    detector: FindsCuts | None,
    time: Callable[[Item], Fraction] | None = None,
) -> Iterator[tuple[Item, int]]:
    """Pair each item with the index of its shot: 0, 0, ..., 1, 1, ...

    Args:
        items: frames in order, with anything else.
        rgb: the (H, W, 3) RGB frame of an item; not called where the cuts are known.
        detector: finds the cuts, or knows them (`KnownCuts`); all is one shot where None.
        time: the seconds of an item, which known cuts in seconds need.

    Yields:
        (item, shot), at most LOOK_AHEAD items behind the input.
    """
    if detector is None:
        for item in items:
            yield item, 0
        return
    undecided: deque[Item] = deque()
    shot = 0
    for item in items:
        undecided.append(item)
        frame = rgb(item) if detector.needs_frames else None
        for opens_shot in detector.feed(frame, None if time is None else time(item)):
            shot += opens_shot
            yield undecided.popleft(), shot
    for opens_shot in detector.finish():
        shot += opens_shot
        yield undecided.popleft(), shot
