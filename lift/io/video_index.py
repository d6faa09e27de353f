"""Frames of a video file by index: seek to the keyframe before, then decode."""

import bisect
import gc
import multiprocessing
import os
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from lift.errors import LiftError
from lift.io.decode import FrameConverter, orientation_of
from lift.io.decoder import decode_frames, open_container, video_stream
from lift.io.optional import require

COMPLETE = 0.9  # a file with fewer of the announced frames is truncated; an edit list hides a few
EMPTY_PACKET = 8  # bytes up to which an MPEG-4 packet is a placeholder: its frame is in another one


@dataclass
class _Packets:
    """The frames that the packets of a stream announce.

    Attributes:
        pts: presentation times of the packets whose frames are displayed.
        keys: (presentation time, decoding time) of the keyframes among them.
        hidden: number of packets whose frames an edit list hides.
        irregular: packets and frames do not correspond (packed B-frames).
    """

    pts: list[int | None] = field(default_factory=list)
    keys: list[tuple[int | None, int | None]] = field(default_factory=list)
    hidden: int = 0
    irregular: bool = False


class IndexedVideo:
    """The frames of a video file in the order in which they are displayed, read by index.

    The pixels are those of `open_frames(path).frames()`.

    Args:
        path: the file.
        name: for messages; the file's name without its suffix when None.

    Attributes:
        size: (H, W) of the upright frames, pixels.
        cuts, duplicates: indices of frames that open a shot; that repeat the one before.

    Raises:
        LiftError: the file cannot be opened, is truncated or holds no video frame.
    """

    def __init__(self, path: str | Path, name: str | None = None):
        self.path = Path(path)
        self.name = name or self.path.stem
        self.cuts: tuple[int, ...] = ()
        self.duplicates: tuple[int, ...] = ()
        self._forget()
        packets = self._scan()
        first = self._first_frame()
        self.size = orientation_of(first).size(first.height, first.width)
        self._unit = first.time_base or Fraction(1)
        pts = packets.pts
        if first.pts is not None and None not in pts:  # frames before it cannot be decoded
            pts = [p for p in pts if p >= first.pts]
        if packets.irregular:
            self._count_from_start(self._count_by_decoding())
        elif None in pts or len(set(pts)) < len(pts):  # no usable times in the container
            self._count_from_start(len(pts))
        else:
            self._index_by_time(pts, packets.keys)

    def _index_by_time(self, decoded: list[int], keys: list[tuple[int, int | None]]) -> None:
        pts = sorted(decoded)
        self._length, self._pts = len(pts), pts
        self._number = {p: i for i, p in enumerate(pts)}
        self._order = np.array([self._number[p] for p in decoded]).argsort()
        times = {
            self._number[p]: sorted({p, p if d is None else min(p, d)}, reverse=True)
            for p, d in keys
            if p in self._number
        }
        self._keyframes = sorted({0, *times})
        self._seek_times = [times.get(k, ()) for k in self._keyframes]

    def _count_from_start(self, length: int) -> None:
        """Without presentation times frames are counted from the start of the file."""
        self._length = length
        self._pts, self._number = None, None
        self._order = np.arange(length)  # the place of every frame in the order of decoding
        self._keyframes, self._seek_times = [0], [()]

    def _scan(self) -> _Packets:
        """Read all packets; nothing is decoded."""
        av = require("av", "reading a video")
        packets, damaged = _Packets(), False
        with open_container(self.path) as container:
            stream = video_stream(self.path, container)
            codec, announced = stream.codec_context.name, stream.frames
            try:
                for packet in container.demux(stream):
                    damaged |= packet.is_corrupt
                    if not packet.size:
                        continue
                    if packet.is_discard:
                        packets.hidden += 1
                    elif codec != "vp8" or _is_shown_vp8(packet):
                        packets.pts.append(packet.pts)
                        if packet.is_keyframe:
                            packets.keys.append((packet.pts, packet.dts))
                    packets.irregular |= codec == "mpeg4" and packet.size <= EMPTY_PACKET
            except (av.FFmpegError, OSError) as error:
                raise LiftError(
                    f"{self.path} cannot be read as a video ({_cause(error)}); "
                    "it may be truncated, or no video at all"
                ) from None
        if damaged or not packets.pts:
            state = "is truncated or damaged" if damaged else "holds no video frame"
            raise LiftError(f"{self.path} {state}; copy or download it again, or leave it out")
        count = len(packets.pts) + packets.hidden
        if count < COMPLETE * announced:
            raise LiftError(
                f"{self.path} is truncated: it announces {announced} frames and holds {count}; "
                "copy it again or leave it out"
            )
        return packets

    def _first_frame(self):
        with open_container(self.path) as container:
            stream = video_stream(self.path, container)
            frame = next(self._decoded(container, stream), None)
            if frame is None:
                raise LiftError(
                    f"{self.path} holds no video frame that can be decoded; leave it out"
                )
            return frame

    def _count_by_decoding(self) -> int:
        with open_container(self.path) as container:
            stream = video_stream(self.path, container)
            return sum(1 for _ in self._decoded(container, stream))

    def _decoded(self, container, stream):
        """All frames, with the times that the packets state."""
        return decode_frames(self.path, container, stream, packets=container.demux(stream))

    def __len__(self) -> int:
        return self._length

    @property
    def timestamps(self) -> np.ndarray | None:
        """Seconds of every frame where the rate varies; None where frames are evenly spaced.

        Even means to a tenth of the usual interval, or to the rounding of the container's clock.
        """
        if self._pts is None or len(self) < 3:
            return None
        unit = float(self._unit)
        intervals = np.diff(self._pts) * unit
        usual = np.median(intervals)
        if np.abs(intervals - usual).max() <= max(0.1 * usual, 1.01 * unit):
            return None
        return (np.array(self._pts) - self._pts[0]) * unit

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """These frames, (n, H, W, 3) uint8 RGB, in the order of `indices`.

        Raises:
            IndexError: an index is outside 0..len - 1.
            LiftError: a frame cannot be decoded.
        """
        av = require("av", "reading a video")
        if len(indices) and not 0 <= min(indices) <= max(indices) < len(self):
            raise IndexError(
                f"{self.name}: frames must be in 0..{len(self) - 1}, got {list(indices)}"
            )
        frames: dict[int, np.ndarray] = {}
        for i in sorted(set(indices)):  # ascending, so that no group of pictures is decoded twice
            try:
                frame = self._frame(i)
            except (av.FFmpegError, OSError) as error:
                self.close()
                raise LiftError(
                    f"{self.path} cannot be decoded at frame {i} ({_cause(error)}); "
                    "it may be truncated or damaged"
                ) from None
            if frame is None:
                self.close()
                raise LiftError(
                    f"{self.path}: frame {i} of {len(self)} cannot be decoded; "
                    "the file may be truncated or damaged"
                )
            frames[i] = self._convert(frame).rgb
        return np.stack([frames[i] for i in indices])

    def all_frames(self) -> Iterator[tuple[np.ndarray | None, bool]]:
        """All frames in order, whatever their damage.

        Yields:
            (H, W, 3) uint8 RGB, or None where the frame cannot be decoded; and whether it is
            damaged.
        """
        av = require("av", "reading a video")
        for i in range(len(self)):
            try:
                frame = self._frame(i)
            except (av.FFmpegError, OSError):
                frame = None
            if frame is None:
                self.close()
                yield None, True
            else:
                # before the first keyframe a reference frame is missing, and that is all
                yield self._convert(frame).rgb, frame.is_corrupt and i > 0
        self.close()

    def predicted_from(self, i: int) -> list[int]:
        """Frame i and all that may show its damage: decoded after it, up to the next keyframe."""
        key = bisect.bisect_right(self._keyframes, i)
        start, stop = self._keyframes[key - 1], (*self._keyframes, len(self))[key]
        return [j for j in range(start, stop) if self._order[j] >= self._order[i]]

    # -- decoding: `_position` is the index of the frame decoded last

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
        if self._container is not None:
            return
        self._container = open_container(self.path)
        self._stream = video_stream(self.path, self._container)
        if multiprocessing.parent_process() is not None:  # worker processes are parallel already
            self._stream.thread_type = "SLICE"
        self._convert = FrameConverter()
        self._frames, self._position = self._container.decode(self._stream), -1
        _open_videos.add(self)

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._container is not None:
            self._container.close()
        self._forget()

    def _forget(self) -> None:
        self._container = self._stream = self._frames = self._convert = None
        self._position = -1

    def __getstate__(self):
        state = dict(self.__dict__, _position=-1)
        for name in ("_container", "_stream", "_frames", "_convert"):
            state[name] = None
        return state


def _is_shown_vp8(packet) -> bool:
    """Whether a VP8 packet has a frame to display; alternate reference frames have none."""
    return bool(bytes(packet)[0] >> 4 & 1)


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


# -- forks: a worker shares neither its parent's place in a file nor its decoders ------------------

_open_videos: weakref.WeakSet[IndexedVideo] = weakref.WeakSet()
_of_parent: list[tuple] = []


def _forget_open_videos() -> None:
    """In a forked process: open every file again, and never free a decoder of the parent.

    FFmpeg waits for a decoder's threads before it frees it, and a fork has none of them.
    """
    for video in list(_open_videos):
        _of_parent.append((video._container, video._stream, video._frames, video._convert))
        video._forget()


if hasattr(os, "register_at_fork"):
    # frozen: closed files wait in reference cycles, which a worker would collect as well
    os.register_at_fork(
        before=gc.freeze, after_in_parent=gc.unfreeze, after_in_child=_forget_open_videos
    )
