"""Random access to the frames of a video file, by seeking to the keyframe before and decoding
onwards.
"""

import bisect
import multiprocessing
import os
from pathlib import Path

import numpy as np

from lift.errors import LiftError

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .m2ts .wmv .flv .ogv .y4m".split()
)


def _av():
    try:
        import av
    except ImportError:
        raise LiftError(
            "reading a video needs PyAV, which is not installed: run `pip install av`, or give a folder of frames"
        ) from None
    return av


class VideoSequence:
    """The frames of a video file in the order in which they are shown.

    Args:
        path: the file.
        cuts, duplicates: as in `sequences.Sequence`.

    Raises:
        LiftError: the file cannot be opened, is truncated or holds no video frame.
    """

    def __init__(
        self, path: str | Path, cuts: tuple[int, ...] = (), duplicates: tuple[int, ...] = ()
    ):
        self.path = Path(path)
        self.name = self.path.stem
        self.cuts, self.duplicates = tuple(cuts), tuple(duplicates)
        pts, keys, promised = self._scan()
        if len(pts) < 0.9 * promised:  # an edit list may hide a few frames, not many
            raise LiftError(
                f"{self.path} is truncated: it announces {promised} frames and holds {len(pts)}; copy it again or leave it out"
            )
        self._length = len(pts)
        if None in pts or len(set(pts)) < len(
            pts
        ):  # no presentation times in the container: frames are counted from the start
            self._pts, self._number, self._keyframes, self._seek_times = None, None, [0], [()]
        else:
            self._pts = sorted(pts)
            self._number = {p: i for i, p in enumerate(self._pts)}
            times = {
                self._number[p]: sorted({p, p if d is None else min(p, d)}, reverse=True)
                for p, d in keys
            }
            self._keyframes = sorted({0, *times})
            self._seek_times = [times.get(k, ()) for k in self._keyframes]
        self._forget()

    def _scan(self) -> tuple[list[int | None], list[tuple[int, int | None]], int]:
        """All presentation times, (presentation, decoding) time of the keyframes, and the number of
        frames that the header announces.
        """
        av = _av()
        pts, keys, damaged = [], [], False
        try:
            with av.open(str(self.path)) as container:
                if not container.streams.video:
                    raise LiftError(
                        f"{self.path} holds no video stream; give a video file or a folder of numbered frames"
                    )
                stream = container.streams.video[0]
                self.size, self._unit, promised = (
                    (stream.height, stream.width),
                    float(stream.time_base or 1),
                    stream.frames,
                )
                for packet in container.demux(stream):  # nothing is decoded
                    damaged |= packet.is_corrupt
                    if packet.size and not packet.is_discard:
                        pts.append(packet.pts)
                        if packet.is_keyframe:
                            keys.append((packet.pts, packet.dts))
        except (av.FFmpegError, OSError) as error:
            raise LiftError(
                f"{self.path} cannot be read as a video ({_words(error)}); it may be truncated, or no video at all"
            ) from None
        if damaged or not pts or not all(self.size):
            held = "is truncated or damaged" if damaged else "holds no video frame"
            raise LiftError(f"{self.path} {held}; copy or download it again, or leave it out")
        return pts, keys, promised

    def __len__(self) -> int:
        return self._length

    @property
    def timestamps(self) -> np.ndarray | None:
        """Seconds of every frame where the rate varies, None where frames are evenly spaced (to a
        tenth, or the clock's own rounding).
        """
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
        if indices and not 0 <= min(indices) <= max(indices) < len(self):
            raise IndexError(
                f"{self.name}: frames must be in 0..{len(self) - 1}, got {list(indices)}"
            )
        found: dict[int, np.ndarray] = {}
        for i in sorted(
            set(indices)
        ):  # forwards, so that frames of one group of pictures are decoded once
            try:
                frame = self._frame(i)
            except (_av().FFmpegError, OSError) as error:
                self.close()
                raise LiftError(
                    f"{self.path} cannot be decoded at frame {i} ({_words(error)}); it may be truncated or damaged"
                ) from None
            if frame is None:
                self.close()
                raise LiftError(
                    f"{self.path}: frame {i} of {len(self)} cannot be decoded; the file may be truncated or damaged"
                )
            found[i] = frame.to_ndarray(format="rgb24")
        return np.stack([found[i] for i in indices])

    # -- decoding: `_position` is the number of the frame decoded last

    def _frame(self, i: int):
        """Frame i, or None where the decoder passes it by."""
        self._reopen()
        key = bisect.bisect_right(self._keyframes, i) - 1
        if self._position < i and self._keyframes[key] <= self._position + 1:
            return self._advance(i)
        # Containers find a keyframe by its presentation time or by its decoding time, and some lead
        # past it: then from the beginning.
        for start in self._seek_times[key]:
            self._container.seek(start, stream=self._stream, backward=True)
            self._frames, self._position = self._container.decode(self._stream), -1
            if (frame := self._advance(i)) is not None:
                return frame
        self.close()
        self._reopen()
        return self._advance(i)

    def _advance(self, i: int):
        for frame in self._frames:
            number = self._position + 1 if self._number is None else self._number.get(frame.pts)
            if number is None:
                continue
            self._position = number
            if number >= i:
                return frame if number == i else None
        self._position = len(self)  # at the end: the next read seeks
        return None

    def _reopen(self) -> None:
        if (
            self._process == os.getpid()
        ):  # a worker that was forked must not share the file position of its parent
            return
        self._container = _av().open(str(self.path))
        self._stream = self._container.streams.video[0]
        if (
            multiprocessing.parent_process() is None
        ):  # worker processes are the parallelism where there are any
            self._stream.thread_type = "AUTO"
        self._process = os.getpid()
        self._frames, self._position = self._container.decode(self._stream), -1

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._process == os.getpid():
            self._container.close()
        self._forget()

    def _forget(self) -> None:
        self._process = self._container = self._stream = self._frames = None
        self._position = -1

    def __getstate__(self):
        return {
            **self.__dict__,
            "_process": None,
            "_container": None,
            "_stream": None,
            "_frames": None,
            "_position": -1,
        }


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
