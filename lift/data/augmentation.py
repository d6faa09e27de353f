"""Augmentation of clips: flips, rotation, time reversal, channel order, zoom and crop.

All frames of a clip get the same. Arrays stay uint8 and views as long as possible.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

CHANNEL_ORDERS = ((0, 1, 2), (2, 1, 0))
ZOOM_PROB = 0.1


@dataclass(frozen=True)
class Augmentation:
    """Changes to a clip, in this order: crop, zoom, rotate, flip, channels; reverse at any point.

    Attributes:
        flip_x, flip_y: flip left-right, up-down.
        rotate: rotate by 90 degrees counter-clockwise; with the flips all eight orientations.
        reverse: play the clip backwards: a time s becomes 1 - s and the references swap.
        channels: order of the colour channels.
        zoom: 1, or 2 to enlarge half the crop.
    """

    flip_x: bool = False
    flip_y: bool = False
    rotate: bool = False
    reverse: bool = False
    channels: tuple[int, int, int] = (0, 1, 2)
    zoom: int = 1

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Augmentation":
        """Draw each with probability 1/2, and zoom with probability 1/10."""
        coins = rng.random(6)
        return cls(
            *(bool(c < 0.5) for c in coins[:4]),
            CHANNEL_ORDERS[int(coins[4] < 0.5)],
            2 if coins[5] < ZOOM_PROB else 1,
        )

    def source_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size (H, W) to crop from the frames so that the result has `size` (H, W)."""
        h, w = size[::-1] if self.rotate else size
        return -(-h // self.zoom), -(-w // self.zoom)

    def fitted(self, size: tuple[int, int], frame: tuple[int, int]) -> "Augmentation":
        """The same, rotated or not so that a crop for `size` fits a frame; sizes are (H, W).

        Where neither fits, or both, it stays as it is.
        """
        other = replace(self, rotate=not self.rotate)
        if not fits(self.source_size(size), frame) and fits(other.source_size(size), frame):
            return other
        return self

    def apply(self, frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Augment frames; the result may be a view.

        Time reversal is not applied here, since the caller orders the frames.

        Args:
            frames: (n, h, w, 3), h and w from `source_size(size)`.
            size: (H, W).

        Returns:
            (n, H, W, 3), of the same dtype.
        """
        if self.zoom != 1:
            h, w = size[::-1] if self.rotate else size
            frames = np.stack(
                [cv2.resize(f, (w, h), interpolation=cv2.INTER_CUBIC) for f in frames]
            )
        if self.rotate:
            frames = frames.swapaxes(1, 2)[:, ::-1]
        if self.flip_x:
            frames = frames[:, :, ::-1]
        if self.flip_y:
            frames = frames[:, ::-1]
        if self.channels != (0, 1, 2):
            frames = (
                frames[..., ::-1]
                if self.channels == (2, 1, 0)
                else frames[..., list(self.channels)]
            )
        return frames

    def apply_to_flow(
        self, flow: np.ndarray, visible: np.ndarray, size: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augment the true flow and visibility of a clip, time reversal included.

        Args:
            flow: (4, h, w), visible: (2, h, w).
            size: (H, W).

        Returns:
            (4, H, W) and (2, H, W).
        """
        if self.zoom != 1:
            h, w = size[::-1] if self.rotate else size
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
        if self.rotate:  # counter-clockwise: right becomes up
            flow = (
                flow.swapaxes(1, 2)[:, ::-1][[1, 0, 3, 2]]
                * np.array([1, -1, 1, -1], np.float32)[:, None, None]
            )
            visible = visible.swapaxes(1, 2)[:, ::-1]
        if self.flip_x:
            flow = flow[:, :, ::-1] * np.array([-1, 1, -1, 1], np.float32)[:, None, None]
            visible = visible[:, :, ::-1]
        if self.flip_y:
            flow = flow[:, ::-1] * np.array([1, -1, 1, -1], np.float32)[:, None, None]
            visible = visible[:, ::-1]
        return flow, visible


def fits(size: tuple[int, int], frame: tuple[int, int]) -> bool:
    """Whether a crop of `size` fits a frame without enlarging it; both (H, W)."""
    return size[0] <= frame[0] and size[1] <= frame[1]


def enlarge_to_cover(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge (n, h, w, 3) frames until they cover `size` (H, W), keeping their aspect ratio.

    Frames that are large enough are returned unchanged.
    """
    h, w = frames.shape[1:3]
    scale = max(size[0] / h, size[1] / w)
    if scale <= 1:
        return frames
    target = (max(size[1], round(w * scale)), max(size[0], round(h * scale)))
    return np.stack([cv2.resize(f, target, interpolation=cv2.INTER_CUBIC) for f in frames])


def random_crop(frames: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Crop (n, h, w, 3) frames to `size` (H, W) at one random place; a view."""
    frames = enlarge_to_cover(frames, size)
    y, x = rng.integers(0, (frames.shape[1] - size[0] + 1, frames.shape[2] - size[1] + 1))
    return frames[:, y : y + size[0], x : x + size[1]]


def centre_crop(frames: np.ndarray, multiple: int = 32) -> np.ndarray:
    """Crop (n, h, w, 3) frames at the centre to the largest multiples of `multiple`; a view.

    A side below one multiple is not cropped.
    """
    h, w = frames.shape[1:3]
    th, tw = (max(s // multiple * multiple, min(s, multiple)) for s in (h, w))
    y, x = (h - th) // 2, (w - tw) // 2
    return frames[:, y : y + th, x : x + tw]
