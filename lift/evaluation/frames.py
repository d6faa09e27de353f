"""Frames of a test set, read and prepared once for neighbouring samples and all methods."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lift.errors import LiftError
from lift.evaluation.samples import Frame, Sample
from lift.io.images import read_image
from lift.io.video_index import IndexedVideo

CACHED_BYTES = 512 * 2**20  # of prepared frames: fifteen of 4096 x 2160
OPEN_VIDEOS = 2


class FrameReader:
    """Reads images, and frames of videos by index.

    Args:
        prepare: see `TestSet`.
        cached_bytes: the prepared frames that were used last are kept up to this size.
    """

    def __init__(
        self,
        prepare: Callable[[np.ndarray], np.ndarray] | None = None,
        cached_bytes: int = CACHED_BYTES,
    ):
        self.prepare, self.cached_bytes = prepare, cached_bytes
        self._frames: OrderedDict[Frame, np.ndarray] = OrderedDict()
        self._videos: OrderedDict[Path, IndexedVideo] = OrderedDict()

    def read(self, frame: Frame) -> np.ndarray:
        """The prepared frame, (H, W, 3) uint8 RGB.

        Raises:
            LiftError: the file cannot be read, or does not fit the test set.
        """
        if frame in self._frames:
            self._frames.move_to_end(frame)
            return self._frames[frame]
        pixels = self._decode(frame)
        if self.prepare is not None:
            try:
                pixels = np.ascontiguousarray(self.prepare(pixels))
            except LiftError as error:
                raise LiftError(f"{frame.path} {error}") from None
        self._frames[frame] = pixels
        while sum(each.nbytes for each in self._frames.values()) > self.cached_bytes:
            self._frames.popitem(last=False)
        return pixels

    def sample(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """The inputs (T, H, W, 3) and the true frame (H, W, 3) of a sample, uint8 RGB.

        Raises:
            LiftError: as `read`, or the frames differ in size.
        """
        frames = [self.read(frame) for frame in (sample.truth, *sample.inputs)]
        truth = frames[0]
        for frame, pixels in zip(sample.inputs, frames[1:], strict=True):
            if pixels.shape != truth.shape:
                size, other = (f"{each.shape[1]}x{each.shape[0]}" for each in (pixels, truth))
                raise LiftError(
                    f"{frame.path} is {size} and {sample.truth.path} is {other}; the frames of a "
                    "sample must have one size, copy the test set again"
                )
        return np.stack(frames[1:]), truth

    def _decode(self, frame: Frame) -> np.ndarray:
        if frame.index is None:
            return read_image(frame.path)
        if frame.path not in self._videos:
            self._videos[frame.path] = IndexedVideo(frame.path)
            if len(self._videos) > OPEN_VIDEOS:
                self._videos.popitem(last=False)[1].close()
        try:
            return self._videos[frame.path].read([frame.index])[0]
        except IndexError:
            raise LiftError(
                f"{frame.path} ends before frame {frame.index}; copy it again, or correct the "
                "number of frames in its manifest"
            ) from None
