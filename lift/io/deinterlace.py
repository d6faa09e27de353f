"""Interlaced frames to progressive ones, one for one, with FFmpeg's bwdif.

Both fields of a frame were recorded at two instants: displayed together they make combs where
something moves, and no motion estimate holds for both.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lift.io.color import FULL, coding_of
from lift.io.optional import require
from lift.io.planes import PlaneReader

FIELD_ORDERS = {2: "tff", 3: "bff", 4: "tff", 5: "bff"}  # AVFieldOrder: tt, bb, tb, bt
# decoders whose bitstream does not say whether a frame is interlaced: the container does
WITHOUT_FLAGS = frozenset("huffyuv ffvhuff utvideo magicyuv qtrle png rawvideo v210 v410".split())
# a field of HEVC is a frame of its own
FIELDS_ARE_FRAMES = frozenset(("hevc",))
SMALLEST = 4  # lines and columns that bwdif needs
KEPT_FIELDS = "interlaced: fields are kept, in frames that are marked as progressive"
NOTE = "interlaced: deinterlaced with bwdif (--deinterlace off keeps the fields)"


class Deinterlaced(NamedTuple):
    """A frame and what is known of it.

    Attributes:
        pixels: av.VideoFrame whose samples to take.
        stored: av.VideoFrame as decoded, whose time, side data and tags hold.
    """

    pixels: object
    stored: object


class Deinterlacer:
    """A filter for all frames of a stream; inserted at the first one flagged as interlaced.

    Args:
        codec: FFmpeg's name of the decoder.
        field_order: AVFieldOrder of the stream.

    Attributes:
        off: leave all frames as they are.
        used: whether a frame was interlaced.
    """

    def __init__(self, codec: str, field_order: int = 0):
        self.used = False
        self.off = codec in FIELDS_ARE_FRAMES
        self._parity = FIELD_ORDERS.get(field_order) if codec in WITHOUT_FLAGS else None
        self._graph = self._kind = None
        self._waiting = deque()
        self._planes = PlaneReader()

    def __call__(self, frames: Iterable) -> Iterator[Deinterlaced]:
        """Frames (av.VideoFrame) in order; as many come out, in the same order."""
        for frame in frames:
            if self._graph is not None and self._kind != _kind(frame):
                yield from self._flush()
            if self._graph is None and not self.is_interlaced(frame):
                yield Deinterlaced(frame, frame)
                continue
            yield from self._filter(frame)
        yield from self._flush()

    def is_interlaced(self, frame) -> bool:
        """Whether a decoded frame (av.VideoFrame) is to be deinterlaced."""
        if self.off or min(frame.width, frame.height) < SMALLEST:
            return False
        return frame.interlaced_frame or self._parity is not None

    def _filter(self, frame) -> Iterator[Deinterlaced]:
        planar = self._planes.repacked(frame)
        if self._graph is None:
            self._graph, self._kind, self.used = self._new_graph(planar), _kind(frame), True
        self._waiting.append(frame)
        self._graph.vpush(planar)
        yield from self._pull()

    def _new_graph(self, frame):
        av = require("av", "deinterlacing a video")
        graph = av.filter.Graph()
        source = graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            time_base="1/1000000",
            colorspace=str(int(frame.colorspace)),
            range=str(FULL if coding_of(frame).full_range else int(frame.color_range)),
        )
        nodes = [source]
        if self._parity is not None:
            nodes.append(graph.add("setfield", self._parity))
        nodes.append(graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"))
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph

    def _pull(self) -> Iterator[Deinterlaced]:
        av = require("av", "deinterlacing a video")
        while self._waiting:
            try:
                pixels = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            yield Deinterlaced(pixels, self._waiting.popleft())

    def _flush(self) -> Iterator[Deinterlaced]:
        if self._graph is None:
            return
        self._graph.vpush(None)
        yield from self._pull()
        for frame in self._waiting:  # none, unless the filter dropped one
            yield Deinterlaced(frame, frame)
        self._waiting.clear()
        self._graph = None


def _kind(frame) -> tuple:
    """What a filter is configured for."""
    tags = int(frame.colorspace), int(frame.color_range)
    return frame.width, frame.height, frame.format.name, *tags
