"""Frames to a video file, which appears when it is complete."""

import shutil
import tempfile
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import numpy as np

from lift.files import write_error
from lift.io.codecs import choose_encoding
from lift.io.color import FrameLayout
from lift.io.decoded_frame import DecodedFrame, rgb_of
from lift.io.names import refuse_existing
from lift.io.outputs import Parts, VideoOutput
from lift.io.timing import WHOLE

RGB = FrameLayout("gbrp", chroma="rgb")


class VideoWriter:
    """A video of 8-bit RGB frames; a context manager.

    The file appears when the block ends without an error.

    Args:
        path: the file; its suffix chooses the container.
        width, height: of every frame, pixels. H.264 with halved chroma has no odd sides: such a
            video has full chroma, which some hardware players do not support.
        rate: nominal frames per second.
        time_base: seconds of one tick; every time must be a multiple of it (the nearest tick is
            taken). Matroska rounds to milliseconds.
        codec, crf: as of `codecs.choose_encoding`; 17 for H.264 where crf is None.
        overwrite: replace an existing file.

    Attributes:
        written: number of frames so far.

    Raises:
        LiftError: the file exists, no encoder, a full disk.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        rate: Fraction,
        time_base: Fraction,
        *,
        codec: str | None = None,
        crf: int | None = None,
        overwrite: bool = False,
    ):
        self.path, self.size = Path(path), (width, height)
        refuse_existing(self.path, overwrite)
        self.rate, self.time_base = Fraction(rate), Fraction(time_base)
        self._encoding = choose_encoding(
            self.path.suffix, RGB, size=self.size, codec=codec, crf=crf
        )
        self.written = 0

    def __enter__(self) -> "VideoWriter":
        with ExitStack() as stack:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                work = tempfile.mkdtemp(prefix=".lift-", dir=self.path.parent)
            except OSError as error:
                raise write_error(self.path, error) from error
            stack.callback(shutil.rmtree, work, ignore_errors=True)
            self._output = VideoOutput(
                Parts(Path(work)),
                self.path,
                self.size,
                self._encoding,
                self.rate,
                self.time_base,
                layout=RGB,
            )
            self._output.plan_streams(self.path.suffix, None, "copy", WHOLE, self.rate)
            self._output.begin(0)
            self._stack = stack.pop_all()
        return self

    def write(self, frame: np.ndarray | DecodedFrame, time: Fraction) -> None:
        """Append a frame that is displayed from `time` (seconds) on; times must rise.

        Args:
            frame: (H, W, 3) uint8 RGB.
            time: a multiple of `time_base`.
        """
        rgb, (width, height) = rgb_of(frame), self.size
        if rgb.shape != (height, width, 3) or rgb.dtype != np.uint8:
            raise ValueError(
                f"VideoWriter.write: frame must be ({height}, {width}, 3) uint8, "
                f"got {rgb.shape} {rgb.dtype}"
            )
        self._output.write(frame, time)
        self._last = time
        self.written += 1

    def __exit__(self, kind, error, trace) -> None:
        with self._stack:
            self._output.end(error)
            if error is None:
                end = self._last + 1 / self.rate
                self._output.publish(self.path, [self.written], end)
