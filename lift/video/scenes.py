"""Scene cuts, found while the frames stream by.

PySceneDetect's adaptive detector: a frame opens a new shot where its change in hue, saturation and brightness is large and
stands out from the two frames before and after, so fast camera motion is not taken for a cut. It looks two frames ahead,
whatever the length of the video.
"""
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import cv2
import numpy as np

from ..errors import LiftError

LOOK_AHEAD = 2                                          # frames on each side that a change is compared with
WIDTH = 256                                             # pixels to which a frame is reduced before it is judged

Item = TypeVar("Item")


class SceneCuts:
    """Decides for each frame whether it opens a new shot; fed frame by frame, `LOOK_AHEAD` frames behind.

    Raises:
        LiftError: PySceneDetect is missing.
    """

    def __init__(self):
        try:
            from scenedetect import AdaptiveDetector
        except ImportError as error:
            raise LiftError(f"finding scene cuts needs PySceneDetect, which cannot be imported ({error}); pip install scenedetect, "
                            "or pass --no_scenes (detect_scenes=False) and risk frames blended across cuts") from error
        self._detector = AdaptiveDetector(window_width=LOOK_AHEAD, min_scene_len=0)
        self._count = 0                                 # frames fed
        self._last: np.ndarray | None = None

    def feed(self, frame: np.ndarray) -> list[bool]:
        """Take the next frame, (H, W, 3) uint8 RGB; answer for each frame now decided, in order, whether it opens a new shot."""
        scale = min(1.0, WIDTH / frame.shape[1])
        size = max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))
        small = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
        if self._last is None:                          # the window of the first frames reaches before the start: repeat the first
            for k in range(-LOOK_AHEAD, 0):
                self._judge(k, small)
        self._last = small
        opens = self._judge(self._count, small)
        self._count += 1
        return [opens] if self._count > LOOK_AHEAD else []

    def finish(self) -> list[bool]:
        """No more frames: the answers still owed."""
        if self._last is None:
            return []
        opens = [self._judge(self._count + k, self._last) for k in range(LOOK_AHEAD)]
        return opens[-min(LOOK_AHEAD, self._count):]

    def _judge(self, number: int, small: np.ndarray) -> bool:
        return bool(self._detector.process_frame(number, small))


def shots(items: Iterable[Item], picture: Callable[[Item], np.ndarray], cuts: SceneCuts | None) -> Iterator[tuple[Item, int]]:
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
    waiting: list[Item] = []
    shot = 0
    for item in items:
        waiting.append(item)
        for opens in cuts.feed(picture(item)):
            shot += opens
            yield waiting.pop(0), shot
    for opens in cuts.finish():
        shot += opens
        yield waiting.pop(0), shot
