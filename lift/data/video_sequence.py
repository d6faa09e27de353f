"""Random access to the frames of a video file, by seeking to the keyframe before and decoding onwards."""
import os
from pathlib import Path

import numpy as np

from ..errors import LiftError

VIDEO_SUFFIXES = frozenset(".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .m2ts .wmv .flv .ogv .y4m".split())


def _av():
    try:
        import av
    except ImportError:
        raise LiftError("reading a video file needs PyAV, which is not installed: run `pip install av`, or give a folder of frames") from None
    return av


class VideoSequence:
    """The frames of a video file in the order in which they are shown.

    Args:
        path: the file.
        cuts, duplicates: as in `sequences.Sequence`.

    Raises:
        LiftError: the file cannot be opened, is truncated or holds no video frame.
    """

    def __init__(self, path: str | Path, cuts: tuple[int, ...] = (), duplicates: tuple[int, ...] = ()):
        self.path = Path(path)
        self.name = self.path.stem
        self.cuts, self.duplicates = tuple(cuts), tuple(duplicates)
        av = _av()
        try:
            with av.open(str(self.path)) as container:
                if not container.streams.video:
                    raise LiftError(f"{self.path} holds no video stream; give a video file or a folder of numbered frames")
                stream = container.streams.video[0]
                self.size = (stream.height, stream.width)
                self._unit = float(stream.time_base or 1)
                pts, damaged, promised = [], False, stream.frames
                for packet in container.demux(stream):   # packets only, nothing is decoded
                    damaged |= packet.is_corrupt
                    if packet.size and not packet.is_discard:
                        pts.append(packet.pts)
        except (av.FFmpegError, OSError) as error:
            raise LiftError(f"{self.path} cannot be read as a video ({_words(error)}); it may be truncated or of a kind that FFmpeg does not know") from None
        if damaged or not pts or not all(self.size):
            held = "is truncated or damaged" if damaged else "holds no video frame"
            raise LiftError(f"{self.path} {held}; copy or download it again, or leave it out")
        if len(pts) < 0.9 * promised:                    # an edit list may hide a few frames, not many
            raise LiftError(f"{self.path} is truncated: it announces {promised} frames and holds {len(pts)}; copy or download it again, or leave it out")
        # Some containers carry no presentation times; their frames are then found by counting from the start.
        self._pts = None if None in pts or len(set(pts)) < len(pts) else sorted(pts)
        self._length = len(pts)
        self._open = None

    def __len__(self) -> int:
        return self._length

    @property
    def timestamps(self) -> np.ndarray | None:
        """Seconds of every frame where the rate varies, None where frames are evenly spaced (to a tenth, or the clock's own rounding)."""
        if self._pts is None or len(self) < 3:
            return None
        gaps = np.diff(self._pts) * self._unit
        usual = np.median(gaps)
        if np.abs(gaps - usual).max() <= max(0.1 * usual, 1.01 * self._unit):
            return None
        return (np.array(self._pts) - self._pts[0]) * self._unit

    def read(self, indices: list[int]) -> np.ndarray:
        """These frames, (n, H, W, 3) uint8 RGB, in the order asked for.

        Raises:
            IndexError: a number is outside 0..len - 1.
            LiftError: a frame cannot be decoded.
        """
        wanted = sorted(set(indices))
        if wanted and not 0 <= wanted[0] <= wanted[-1] < len(self):
            raise IndexError(f"{self.name}: frames must be in 0..{len(self) - 1}, got {list(indices)}")
        found: dict[int, np.ndarray] = {}
        try:
            for number, frame in self._decode(wanted):
                found[number] = frame.to_ndarray(format="rgb24")
        except (_av().FFmpegError, OSError) as error:
            raise LiftError(f"{self.path} cannot be decoded ({_words(error)}); it may be truncated or damaged") from None
        missing = [i for i in wanted if i not in found]
        if missing:
            raise LiftError(f"{self.path}: frame {missing[0]} of {len(self)} cannot be decoded; the file may be truncated or damaged")
        return np.stack([found[i] for i in indices])

    def _decode(self, wanted: list[int]):
        """Yield (number, frame) of the wanted numbers, sorted."""
        container, stream = self._container()
        if self._pts is None:
            container.seek(0, stream=stream)
            needed, last = set(wanted), wanted[-1]
            for number, frame in enumerate(container.decode(stream)):
                if number in needed:
                    yield number, frame
                if number >= last:
                    return
            return
        number_of = {self._pts[i]: i for i in wanted}
        ahead = list(wanted)
        while ahead:
            run = [ahead.pop(0)]
            while ahead and ahead[0] - run[-1] <= 48:    # decoding on is cheaper than another seek
                run.append(ahead.pop(0))
            first, last = self._pts[run[0]], self._pts[run[-1]]
            for start in (first, self._pts[0]):          # an index may lead past the frame asked for: then from the beginning
                container.seek(start, stream=stream, backward=True)
                late = False
                for k, frame in enumerate(container.decode(stream)):
                    if frame.pts is None:
                        continue
                    late = k == 0 and frame.pts > first
                    if late:
                        break
                    if frame.pts in number_of:
                        yield number_of[frame.pts], frame
                    if frame.pts >= last:
                        break
                if not late:
                    break

    def _container(self):
        # A worker that was forked must not share the parent's file position.
        if self._open is None or self._open[0] != os.getpid():
            container = _av().open(str(self.path))
            self._open = (os.getpid(), container, container.streams.video[0])
        return self._open[1:]

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._open is not None and self._open[0] == os.getpid():
            self._open[1].close()
        self._open = None

    def __getstate__(self):
        return {**self.__dict__, "_open": None}


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
