"""Parts of a video: a few hundred frames in a small file, so that a job can resume and be shared.

The k-th frame of a part stands at k * 10 ms, which Matroska's clock of milliseconds holds exactly;
the frames' own times, exact fractions, are in a JSON file beside it. The packets of parts follow
each other in the output, since every part starts with a keyframe and refers to nothing outside.
The same frames give the same file.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import numpy as np

from lift.errors import LiftError
from lift.files import atomic, write_error
from lift.io.codecs import Encoding
from lift.io.color import FrameLayout
from lift.io.decode import DecodedFrame
from lift.io.encoder import VideoTags, add_encoder, encoder_clock, encoder_error, part_format
from lift.io.optional import require
from lift.io.to_yuv import to_frame

TICK = Fraction(1, 100)  # seconds from one frame to the next in a part's file
LATEST = 64  # frames by which an encoder may reorder, at most; decoding times stay before display


class PartWriter:
    """A part; a context manager. The files appear when the block ends without an error.

    Args:
        path: the part; its times are written to the same name with .json.
        size: width, height.
        encoding: from `choose_encoding(...).for_parts(layout)`.
        rate: nominal frames per second of the output.
        time_base: seconds of one tick of the times, which guide the encoder's bit rate.
        name: of the output, for messages; `path` where None.
        source: whose colour tags, aspect, HDR metadata and layout of planes hold; None for BT.709.

    Attributes:
        written: number of frames so far.

    Raises:
        LiftError: the encoder does not open, or the disk is full.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        encoding: Encoding,
        rate: Fraction,
        time_base: Fraction,
        source=None,
        name: Path | None = None,
    ):
        self.path = Path(path)
        self._name = name or self.path
        self.size, self.encoding = size, encoding
        self.rate = Fraction(rate)
        self.tags = VideoTags.of(source, encoding.pix_fmt)
        self.layout: FrameLayout | None = getattr(source, "layout", None)
        self._clock = encoder_clock(encoding, self.rate, Fraction(time_base))
        self._times: list[Fraction] = []
        self._index_of: dict[int, int] = {}
        self._decoded, self._tick = 0, -1
        self._is_matroska = part_format(encoding) == "matroska"

    @property
    def written(self) -> int:
        return len(self._times)

    def __enter__(self) -> "PartWriter":
        av = require("av", "encoding a video")
        self._error = (av.error.FFmpegError, OSError)
        with ExitStack() as stack:
            try:
                file = stack.enter_context(atomic(self.path))
                self._container = av.open(
                    str(file.resolve()),
                    "w",
                    format=part_format(self.encoding),
                    container_options={"fflags": "+bitexact"},  # no random identifiers
                )
                stack.callback(self._close_quietly)
                clock = self._clock or 1 / self.rate.limit_denominator(1001)
                self._stream = add_encoder(
                    self._container, self.encoding, self.size, self.rate, clock, self.tags
                )
            except self._error as error:
                raise write_error(self._name, error) from error
            self._time_base = clock
            self._stack = stack.pop_all()
        return self

    def write(self, frame: np.ndarray | DecodedFrame, time: Fraction) -> None:
        """Append a frame that is displayed from `time` (seconds of the output) on; times rise.

        Args:
            frame: (H, W, 3) RGB, uint8, uint16 or float32, or a DecodedFrame of the source.
        """
        rgb = frame.rgb if isinstance(frame, DecodedFrame) else frame
        if rgb.shape != (self.size[1], self.size[0], 3):
            raise ValueError(
                f"PartWriter.write: frame must be ({self.size[1]}, {self.size[0]}, 3), "
                f"got {rgb.shape}"
            )
        if self._times and time <= self._times[-1]:
            raise ValueError(f"PartWriter.write: times must rise, got {time}")
        index = len(self._times)
        self._times.append(Fraction(time))
        video_frame = to_frame(frame, self.encoding.pix_fmt, self.encoding.coding, self.layout)
        tick = index
        if self._clock is not None:
            tick = round((time - self._times[0]) / self._clock)
        tick = self._tick = max(tick, self._tick + 1)
        self._index_of[tick] = index
        video_frame.pts, video_frame.time_base = tick, self._time_base
        video_frame.color_primaries = self.tags.primaries
        video_frame.color_trc = self.tags.transfer
        try:
            self._store(self._stream.encode(video_frame))
        except self._error as error:
            if index == 0:
                raise encoder_error(self.encoding, self.size, error) from error
            raise write_error(self._name, error) from error

    def _store(self, packets) -> None:
        for packet in packets:
            if self._is_matroska:  # other formats hold codecs without reordering, at 1 / rate
                packet.time_base = TICK
                packet.pts = self._index_of[packet.pts]
                packet.dts, packet.duration = self._decoded - LATEST, 1
            self._decoded += 1
            self._container.mux(packet)

    def __exit__(self, kind, error, trace) -> None:
        try:
            with self._stack:  # closes the file, then moves it to its name, or deletes it
                if error is not None:
                    raise error
                if not self._times:
                    raise LiftError(f"{self._name}: no frame was written, so there is no part")
                self._store(self._stream.encode(None))
                if self._decoded != len(self._times):
                    raise LiftError(
                        f"{self.encoding.encoder}: left out {len(self._times) - self._decoded} "
                        "frames; choose another --codec"
                    )
                self._container.close()
            with atomic(times_path(self.path)) as file:
                file.write_text(json.dumps([str(time) for time in self._times]))
        except self._error as failure:
            if failure is error:
                raise
            raise write_error(self._name, failure) from failure

    def _close_quietly(self) -> None:
        try:
            self._container.close()  # a second close does nothing; after a failure it may fail
        except self._error:
            pass


def times_path(path: str | Path) -> Path:
    """The JSON file beside a part; it is written last, so that it marks a finished part."""
    return Path(path).with_suffix(".json")


def part_times(path: str | Path) -> list[Fraction] | None:
    """Exact seconds of the frames of a part in order of display; None if it is not finished."""
    try:
        texts = json.loads(times_path(path).read_text())
        return [Fraction(text) for text in texts] if Path(path).exists() else None
    except (OSError, ValueError, TypeError):
        return None


def read_part(path: str | Path) -> Iterator:
    """(packet, k) in order of decoding: an av.Packet, and the number of its frame in the part.

    Times of the packet are those of the part's own file and mean nothing in the output.
    """
    av = require("av", "joining parts")
    with av.open(str(Path(path).resolve())) as container:
        stream = container.streams.video[0]
        is_matroska = "matroska" in container.format.name
        count = 0
        for packet in container.demux(stream):
            if packet.size == 0 or packet.pts is None:  # PyAV's last one, without data
                continue
            seconds = packet.pts * Fraction(packet.time_base)
            yield packet, round(seconds / TICK) if is_matroska else count
            count += 1
