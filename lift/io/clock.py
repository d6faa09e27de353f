"""One clock for all streams of a file: it begins at 0 and runs on where recordings were joined.

A transport stream may begin at any time, its 33-bit clock wraps after 26.5 hours, and in a file
joined of several recordings it jumps. FFmpeg undoes the wrap; `demux` does the rest.
"""

from collections.abc import Iterator
from fractions import Fraction

from lift.io.optional import require

TICK = Fraction(1, 1_000_000)  # FFmpeg's start time of a file is rounded to this
ATTACHED_PICTURE = 0x400  # FFmpeg's disposition of a cover
BACKWARD = Fraction(1, 10)  # seconds: a decoding time that falls by more has jumped
FORWARD = Fraction(10)  # seconds: one that rises by more has jumped
LOOKAHEAD = 256  # packets within which all streams are expected to jump
# seconds; a packet of longer duration is a mistake of the file
LONGEST = {"audio": Fraction(60), "subtitle": Fraction(1_000_000)}


def start_of(container) -> Fraction:
    """Seconds on the file's own clock at which its first stream begins; exact where possible."""
    if container.start_time is None:
        return Fraction(0)
    rounded = container.start_time * TICK
    exact = [
        stream.start_time * Fraction(stream.time_base)
        for stream in container.streams
        if stream.start_time is not None and stream.time_base
    ]
    return min(
        (start for start in exact if abs(start - rounded) <= TICK),
        key=lambda start: abs(start - rounded),
        default=rounded,
    )


def demux(container, streams=None) -> Iterator:
    """Packets of an opened file, on a clock that begins at 0.

    All streams are shifted by the same time, so they stay in sync. Sound that a decoder needs
    before the first audible sample keeps its negative times. The times do not depend on which
    streams are asked for.

    Args:
        container: an av.container.InputContainer, read from its beginning.
        streams: its streams whose packets are wanted; all where None.

    Returns:
        av.Packet, in the file's order, with `pts` and `dts` in the stream's time base (None where
        unknown); the empty packets that flush a decoder come last.
    """
    streams = list(container.streams if streams is None else streams)
    wanted = {stream.index for stream in streams}
    if not wanted:
        return
    start = start_of(container)
    if container.format.flags & _discontinuous():
        # the jumps of all streams count, also of those that nobody asked for
        packets = _with_true_durations(container.demux(list(container.streams)))
        packets = _Joints(container).corrected(packets)
        packets = (packet for packet in packets if packet.stream.index in wanted)
    else:
        packets = _with_true_durations(container.demux(streams))
    for packet in packets:
        move(packet, -start)
        yield packet


def _with_true_durations(packets) -> Iterator:
    """Undo durations that overflowed.

    Ogg states 2^32 samples for a last packet whose end lies before its beginning, and subtitles
    that stay until the next one have 2^32 milliseconds.
    """
    usual = {}
    for packet in packets:
        index, longest = packet.stream.index, LONGEST.get(packet.stream.type)
        if longest is not None and packet.duration:
            if packet.duration * packet.time_base > longest:
                packet.duration = usual.get(index, 0)
            elif packet.stream.type == "audio":
                usual[index] = packet.duration
        yield packet


def _discontinuous() -> int:
    """The flag of formats whose clock may jump."""
    return require("av", "reading a video").format.Flags.ts_discont.value


def move(packet, seconds: Fraction) -> None:
    if not seconds or not packet.time_base:
        return
    ticks = round(seconds / packet.time_base)
    if packet.pts is not None:
        packet.pts += ticks
    if packet.dts is not None:
        packet.dts += ticks


class _Track:
    """Where one stream stands, in seconds on the corrected clock."""

    def __init__(self):
        self.offset = Fraction(0)  # added to the file's own times
        self.next = None  # decoding time that the next packet is expected to have
        self.end = Fraction(0)  # latest instant that is displayed

    def add(self, packet, time: Fraction) -> None:
        duration = (packet.duration or 0) * packet.time_base
        self.next = time + self.offset + duration
        shown = time if packet.pts is None else packet.pts * packet.time_base
        self.end = max(self.end, shown + self.offset + duration)


class _Joints:
    """Finds the jumps of a clock and gives all streams behind a jump the same offset.

    Packets are held back from the first stream that jumps until the others have jumped too: only
    then is it known from which time on all of them are free.
    """

    def __init__(self, container):
        self.tracks = {
            stream.index: _Track()
            for stream in container.streams
            if stream.type in ("audio", "video") and not int(stream.disposition) & ATTACHED_PICTURE
        }
        self.offsets = [Fraction(0)]
        self.position = Fraction(0)  # corrected time of the last packet of sound or picture
        self.held = []  # packets since the first jump of an unknown offset
        self.jumped = {}  # stream index -> its first time behind that jump

    def corrected(self, packets) -> Iterator:
        """The packets with corrected times, in the same order."""
        for packet in packets:
            time = _time(packet)
            if not self.held and (time is None or not self._jumps(packet, time)):
                self._correct(packet, time)
                yield packet
                continue
            self.held.append(packet)
            if time is not None:
                self._note(packet, time)
            if len(self.held) >= LOOKAHEAD or self._all_jumped():
                yield from self._release()
        yield from self._release()

    def _jumps(self, packet, time: Fraction) -> bool:
        """Whether no known offset continues this packet's stream."""
        track = self.tracks.get(packet.stream.index)
        return track is not None and track.next is not None and not self._fits(track, time)

    def _fits(self, track, time: Fraction) -> bool:
        """Take the offset that continues the track best; false where none does."""
        if self._continues(track, time, track.offset):
            return True
        known = [offset for offset in self.offsets if self._continues(track, time, offset)]
        if known:
            track.offset = min(known, key=lambda offset: abs(time + offset - track.next))
        return bool(known)

    def _continues(self, track, time: Fraction, offset: Fraction) -> bool:
        gap = time + offset - track.next
        if gap > FORWARD and offset == track.offset:
            # a pause of this stream alone is no jump: another has come as far
            return any(
                other is not track
                and other.next is not None
                and abs(time + offset - other.next) <= FORWARD
                for other in self.tracks.values()
            )
        return -BACKWARD <= gap <= FORWARD

    def _note(self, packet, time: Fraction) -> None:
        index = packet.stream.index
        track = self.tracks.get(index)
        if track is None or track.next is None or self._fits(track, time):
            self.jumped.pop(index, None)  # back where it was: the jump was a damaged time
            return
        shown = time if packet.pts is None else packet.pts * packet.time_base
        self.jumped[index] = min(shown, self.jumped.get(index, shown))

    def _all_jumped(self) -> bool:
        started = [index for index, track in self.tracks.items() if track.next is not None]
        return not self.jumped or len(self.jumped) == len(started)

    def _release(self) -> Iterator:
        """Choose the offset behind the jump and correct what was held back."""
        if self.jumped:
            end = max(self.tracks[index].end for index in self.jumped)
            self.offsets.append(end - min(self.jumped.values()))
        for packet in self.held:
            time = _time(packet)
            if time is not None and self._jumps(packet, time):
                packet.pts = packet.dts = time = None  # a damaged time
            self._correct(packet, time)
            yield packet
        self.held, self.jumped = [], {}

    def _correct(self, packet, time: Fraction | None) -> None:
        if time is None:
            return
        track = self.tracks.get(packet.stream.index)
        if track is not None:
            track.add(packet, time)
            self.position = track.next
            offset = track.offset
        else:  # subtitles and data have pauses; the nearest offset is theirs
            offset = min(self.offsets, key=lambda offset: abs(time + offset - self.position))
        move(packet, offset)


def _time(packet) -> Fraction | None:
    ticks = packet.pts if packet.dts is None else packet.dts
    return None if ticks is None else ticks * packet.time_base
