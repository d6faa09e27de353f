"""Times of decoded frames where their file states falling ones.

AVI has no display times. FFmpeg derives them from the kinds of the frames, which is wrong where a
packet holds two of them (packed B-frames of DivX and Xvid). Its decoder gives the frames out in the
right order, and at even decoding times.
"""

from collections.abc import Iterable

PACKED = {"mpeg4"}  # FFmpeg's names of codecs that may be stored so
PROBED = 16  # frames that show whether times fall


class DisplayOrder:
    """Corrects the times of the frames of one stream, in the order in which they are decoded.

    Args:
        codec: FFmpeg's name of it. Frames of those that need no correction pass at once, the first
            ones of others wait until it is known.

    Attributes:
        is_corrected: decoding times have taken the place of display times.
    """

    def __init__(self, codec: str):
        self.is_corrected = False
        self._waiting: list | None = [] if codec in PACKED else None
        self._last: int | None = None
        self._step = 1

    def __call__(self, frames: Iterable) -> list:
        """The frames (av.VideoFrame) that are ready, with rising `pts`."""
        frames = list(frames)
        if self._waiting is None:
            return self._timed(frames)
        self._waiting += frames
        return self.finish() if len(self._waiting) >= PROBED else []

    def finish(self) -> list:
        """The frames that still wait."""
        frames, self._waiting = self._waiting or [], None
        self.is_corrected |= _fall(f.pts for f in frames) and not _fall(f.dts for f in frames)
        return self._timed(frames)

    def _timed(self, frames: list) -> list:
        for frame in frames if self.is_corrected else ():
            if self._last is None and None not in (frame.pts, frame.dts):
                time = min(frame.pts, frame.dts)
            elif frame.dts is None:  # the last one, which comes without a packet
                time = (self._last or 0) + self._step
            else:
                time = frame.dts
            if self._last is not None:
                self._step = max(1, time - self._last)
            frame.pts = self._last = time
        return frames


def _fall(times: Iterable[int | None]) -> bool:
    known = [time for time in times if time is not None]
    return any(b <= a for a, b in zip(known, known[1:], strict=False))
