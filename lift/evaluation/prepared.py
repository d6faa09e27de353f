"""Clips as protocol `real16` prepares them, decoded once for any number of methods."""

from pathlib import Path

import numpy as np

from lift.data.frame_cache import CachedSequence
from lift.errors import LiftError
from lift.evaluation.protocols import real16
from lift.io.decode import open_frames
from lift.io.manifest import ManifestClip


class PreparedClip:
    """The prepared frames of a clip, a sequence that can be read once and in order.

    Args:
        clip: with its number of frames.

    Raises:
        LiftError: the clip cannot be read.
    """

    def __init__(self, clip: ManifestClip):
        self.clip, self.path, self.name = clip, clip.path, f"{real16.NAME}/{clip.name}"
        self.cuts, self.duplicates, self.timestamps = clip.cuts, clip.duplicates, None
        source = open_frames(clip.path)
        first = np.zeros((source.height, source.width, 3), np.uint8)
        self.size = real16.prepare(first).shape[:2]
        self._frames = source.frames()

    def __len__(self) -> int:
        return self.clip.frames

    def read(self, indices: list[int]) -> np.ndarray:
        """The next frames, (n, H, W, 3) uint8.

        Raises:
            LiftError: the clip ends before.
        """
        frames = [real16.prepare(frame) for _, frame in zip(indices, self._frames, strict=False)]
        if len(frames) < len(indices):
            raise LiftError(
                f"{self.path} ends before frame {indices[-1]}, although the manifest states "
                f"{len(self)} frames; copy it again"
            )
        return np.stack(frames)


def prepared_frames(clip: ManifestClip, folder: str | Path) -> CachedSequence:
    """The prepared frames of a clip, from a file in `folder`, which is written if there is none.

    Raises:
        LiftError: the clip cannot be read, or the file cannot be written.
    """
    return CachedSequence(PreparedClip(clip), folder)
