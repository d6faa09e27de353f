"""Scene cuts in a stream of frames, two frames behind it.

PySceneDetect's adaptive detector proposes a cut where the change in hue, saturation and brightness
is large compared with that of the two frames before and after, so that fast camera motion is not a
cut. The mean pixel difference must confirm it: hue and saturation are noise in nearly black frames
(fades), and the detector has no neighbours at the first and last frames.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import cv2
import numpy as np

from lift.errors import LiftError

LOOK_AHEAD = 2  # frames on each side that a change is compared with
WIDTH = 256  # pixels; wider frames are reduced to it
MIN_CHANGE = 10.0  # mean difference to the frame before, of 255, below which there is no cut
CHANGE_RATIO = 3.0  # to the mean change of the neighbours; PySceneDetect's own threshold

Item = TypeVar("Item")


class CutDetector:
    """Whether each frame opens a new shot, `LOOK_AHEAD` frames behind the frames it receives.

    Two frames alone are one shot: there is no other change to compare theirs with.

    Raises:
        LiftError: PySceneDetect is not installed.
    """

    def __init__(self):
        try:
            from scenedetect import AdaptiveDetector
        except ImportError as error:
            raise LiftError(
                f"scene cut detection needs PySceneDetect, which cannot be imported ({error}); "
                "pip install scenedetect, or pass --no_scenes (detect_scenes=False), "
                "which blends frames across cuts"
            ) from error
        self._detector = AdaptiveDetector(
            adaptive_threshold=CHANGE_RATIO, window_width=LOOK_AHEAD, min_scene_len=0
        )
        self._received = 0
        self._last: np.ndarray | None = None
        # None where there is no frame
        self._changes: deque[float | None] = deque(maxlen=2 * LOOK_AHEAD + 1)

    def feed(self, frame: np.ndarray) -> list[bool]:
        """Receive the next frame, (H, W, 3) uint8 RGB.

        Returns:
            For each frame decided by it, in order, whether it opens a new shot.
        """
        scale = min(1.0, WIDTH / frame.shape[1])
        size = max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        small = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        change = None
        if self._last is None:  # the detector needs neighbours before the first frame: repeat it
            for k in range(-LOOK_AHEAD, 0):
                self._decide(k, small, None)
        else:
            change = float(cv2.absdiff(small, self._last).mean())
        opens_shot = self._decide(self._received, small, change)
        self._last = small
        self._received += 1
        return [opens_shot] if self._received > LOOK_AHEAD else []

    def finish(self) -> list[bool]:
        """The decisions on the last frames, once there are no more."""
        if self._last is None:
            return []
        decisions = [self._decide(self._received + k, self._last, None) for k in range(LOOK_AHEAD)]
        return decisions[-min(LOOK_AHEAD, self._received) :]

    def _decide(self, number: int, small: np.ndarray, change: float | None) -> bool:
        """Pass one frame to the detector and decide on the one LOOK_AHEAD frames earlier."""
        proposed = bool(self._detector.process_frame(number, small))
        self._changes.append(change)
        if not proposed:
            return False
        changes = list(self._changes)
        own = changes.pop(LOOK_AHEAD)
        others = [c for c in changes if c is not None]
        if own is None or own < MIN_CHANGE or not others:
            return False
        return own >= CHANGE_RATIO * sum(others) / len(others)


def number_shots(
    items: Iterable[Item], rgb: Callable[[Item], np.ndarray], detector: CutDetector | None
) -> Iterator[tuple[Item, int]]:
    """Pair each item with the index of its shot: 0, 0, ..., 1, 1, ...

    Args:
        items: frames in order, with anything else.
        rgb: the (H, W, 3) uint8 RGB frame of an item.
        detector: finds the cuts; all is one shot where None.

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
        for opens_shot in detector.feed(rgb(item)):
            shot += opens_shot
            yield undecided.popleft(), shot
    for opens_shot in detector.finish():
        shot += opens_shot
        yield undecided.popleft(), shot
