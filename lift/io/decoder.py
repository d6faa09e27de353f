"""From a video file to decoded frames (av.VideoFrame), and on past what is damaged."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from lift.errors import LiftError
from lift.io.avi_times import AviTimes, is_avi
from lift.io.clock import ATTACHED_PICTURE, demux
from lift.io.display_order import DisplayOrder
from lift.io.matroska import damaged_places, is_cut_off
from lift.io.optional import require
from lift.io.stdin import STDIN, open_stdin

MISSING_SECONDS = Fraction(1, 4)  # less may be missing in a file that is cut off
NEAR = Fraction(1, 2)  # seconds within which two faults are one
JOINED_BEFORE = 2  # packets of the one recording after the one that is called damaged, at most
LARGEST_TAIL = 1 << 26  # bytes of packets that are kept for a second reading
OUTPUT_CORRUPT = 8  # FFmpeg's flag: show frames whose references are missing, too
NEVER = -(1 << 63)
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own ones drop the alpha channel


@dataclass
class Damage:
    """What could not be decoded as the file states it.

    Attributes:
        times: seconds of every damaged packet or frame.
        truncated: the file ends early.
    """

    times: list[Fraction] = field(default_factory=list)
    truncated: bool = False
    _seen: set[int] = field(default_factory=set)

    def add(self, pts: int | None, time: Fraction) -> None:
        """Count a packet or the frame of a packet; the same `pts` once."""
        if pts is not None and pts in self._seen:
            return
        self._seen.add(pts)
        self.times.append(time)

    def add_holes(self, holes: list[Fraction]) -> None:
        """Count places, seconds, where packets were not even found; none that is known already."""
        for time in holes:
            if all(abs(time - known) > NEAR for known in self.times):
                self.times.append(time)

    def notes(self, count: int, last: Fraction) -> list[str]:
        """Sentences, once `count` frames were read, the last one displayed at `last` seconds."""
        notes = []
        times = [time for time in self.times if not self.truncated or time < last]
        if times:
            first, final = (f"{float(time):.2f} s" for time in (min(times), max(times)))
            where = f"at {first}" if first == final else f"between {first} and {final}"
            packets = "1 damaged packet" if len(times) == 1 else f"{len(times)} damaged packets"
            notes.append(
                f"{packets} {where}; frames there may be missing or show errors "
                "(--strict stops there)"
            )
        if self.truncated:
            notes.append(
                f"the file is truncated: it ends after frame {count} ({float(last):.2f} s) "
                "(--strict stops there)"
            )
        return notes


def open_container(path: Path):
    """Open a video file (av.container.InputContainer).

    Raises:
        LiftError: PyAV is missing, or the file cannot be read as a video.
    """
    av = require("av", "reading a video")
    try:
        if path == STDIN:
            return av.open(open_stdin())
        return av.open(str(path.resolve()))  # relative, a colon would mark a protocol
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, (PermissionError, IsADirectoryError)):
            raise LiftError(
                f"{path}: cannot be opened ({error.strerror}); make it readable"
            ) from error
        raise LiftError(
            f"{path}: not a readable video (damaged, truncated, or another kind of file); "
            "give a video that plays"
        ) from error


def video_stream(path: Path, container):
    """The first video stream that is not a cover picture.

    Raises:
        LiftError: there is none.
    """
    for stream in container.streams.video:
        disposition = getattr(stream.disposition, "value", stream.disposition)
        if not disposition & ATTACHED_PICTURE:
            stream.thread_type = "AUTO"
            return stream
    raise LiftError(f"{path}: no video stream in this file; give a video")


def alpha_decoder(stream):
    """A decoder for VP8 or VP9 with an alpha channel, or None for any other stream."""
    av = require("av", "reading a video")
    codec = stream.codec_context
    name = ALPHA_DECODERS.get(codec.name) if codec is not None else None
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    if name is None or tags.get("alpha_mode") != "1":
        return None
    try:
        decoder = av.CodecContext.create(name, "r")
    except (av.error.FFmpegError, ValueError):  # a PyAV without libvpx
        return None
    decoder.thread_count = 0
    return decoder


class Tail:
    """The packets of the last two groups of pictures.

    Attributes:
        duration: seconds that the latest packet states.
    """

    def __init__(self):
        self.packets, self.count, self.latest = [], 0, NEVER
        self.duration = Fraction(0)
        self._keys = []
        self._size = 0

    def add(self, packet) -> None:
        if packet is None or not packet.size:
            return
        self.count += 1
        self.duration = (packet.duration or 0) * packet.time_base
        if packet.pts is not None and not packet.is_discard:  # an edit list hides some
            self.latest = max(self.latest, packet.pts)
        if packet.is_keyframe:
            start = self._keys[-1] if self._keys else 0
            self._size -= sum(p.size for p in self.packets[:start])
            self.packets = self.packets[start:]
            self._keys = [len(self.packets)]
        self.packets.append(packet)
        self._size += packet.size
        if self._size > LARGEST_TAIL:
            self.packets, self._keys, self._size = [], [], 0


def decode_frames(
    path: Path,
    container,
    stream,
    damage: Damage | None = None,
    decoder=None,
    packets=None,
    tail: Tail | None = None,
) -> Iterator:
    """Decoded frames (av.VideoFrame) in the order in which they are displayed.

    A recording may begin inside a group of pictures: frames that cannot be decoded are skipped at
    the beginning.

    Args:
        damage: counts what is damaged after the first frame, and decoding goes on; where None,
            that is an error.
        decoder: av.CodecContext in place of the stream's own.
        packets: of the stream, with an empty one at the end; where None, those of the container on
            a clock that begins at 0 (see `clock`).
        tail: gets the packets.

    Raises:
        LiftError: a packet or frame after the first is damaged, and `damage` is None.
    """
    taken, tail = _Taken(path, stream, damage), Tail() if tail is None else tail
    own = decoder is None
    in_order = DisplayOrder(stream.codec_context.name if own and stream.codec_context else "")
    decoder = stream.codec_context if own else decoder
    if damage is not None and decoder is not None:
        decoder.flags |= OUTPUT_CORRUPT
    packets = _packets(container, stream) if packets is None else packets
    times = AviTimes(decoder) if is_avi(container) else None
    packets = packets if times is None else times.packets(packets)
    for packet, frames, error in _decoded(packets, stream if own else decoder):
        tail.add(packet)
        frames = frames if times is None else times(frames)
        if error is not None:
            yield from taken(None, in_order.finish(), None)
        yield from taken(packet, in_order(frames), error)
    yield from taken(None, in_order.finish(), None)
    if in_order.is_corrected:  # packets and frames have other times
        tail.latest = taken.latest
    if own and taken.count and tail.latest > taken.latest:
        yield from _decoded_again(path, tail, taken)
    if damage is not None:
        missing = [
            p for p in tail.packets if p.pts is not None and taken.latest < p.pts <= tail.latest
        ]
        for packet in missing if damage.times else ():
            damage.add(packet.pts, packet_time(packet, taken.time))
        damage.truncated |= _ends_early(stream, tail.count if times is None else times.end)
        damage.truncated |= matroska_ends_early(path, stream, taken.time)
        damage.add_holes(matroska_holes(path, stream))


class _Taken:
    """The frames of one packet after the other, and what is known of those before."""

    def __init__(self, path: Path, stream, damage: Damage | None):
        self._path, self._stream, self._damage = path, stream, damage
        self._suspects = []  # packets that the container calls damaged, and how many followed
        self.count, self.time, self.latest = 0, Fraction(0), NEVER
        self.tolerant = damage is not None

    def __call__(self, packet, frames, error) -> Iterator:
        if error is not None:
            self._fail(packet, error)
        elif packet is not None:
            self._judge_suspects(packet)
        for frame in frames:
            if frame.is_corrupt and self.count == 0:
                continue
            if frame.is_corrupt:
                self._add(frame.pts, seconds(frame, self._stream, self.time))
            self.count += 1
            self.time = seconds(frame, self._stream, self.time)
            self.latest = self.latest if frame.pts is None else max(self.latest, frame.pts)
            yield frame
        if error is None and packet is not None and packet.is_corrupt and self.count:
            if self._damage is None:
                raise truncated(self._path, self.count, self.time)
            self._suspects.append((packet, 0))

    def _fail(self, packet, error) -> None:
        """What an error means: a damaged packet, or, without a packet, the end of what is there."""
        if self._damage is None and (self.count or isinstance(error, OSError)):
            raise truncated(self._path, self.count, self.time) from error
        if packet is None and self._damage is not None:
            self._damage.truncated = True
        elif self.count and packet.size:  # else at the end: see `_decoded_again`
            self._add(packet.pts, packet_time(packet, self.time))

    def _add(self, pts: int | None, time: Fraction) -> None:
        if self._damage is None:
            raise truncated(self._path, self.count, self.time)
        self._damage.add(pts, time)

    def _judge_suspects(self, packet) -> None:
        """Where a keyframe follows, two whole recordings were joined."""
        followed = [] if packet.is_keyframe else [(p, n + 1) for p, n in self._suspects]
        for suspect, followers in followed:
            if followers == JOINED_BEFORE:
                self._add(suspect.pts, packet_time(suspect, self.time))
        self._suspects = followed


def _decoded(packets: Iterator, decoder) -> Iterator[tuple]:
    """(packet, its frames, None or the error that it caused); an error without a packet is last."""
    av = require("av", "reading a video")
    while True:
        packet = None
        try:
            packet = next(packets, None)
            if packet is None:
                return
            yield packet, decoder.decode(packet), None
        except av.error.FFmpegError as error:
            if isinstance(error, EOFError):
                return
            if isinstance(error, MemoryError):
                raise
            frames = [] if packet is not None else _remaining(decoder)
            yield packet, frames, error
            if packet is None:
                return


def _decoded_again(path: Path, tail: Tail, taken: _Taken) -> Iterator:
    """The last frames, where an error at the end of the stream kept them inside the decoder.

    A decoder that works on several frames at once gives up at the first damaged one of the last.
    """
    av = require("av", "reading a video")
    latest = taken.latest
    with open_container(path) as container:
        decoder = video_stream(path, container).codec_context
        decoder.thread_type = "SLICE"
        if taken.tolerant:
            decoder.flags |= OUTPUT_CORRUPT
        packets = iter([*tail.packets, av.Packet()])
        for packet, frames, error in _decoded(packets, decoder):
            newer = [frame for frame in frames if frame.pts is not None and frame.pts > latest]
            yield from taken(packet, newer, error)


def _packets(container, stream) -> Iterator:
    """The packets of a stream on the file's clock, and an empty one at the end."""
    return (packet for packet in demux(container) if packet.stream.index == stream.index)


def _remaining(decoder) -> list:
    """The frames that a decoder still holds."""
    av = require("av", "reading a video")
    try:
        return decoder.decode(None)
    except av.error.FFmpegError:
        return []


def seconds(frame, stream, missing: Fraction | None = None) -> Fraction | None:
    """When a decoded frame is displayed; `missing` where the file does not say."""
    if frame.pts is None:
        return missing
    return frame.pts * Fraction(frame.time_base or stream.time_base)


def packet_time(packet, missing: Fraction) -> Fraction:
    """When the frame of a packet is displayed; `missing` where the file does not say."""
    return missing if packet.pts is None else packet.pts * Fraction(packet.time_base)


def truncated(path: Path, count: int, time: Fraction) -> LiftError:
    """The error for a file whose frames after `count` cannot be decoded."""
    return LiftError(
        f"{path}: damaged or truncated after frame {count} ({float(time):.2f} s); "
        "copy the file again, or re-encode the part that plays"
    )


def stated_end(stream) -> Fraction | None:
    """Seconds at which a Matroska file states that the stream ends."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+)(\.\d+)?", stream.metadata.get("DURATION", ""))
    if match is None:
        return None
    hours, minutes, rest, fraction = match.groups()
    whole = int(hours) * 3600 + int(minutes) * 60 + int(rest)
    return whole + Fraction(fraction or 0)


def stated_seconds(path: Path, container, stream) -> Fraction | None:
    """How long a video is: as the file states, else by the number of its packets; or None."""
    if stream.duration:
        return stream.duration * Fraction(stream.time_base)
    if container.duration:
        return Fraction(container.duration, 1_000_000)
    rate = stream.average_rate or stream.guessed_rate
    if path == STDIN or not rate:
        return None
    with open_container(path) as again:
        index = stream.index
        packets = sum(1 for packet in again.demux(again.streams[index]) if packet.size)
    return packets / Fraction(rate)


def _ends_early(stream, packets: int) -> bool:
    """Whether an MP4 or AVI file announces more than this number of packets or frames."""
    name = stream.container.format.name
    return any(kind in name for kind in ("mov", "avi")) and packets < stream.frames


def matroska_holes(path: Path, stream) -> list[Fraction]:
    """Seconds at which a Matroska or WebM file is damaged so that FFmpeg skips to what follows.

    FFmpeg itself does not report that.
    """
    if "matroska" not in stream.container.format.name or not path.is_file():
        return []
    start = Fraction(stream.container.start_time or 0, 1_000_000)
    return [max(Fraction(0), time - start) for time in damaged_places(path)]


def matroska_ends_early(path: Path, stream, last: Fraction) -> bool:
    """Whether a Matroska or WebM file is cut off, and frames after `last` seconds with the rest.

    FFmpeg itself does not report that.
    """
    if "matroska" not in stream.container.format.name or not path.is_file():
        return False
    stated = stated_end(stream)
    if stated is not None and stated - last < MISSING_SECONDS:
        return False
    return is_cut_off(path)
