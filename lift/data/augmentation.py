"""Augmentation of clips: flips, rotation, time reversal, channel order, scale, JPEG and crop.

All frames of a clip get the same. Arrays stay uint8 and views as long as possible.
"""

from dataclasses import dataclass, replace
from math import ceil

import cv2
import numpy as np

CHANNEL_ORDERS = ((0, 1, 2), (2, 1, 0))
ENLARGE_PROB = 0.1  # enlarged to twice its size, whatever the options
RESCALE_PROB = 0.5  # of the others, where rescaling is on
MAX_STRETCH = 1.15  # of either axis against their geometric mean
JPEG_QUALITIES = (40, 95)


@dataclass(frozen=True)
class Augmentation:
    """Changes to a clip, in this order: crop, scale, rotate, flip, channels, JPEG; reverse at any
    point.

    Attributes:
        flip_x, flip_y: flip left-right, up-down.
        rotate: rotate by 90 degrees counter-clockwise; with the flips all eight orientations.
        reverse: play the clip backwards: a time s becomes 1 - s and the references swap.
        channels: order of the colour channels.
        scale: factors (vertical, horizontal) by which a crop is enlarged, in the orientation of
            the result; (2, 2) enlarges half the crop.
        jpeg_quality: of a compression of every frame, targets too; 0: none.
    """

    flip_x: bool = False
    flip_y: bool = False
    rotate: bool = False
    reverse: bool = False
    channels: tuple[int, int, int] = (0, 1, 2)
    scale: tuple[float, float] = (1.0, 1.0)
    jpeg_quality: int = 0

    @classmethod
    def draw(
        cls, rng: np.random.Generator, max_scale: float = 1.0, jpeg_prob: float = 0.0
    ) -> "Augmentation":
        """Draw orientation, reversal and channels with probability 1/2, twice the size with 1/10.

        Args:
            rng: for everything random.
            max_scale: above 1, half of the other clips are enlarged or reduced by a factor between
                1 / max_scale and max_scale, and stretched by up to 15 % along one axis.
            jpeg_prob: probability of a compression.
        """
        coins = rng.random(6)
        scale = (1.0, 1.0)
        if coins[5] < ENLARGE_PROB:
            scale = (2.0, 2.0)
        elif max_scale > 1 and rng.random() < RESCALE_PROB:
            mean = max_scale ** rng.uniform(-1, 1)
            stretch = MAX_STRETCH ** rng.uniform(-1, 1)
            scale = (mean * stretch, mean / stretch)
        quality = 0
        if jpeg_prob and rng.random() < jpeg_prob:
            quality = int(rng.integers(*JPEG_QUALITIES, endpoint=True))
        return cls(
            *(bool(c < 0.5) for c in coins[:4]),
            CHANNEL_ORDERS[int(coins[4] < 0.5)],
            scale,
            quality,
        )

    def source_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size (H, W) to crop from the frames so that the result has `size` (H, W)."""
        sides = tuple(ceil(side / factor) for side, factor in zip(size, self.scale, strict=True))
        return sides[::-1] if self.rotate else sides

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
            (n, H, W, 3), of the same dtype; a compression takes uint8 alone.
        """
        h, w = size[::-1] if self.rotate else size
        if frames.shape[1:3] != (h, w):
            smaller = h * w < frames.shape[1] * frames.shape[2]
            how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
            frames = np.stack([cv2.resize(f, (w, h), interpolation=how) for f in frames])
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
        if self.jpeg_quality:
            frames = np.stack([_compressed(f, self.jpeg_quality) for f in frames])
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
        h, w = size[::-1] if self.rotate else size
        if flow.shape[1:] != (h, w):
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


def _compressed(frame: np.ndarray, quality: int) -> np.ndarray:
    """An (H, W, 3) uint8 RGB frame after a JPEG compression."""
    swapped = np.ascontiguousarray(frame[..., ::-1])  # OpenCV's order
    _, data = cv2.imencode(".jpg", swapped, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


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
