"""Scene cuts, found while the frames stream by.

PySceneDetect's adaptive detector proposes them: a frame opens a new shot where its change in hue,
saturation and brightness is large and stands out from the two frames before and after, so fast
camera motion is not taken for a cut. The plain difference of the pixels must confirm it, because
hue and saturation mean nothing in frames that are nearly black (fades), and because the detector
knows no neighbours at the first and last frames. It looks two frames ahead, whatever the length.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import cv2
import numpy as np

from lift.errors import LiftError

LOOK_AHEAD = 2  # frames on each side that a change is compared with
WIDTH = 256  # pixels to which a frame is reduced before it is judged
LEAST_CHANGE = 10.0  # mean difference to the frame before, of 255, below which nothing is a cut
STANDS_OUT = 3.0  # times the mean change of the neighbours, PySceneDetect's own factor

Item = TypeVar("Item")


class SceneCuts:
    """Decides for each frame whether it opens a new shot; fed frame by frame, `LOOK_AHEAD` frames
    behind.

    Two frames alone are one shot: there is no other change to compare theirs with.

    Raises:
        LiftError: PySceneDetect is missing.
    """

    def __init__(self):
        try:
            from scenedetect import AdaptiveDetector
        except ImportError as error:
            raise LiftError(
                f"finding scene cuts needs PySceneDetect, which cannot be imported ({error}); pip install scenedetect, "
                "or pass --no_scenes (detect_scenes=False) and risk frames blended across cuts"
            ) from error
        self._detector = AdaptiveDetector(
            adaptive_threshold=STANDS_OUT, window_width=LOOK_AHEAD, min_scene_len=0
        )
        self._fed = 0
        self._last: np.ndarray | None = None
        self._changes: deque[float | None] = deque(
            maxlen=2 * LOOK_AHEAD + 1
        )  # None where there is no frame

    def feed(self, frame: np.ndarray) -> list[bool]:
        """Take the next frame, (H, W, 3) uint8 RGB; answer for each frame now decided, in order,
        whether it opens a new shot.
        """
        scale = min(1.0, WIDTH / frame.shape[1])
        size = max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))
        small = cv2.cvtColor(
            cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR
        )
        if self._last is None:  # the detector wants neighbours before the first frame: repeat it
            for k in range(-LOOK_AHEAD, 0):
                self._judge(k, small, None)
        opens = self._judge(
            self._fed,
            small,
            None if self._last is None else float(cv2.absdiff(small, self._last).mean()),
        )
        self._last = small
        self._fed += 1
        return [opens] if self._fed > LOOK_AHEAD else []

    def finish(self) -> list[bool]:
        """No more frames: the answers still owed."""
        if self._last is None:
            return []
        opens = [self._judge(self._fed + k, self._last, None) for k in range(LOOK_AHEAD)]
        return opens[-min(LOOK_AHEAD, self._fed) :]

    def _judge(self, number: int, small: np.ndarray, change: float | None) -> bool:
        """Feed one frame; the answer is for the one LOOK_AHEAD frames earlier. The detector only
        compares and subtracts numbers.
        """
        proposed = bool(self._detector.process_frame(number, small))
        self._changes.append(change)
        if not proposed:
            return False
        changes = list(self._changes)
        own = changes.pop(LOOK_AHEAD)
        others = [c for c in changes if c is not None]
        return (
            own is not None
            and own >= LEAST_CHANGE
            and bool(others)
            and own >= STANDS_OUT * sum(others) / len(others)
        )


def shots(
    items: Iterable[Item], picture: Callable[[Item], np.ndarray], cuts: SceneCuts | None
) -> Iterator[tuple[Item, int]]:
    """Number the shot each item belongs to: 0, 0, ..., 1, 1, ...

    Args:
        items: frames in order, in any wrapping.
        picture: the (H, W, 3) uint8 RGB frame in an item.
        cuts: what decides; None: all is one shot.

    Yields:
        (item, shot), at most LOOK_AHEAD items behind what was read.
    """
    if cuts is None:
        for item in items:
            yield item, 0
        return
    waiting: deque[Item] = deque()
    shot = 0
    for item in items:
        waiting.append(item)
        for opens in cuts.feed(picture(item)):
            shot += opens
            yield waiting.popleft(), shot
    for opens in cuts.finish():
        shot += opens
        yield waiting.popleft(), shot
