"""Video through pipes: `-` as input or output."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import numpy as np

from lift.errors import LiftError, discard
from lift.io.codecs import choose_encoding
from lift.io.color import FrameLayout
from lift.io.decoded_frame import DecodedFrame
from lift.io.optional import require
from lift.io.to_yuv import pixel_format, tag, to_frame

Y4M, NUT = "y4m", "nut"
PIPE_FORMATS = (Y4M, NUT)
Y4M_CHROMA = ("420", "422", "444", "gray")
DEFAULT_CODEC = "rawvideo"


class PipeOutput:
    """Frames to stdout: raw in YUV4MPEG2, with exact times in NUT; a context manager.

    Args:
        form: "y4m" or "nut"; where None, y4m if it holds the frames.
        size: width, height.
        rate: nominal frames per second.
        tick: seconds of one tick of the output's clock.
        layout: of the frames.
        source: VideoSource whose planes hold; None for images.
        codec, pix_fmt, preset, crf: of NUT: as of `choose_encoding`; raw video where codec is None.
        stream: binary; stdout where None.

    Attributes:
        notes: sentences on what differs from the source.
        is_uneven: y4m got frames whose times are not those of the rate.

    Raises:
        LiftError: an unknown form or codec, y4m does not hold the codec or the pixel format; later,
            the program that reads the pipe has ended.
    """

    def __init__(
        self,
        form: str | None,
        size: tuple[int, int],
        rate: Fraction,
        tick: Fraction,
        layout: FrameLayout,
        source=None,
        *,
        codec: str | None = None,
        pix_fmt: str | None = None,
        preset: str | None = None,
        crf: int | None = None,
        stream=None,
    ):
        self.form = form or (NUT if codec or layout.has_alpha or layout.is_rgb else Y4M)
        if self.form not in PIPE_FORMATS:
            raise LiftError(f"--format {form}: a pipe holds {' or '.join(PIPE_FORMATS)}")
        if self.form == Y4M and codec is not None:
            raise LiftError("--codec: y4m holds raw frames only; add --format nut")
        if codec is None and (preset, crf) != (None, None):
            raise LiftError(
                "--preset and --crf are for an encoder, and a pipe has raw frames; add --codec"
            )
        self.size, self.rate, self.tick = size, rate, tick
        self._source_layout = getattr(source, "layout", None)
        self._stream = stream or sys.stdout.buffer
        chosen = choose_encoding(
            ".mkv",  # for the choice of the codec: NUT holds what Matroska holds
            layout,
            size=size,
            codec=codec or "ffv1",
            pix_fmt=pix_fmt,
            preset=preset,
            crf=crf,
        )
        self._codec = chosen.encoder if codec else DEFAULT_CODEC
        self._options = {**chosen.options} if codec else {}
        self._pix_fmt, self._coding = chosen.pix_fmt, chosen.coding
        if self.form == Y4M:
            self._pix_fmt = _held_by_y4m(chosen.pix_fmt, is_asked=pix_fmt is not None)
        self.notes: list[str] = list(chosen.notes) if codec else []
        self._count, self._first, self.is_uneven = 0, None, False

    @property
    def format_name(self) -> str:
        """Of the frames, or of the pipe where they are raw."""
        return self.form if self._codec == DEFAULT_CODEC else self._codec

    def __enter__(self) -> "PipeOutput":
        av = require("av", "writing a video")
        name = "yuv4mpegpipe" if self.form == Y4M else "nut"
        self._container = av.open(
            _Unseekable(self._stream), "w", format=name, container_options={"strict": "-1"}
        )
        rate = Fraction(self.rate).limit_denominator(1 << 20)
        video = self._container.add_stream(self._codec, rate=rate, options=self._options)
        video.width, video.height = self.size
        video.pix_fmt = self._pix_fmt
        self._tick = 1 / rate if self.form == Y4M else self.tick
        codec = video.codec_context
        codec.time_base = self._tick
        tag(codec, self._pix_fmt, self._coding)
        self._video = video
        return self

    def begin(self, part: int) -> None:
        """A pipe has one part."""

    def write(self, frame: np.ndarray | DecodedFrame, time: Fraction) -> None:
        """Write a frame; in y4m, which has no times, at the nominal rate."""
        video_frame = to_frame(frame, self._pix_fmt, self._coding, self._source_layout)
        video_frame.pts = self._count if self.form == Y4M else round(time / self._tick)
        video_frame.time_base = self._tick
        if self.form == Y4M:
            self._first = time if self._first is None else self._first
            self.is_uneven |= abs((time - self._first) * self.rate - self._count) > 1
        with self._reader():
            self._container.mux(self._video.encode(video_frame))
        self._count += 1

    def end(self, error: BaseException | None = None) -> None:
        """A pipe has one part."""

    def __exit__(self, kind, error, trace) -> None:
        if error is None:
            with self._reader():
                self._container.mux(self._video.encode(None))
                self._container.close()
                self._stream.flush()

    @contextmanager
    def _reader(self) -> Iterator[None]:
        """An error of the pipe in this block is that of the program that reads it."""
        av = require("av", "writing a video")
        try:
            yield
        except (av.error.BrokenPipeError, BrokenPipeError) as failure:
            discard(self._stream)
            raise LiftError("-: the program that reads the pipe has ended") from failure
        except (av.error.FFmpegError, OSError) as failure:
            raise LiftError(f"-: could not be written ({failure.strerror or failure})") from failure


def _held_by_y4m(pix_fmt: str, is_asked: bool) -> str:
    """The pixel format, or where y4m does not hold it and it is not asked for, the nearest."""
    found = pixel_format(pix_fmt)
    is_plain = found.is_planar and not (found.is_rgb or found.has_alpha or found.is_big_endian)
    if is_plain and found.chroma in Y4M_CHROMA:
        return pix_fmt
    if is_asked:
        raise LiftError(f"--pix_fmt {pix_fmt}: y4m does not hold it; add --format nut")
    return "yuv444p" if found.bits <= 8 else f"yuv444p{min(found.bits, 16)}le"


class _Unseekable:
    """What PyAV writes to without looking back."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, data) -> int:
        self._stream.write(data)
        return len(data)
