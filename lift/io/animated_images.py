"""Animated WebP images as a source of frames; FFmpeg, which reads GIF and APNG, shows none.

Frames are decoded some at a time, so that memory does not grow with their number.
"""

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from lift.errors import LiftError
from lift.io.decoded_frame import DecodedFrame, ReadReport
from lift.io.optional import require

BLOCK = 32  # frames that are decoded together
SHORTEST, USUAL = 10, 100  # ms; browsers display a frame of SHORTEST or less for USUAL
HEADER = 1 << 16  # bytes before whose end the pixels begin
GIF_LOOPS = b"NETSCAPE2.0\x03\x01"  # stands before the count
ANIMATION, ALPHA = 0x02, 0x10  # flags of a WebP file


def is_animated_webp(path: str | Path) -> bool:
    """Whether a file is a WebP image that states to be animated."""
    try:
        with open(path, "rb") as file:
            head = file.read(21)
    except OSError:
        return False
    is_webp = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == 21
    return is_webp and bool(head[20] & ANIMATION)


def is_animated(path: str | Path) -> bool:
    """Whether an image file is an animation: a GIF, an animated WebP, or an APNG by its header."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEADER)
    except OSError:
        return False
    is_apng = head[:4] == b"\x89PNG" and b"acTL" in head.partition(b"IDAT")[0]
    return is_apng or head[:3] == b"GIF" or is_animated_webp(path)


def play_count(path: str | Path) -> int:
    """How often an image file states that it is to be played; 0 for without end, as for a video.

    A GIF without a count is played once. Else it counts the repetitions after the first time.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEADER)
    except OSError:
        return 0
    if head[:3] == b"GIF":
        _, found, rest = head.partition(GIF_LOOPS)
        if not found:
            return 1
        count = int.from_bytes(rest[:2], "little")
        return count + 1 if count else 0
    if is_animated_webp(path):
        return int.from_bytes(head.partition(b"ANIM")[2][8:10], "little")
    if head[:4] == b"\x89PNG":
        return int.from_bytes(head.partition(b"acTL")[2][4:8], "big")
    return 0


class AnimatedWebP:
    """The frames of an animated WebP image, each for the time that the file states.

    Attributes:
        path: the file.
        width, height: pixels.
        fps: mean frames per second.
        count: number of frames.
        timestamps: seconds of every frame, from 0.
        duration: seconds of the whole animation.
        dtype: of the pixels, uint8.
        has_alpha: whether the file states that it has alpha.
        suffix: ".webp".
        notes: sentences, always empty.
        report: what reading the frames has shown; each iterator starts it anew.

    Raises:
        LiftError: the file cannot be read, has no frames or is truncated.
    """

    dtype = np.dtype(np.uint8)
    suffix = ".webp"

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self._data = self.path.read_bytes()
        except OSError as error:
            raise LiftError(f"{path} cannot be read ({error.strerror}); make it readable") from None
        durations: list[int] = []
        self.width = self.height = 0
        self.has_alpha = False
        for name, content in self._chunks():
            if name == b"VP8X" and len(content) >= 10:
                self.has_alpha = bool(content[0] & ALPHA)
                self.width = int.from_bytes(content[4:7], "little") + 1
                self.height = int.from_bytes(content[7:10], "little") + 1
            elif name == b"ANMF" and len(content) >= 16:
                stated = int.from_bytes(content[12:15], "little")
                durations.append(stated if stated > SHORTEST else USUAL)
        if not durations or not self.width:
            raise self._damaged(0)
        ends = [Fraction(int(end), 1000) for end in np.cumsum(durations)]
        self.count = len(durations)
        self.timestamps = (Fraction(0), *ends[:-1])
        self.duration = ends[-1]
        self.fps = self.count / self.duration
        self._ends = ends
        self.notes: list[str] = []
        self.report = ReadReport()

    def _chunks(self) -> Iterator[tuple[bytes, memoryview]]:
        """(name, content) of the complete chunks of the file.

        Raises:
            LiftError: a chunk goes beyond the end of the file.
        """
        data, at, complete = memoryview(self._data), 12, 0
        while at + 8 <= len(data):
            name, size = struct.unpack_from("<4sI", data, at)
            if at + 8 + size > len(data):
                raise self._damaged(complete)
            complete += name == b"ANMF"
            yield name, data[at + 8 : at + 8 + size]
            at += 8 + size + size % 2

    def frames(self) -> Iterator[np.ndarray]:
        """All frames in order, each (H, W, 3) uint8 RGB."""
        return (frame.rgb for frame, _ in self.decoded())

    def timed(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        """All frames in order, each with its time in seconds."""
        return ((frame.rgb, time) for frame, time in self.decoded())

    def decoded(self) -> Iterator[tuple[DecodedFrame, Fraction]]:
        """All frames in order with their alpha, each with its time in seconds.

        Raises:
            LiftError: a frame is damaged.
        """
        self.report = ReadReport()
        for start in range(0, self.count, BLOCK):
            images = self._decode(start, min(BLOCK, self.count - start))
            for k, image in enumerate(images, start):
                rgb = np.ascontiguousarray(image[..., 2::-1])
                has_alpha = self.has_alpha and image.shape[2] == 4
                alpha = np.ascontiguousarray(image[..., 3]) if has_alpha else None
                self.report.end = self._ends[k]
                yield DecodedFrame(rgb, None, alpha), self.timestamps[k]

    def _decode(self, start: int, count: int) -> list[np.ndarray]:
        """Frames as OpenCV gives them, (H, W, 3) or (H, W, 4) uint8, blue first."""
        cv2 = require("cv2", "reading an animated image")
        if not hasattr(cv2, "imdecodeanimation"):
            raise LiftError(
                f"{self.path}: reading an animated WebP image needs OpenCV 4.11 or later; "
                "pip install -U opencv-python-headless"
            )
        encoded = np.frombuffer(self._data, np.uint8)
        try:
            _, animation = cv2.imdecodeanimation(encoded, start=start, count=count)
        except cv2.error:
            raise self._damaged(start) from None
        size = self.height, self.width
        images = [image for image in animation.frames if image.shape[:2] == size]
        if len(images) < count:
            raise self._damaged(start + len(images))
        return images

    def _damaged(self, count: int) -> LiftError:
        return LiftError(
            f"{self.path}: damaged or truncated after frame {count}; write the animation again"
        )
