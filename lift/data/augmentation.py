"""The augmentation that all frames of a clip share: flips, turns, time reversal, channel order,
magnification, crop.

Works on uint8 arrays; views as long as possible, one copy at the end.
"""

from dataclasses import dataclass

import cv2
import numpy as np

CHANNEL_ORDERS = ((0, 1, 2), (2, 1, 0))
ENLARGE_ODDS = 0.1


@dataclass(frozen=True)
class Augmentation:
    """What is done to a clip, in this order: crop, enlarge, turn, mirror, channels; time at any
    point.

    Attributes:
        mirror_x, mirror_y: flip left-right, up-down.
        turn: whether to turn by 90 degrees counter-clockwise (with the mirrors: all eight positions
            of a picture).
        reverse: whether to play the clip backwards: a time s becomes 1 - s and the references
            change places.
        channels: order of the colour channels.
        enlarge: 1, or 2 to take half the crop and magnify it.
    """

    mirror_x: bool = False
    mirror_y: bool = False
    turn: bool = False
    reverse: bool = False
    channels: tuple[int, int, int] = (0, 1, 2)
    enlarge: int = 1

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Augmentation":
        """Each at even odds; magnification one time in ten."""
        coins = rng.random(6)
        return cls(
            *(bool(c < 0.5) for c in coins[:4]),
            CHANNEL_ORDERS[int(coins[4] < 0.5)],
            2 if coins[5] < ENLARGE_ODDS else 1,
        )

    def source(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) to cut from the frames so that the result has `size` (H, W)."""
        h, w = size[::-1] if self.turn else size
        return -(-h // self.enlarge), -(-w // self.enlarge)

    def frames(self, frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Augment (n, h, w, 3) frames, h and w as `source(size)` has them, into (n, H, W, 3), dtype
        as given; may be a view.

        Time reversal is not applied here: the order of frames is the caller's.
        """
        if self.enlarge != 1:
            h, w = size[::-1] if self.turn else size
            frames = np.stack(
                [cv2.resize(f, (w, h), interpolation=cv2.INTER_CUBIC) for f in frames]
            )
        if self.turn:
            frames = frames.swapaxes(1, 2)[:, ::-1]
        if self.mirror_x:
            frames = frames[:, :, ::-1]
        if self.mirror_y:
            frames = frames[:, ::-1]
        if self.channels != (0, 1, 2):
            frames = (
                frames[..., ::-1]
                if self.channels == (2, 1, 0)
                else frames[..., list(self.channels)]
            )
        return frames

    def truth(
        self, flow: np.ndarray, visible: np.ndarray, size: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augment the true flow (4, h, w) and visibility (2, h, w) of a clip into (4, H, W) and (2,
        H, W); time reversal included.
        """
        if self.enlarge != 1:
            h, w = size[::-1] if self.turn else size
            grown = np.array([w / flow.shape[2], h / flow.shape[1]] * 2, np.float32)[:, None, None]
            flow = (
                np.stack([cv2.resize(f, (w, h), interpolation=cv2.INTER_LINEAR) for f in flow])
                * grown
            )
            visible = np.stack(
                [cv2.resize(v, (w, h), interpolation=cv2.INTER_NEAREST) for v in visible]
            )
        if self.reverse:
            flow, visible = flow[[2, 3, 0, 1]], visible[::-1]
        if self.turn:  # counter-clockwise: what pointed right now points up
            flow = (
                flow.swapaxes(1, 2)[:, ::-1][[1, 0, 3, 2]]
                * np.array([1, -1, 1, -1], np.float32)[:, None, None]
            )
            visible = visible.swapaxes(1, 2)[:, ::-1]
        if self.mirror_x:
            flow = flow[:, :, ::-1] * np.array([-1, 1, -1, 1], np.float32)[:, None, None]
            visible = visible[:, :, ::-1]
        if self.mirror_y:
            flow = flow[:, ::-1] * np.array([1, -1, 1, -1], np.float32)[:, None, None]
            visible = visible[:, ::-1]
        return flow, visible


def cover(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge (n, h, w, 3) frames, keeping their shape, until they cover `size` (H, W); frames that
    do are returned as they are.
    """
    h, w = frames.shape[1:3]
    scale = max(size[0] / h, size[1] / w)
    if scale <= 1:
        return frames
    target = (max(size[1], round(w * scale)), max(size[0], round(h * scale)))
    return np.stack([cv2.resize(f, target, interpolation=cv2.INTER_CUBIC) for f in frames])


def random_crop(frames: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A random part of `size` (H, W) of (n, h, w, 3) frames, the same in all; a view."""
    frames = cover(frames, size)
    y, x = rng.integers(0, (frames.shape[1] - size[0] + 1, frames.shape[2] - size[1] + 1))
    return frames[:, y : y + size[0], x : x + size[1]]


def centre_crop(frames: np.ndarray, multiple: int = 32) -> np.ndarray:
    """The middle of (n, h, w, 3) frames, its sides the largest multiples of `multiple`; a view. A
    side below one multiple is kept.
    """
    h, w = frames.shape[1:3]
    th, tw = (max(s // multiple * multiple, min(s, multiple)) for s in (h, w))
    y, x = (h - th) // 2, (w - tw) // 2
    return frames[:, y : y + th, x : x + tw]
