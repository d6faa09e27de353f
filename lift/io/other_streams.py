"""Writes the streams of a plan beside the picture: copied, converted, cut and in step with it."""

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from lift.io import clock
from lift.io.decode import open_container
from lift.io.optional import require
from lift.io.sound import KEEP, SoundConverter, add_encoder
from lift.io.sound_gaps import CLOSES_GAPS, GapFiller
from lift.io.stream_plan import PlannedStream, StreamPlan
from lift.io.subtitles import EMPTY, SubtitleConverter
from lift.io.timing import Timing

INTERLEAVE_SECONDS = Fraction(1)  # sound is written this far ahead of the picture
COARSEST_MOVIE, FINEST_MOVIE = 10_000, 10_000_000  # ticks a second of an MP4 file's own clock
QUICKTIME = ("mp4", "mov")


def open_output(path: Path, plan: StreamPlan, time_base: Fraction | None = None):
    """Open an output file for a plan (av.container.OutputContainer).

    Args:
        path: the file.
        plan: of `plan_streams`.
        time_base: of the picture, in seconds.
    """
    av = require("av", "writing a video")
    name = str(path.resolve())  # relative, a colon would mark a protocol
    options = dict(plan.options)
    if plan.format in QUICKTIME:
        options["strict"] = "experimental"  # MP4 holds TrueHD
    if plan.format in QUICKTIME and time_base and time_base.denominator <= FINEST_MOVIE:
        # edit lists, which delay a late beginning, count in this; FFmpeg's default is 1/1000 s
        fine = math.ceil(COARSEST_MOVIE / time_base.denominator)
        options["movie_timescale"] = str(fine * time_base.denominator)
    return av.open(name, "w", format=plan.format, container_options=options)


def has_bare_streams() -> bool:
    """Whether PyAV can write a stream without a codec context; version 17 crashes."""
    return int(require("av", "writing a video").__version__.partition(".")[0]) >= 18


def allows_equal_times(output) -> bool:
    """Whether two packets of a stream may have the same decoding time in this container."""
    flags = require("av", "writing a video").format.Flags
    return bool(output.format.flags & flags.ts_nonstrict.value)


class OtherStreams:
    """The streams of a plan in an output.

    Args:
        plan: of `plan_streams`.
        output: of `open_output`, before its header is written.
        template: an av.VideoStream with the parameters of the encoded picture.
        time_base: seconds of one tick of the picture's clock, where the container lets us choose.
        container: the source, opened; opened here where None.
        add_picture: takes the output; adds the picture's stream itself and returns it with the
            filter (av.BitStreamFilterContext) that its packets need, or None.

    Attributes:
        picture: the output stream of the picture.
        notes: sentences on what could not be read.
    """

    def __init__(
        self,
        plan: StreamPlan,
        output,
        template,
        time_base: Fraction | None = None,
        container=None,
        add_picture: Callable | None = None,
    ):
        self._plan, self._output = plan, output
        self._owned = container is None and bool(plan.streams)
        self._input = open_container(plan.source) if self._owned else container
        self.notes: list[str] = []
        self._carriers: dict[int, object] = {}
        self._targets: dict[int, object] = {}
        self._gaps: dict[int, GapFiller] = {}
        self._shift = Fraction(0)
        self._earliest: dict[int, int] = {}  # lowest decoding time that a stream may go on with
        self._tick = 0 if allows_equal_times(output) else 1
        self._next = None
        self._packets = iter(())
        self.picture = self._picture_filter = None
        try:
            self._add(template, time_base, add_picture)
        except BaseException:
            self.close()
            raise
        output.metadata.update(plan.metadata)

    def _add(self, template, time_base, add_picture) -> None:
        plan = self._plan
        place = min([s.index for s in plan.streams if s.kind == "video"] + [plan.video_index])
        for planned in plan.streams:
            if self.picture is None and planned.index >= place:
                self._add_picture(template, time_base, add_picture)
            self._add_stream(planned)
        if self.picture is None:
            self._add_picture(template, time_base, add_picture)
        read = [self._input.streams[i] for i in self._carriers] if self._input else []
        if read:
            self._packets = clock.demux(self._input, read)

    def _add_picture(self, template, time_base, add_picture) -> None:
        plan, codec = self._plan, template.codec_context
        if add_picture is not None:
            self.picture, self._picture_filter = add_picture(self._output)
        else:
            # opaque: the parameters as they are, without looking for an encoder
            self.picture = self._output.add_stream_from_template(template, opaque=True)
            if plan.format in QUICKTIME and codec.name == "hevc":
                self.picture.codec_context.codec_tag = "hvc1"  # which Apple's players look for
            if plan.picture_rate:
                self.picture.codec_context.framerate = plan.picture_rate
            if plan.format == "avi" and codec.name in ("h264", "hevc"):
                name = f"{codec.name}_mp4toannexb"
                self._picture_filter = self._copy_parameters(template, self.picture, name)
        if time_base is not None:
            self.picture.time_base = time_base
        self.picture.disposition = plan.picture_disposition
        room = self.picture.metadata.get("title", "")  # spaces, for what is written afterwards
        self.picture.metadata.update(plan.picture_metadata)
        if room:
            self.picture.metadata["title"] = plan.picture_metadata.get("title", "") + room

    def _copy_parameters(self, source, target, filter_name: str = "null"):
        """Give a stream the parameters of another; returns the filter for its packets."""
        av = require("av", "writing a video")
        return av.bitstream.BitStreamFilterContext(filter_name, source, target)

    def write_picture(self, packet) -> None:
        """Write a packet of the picture, with its times in the output."""
        if self._picture_filter is None:
            ready = [packet]
        else:
            ready = self._picture_filter.filter(packet)
        for packet in ready:
            packet.stream = self.picture
            self._output.mux(packet)

    def _add_stream(self, planned: PlannedStream) -> None:
        source = self._input.streams[planned.index]
        if planned.action == "attach":
            target = self._output.add_attachment(
                planned.metadata["filename"], planned.metadata["mimetype"], planned.data
            )
            target.metadata.update(planned.metadata)
            return
        timing = self._plan.timing
        if planned.kind == "audio" and self._plan.sound == KEEP:
            timing = timing.without_factor()
        if planned.action == "convert" and planned.kind == "audio":
            target = add_encoder(self._output, source, planned.encoder, planned.layout)
            carrier = SoundConverter(source, target, timing)
        elif planned.action == "convert":
            target = self._output.add_stream(planned.encoder)
            carrier = SubtitleConverter(source, target, timing)
        else:
            target = self._add_copy(source, planned)
            carrier = PacketCopier(planned, timing)
            if planned.kind == "audio" and self._plan.format in CLOSES_GAPS:
                self._gaps[planned.index] = GapFiller(source, self._plan.format == "avi")
        target.disposition = planned.disposition
        target.metadata.update(planned.metadata)
        if planned.kind != "attachment":
            self._carriers[planned.index] = carrier
            self._targets[planned.index] = target

    def _add_copy(self, source, planned: PlannedStream):
        if planned.encoder:
            # an encoder's parameters say how many samples of priming there are; a copy's do not
            target = self._output.add_stream(planned.encoder, rate=source.rate)
            codec = target.codec_context
            codec.layout = planned.layout or source.layout.name
            if source.bit_rate:
                codec.bit_rate = source.bit_rate
            codec.open()
            codec.extradata = source.codec_context.extradata
            return target
        if planned.unlisted:
            target = self._output.add_mux_stream(self._output.default_audio_codec)
            self._copy_parameters(source, target)
            return target
        target = self._output.add_stream_from_template(source, opaque=True)
        if planned.layout:
            target.codec_context.layout = planned.layout
        return target

    def begin(self, first_picture: Fraction) -> Fraction:
        """Write the header.

        Args:
            first_picture: seconds at which the first frame is displayed.

        Returns:
            Seconds by which all times, also those of the frames, are moved: none is negative
            where the container holds none, and something begins at 0.
        """
        plan = self._plan
        first = min([first_picture] + ([] if plan.first is None else [plan.first]))
        self._shift = plan.lead if plan.lead else -max(first, Fraction(0))
        self._output.set_chapters(_moved_chapters(plan.chapters, self._shift))
        self._output.start_encoding()
        return self._shift

    def copy_until(self, time: Fraction | None) -> None:
        """Write the packets up to `time` (seconds of the output); all remaining where None."""
        while True:
            if self._next is None:
                self._next = self._read()
                if self._next is None:
                    break
            packet, position = self._next
            limit = None if time is None else time + INTERLEAVE_SECONDS
            if limit is not None and position > limit:
                return
            self._next = None
            self.write(packet)
        if time is None:
            self.flush()

    def _read(self):
        """The next packet of the source and about when it is due in the output."""
        timing, rate = self._plan.timing, min(self._plan.timing.factor, Fraction(1))
        try:
            packet = next(self._packets, None)
        except require("av", "reading a video").error.FFmpegError:
            self.notes.append("the source is damaged: its sound and subtitles are cut short there")
            packet = None
        if packet is None:
            return None
        ticks = packet.pts if packet.dts is None else packet.dts
        seconds = Fraction(0) if ticks is None else ticks * packet.time_base
        return packet, (seconds - timing.start) * rate + self._shift

    def write(self, packet) -> None:
        """Convert a packet of the source and write what comes of it."""
        if packet.size == 0 and packet.dts is None:
            return  # PyAV's mark of the end
        index = packet.stream.index
        for ready in self._carriers[index].convert(packet):
            for each in self._gaps[index](ready) if index in self._gaps else (ready,):
                self._mux(each, index)

    def flush(self) -> None:
        """Write what the encoders still hold."""
        for index, carrier in self._carriers.items():
            for ready in carrier.flush():
                self._mux(ready, index)
        self.notes += [note for filler in self._gaps.values() for note in filler.notes()]

    def _mux(self, packet, index: int) -> None:
        target = self._targets[index]
        clock.move(packet, self._shift)
        ratio = packet.time_base / target.time_base
        packet.pts, packet.dts = round(packet.pts * ratio), round(packet.dts * ratio)
        packet.duration = round((packet.duration or 0) * ratio)
        packet.time_base = target.time_base
        # parts of a joined recording may overlap, and ticks may be coarser than the source's
        earliest = self._earliest.get(index)
        if earliest is not None and packet.dts < earliest:
            packet.dts = earliest
            packet.pts = max(packet.pts, earliest)
        tick = self._tick if target.type in ("audio", "video") else 0
        self._earliest[index] = packet.dts + tick
        packet.stream = target
        self._output.mux(packet)

    def close(self) -> None:
        """Close the source."""
        self._packets = iter(())
        if self._owned:
            self._input.close()


class PacketCopier:
    """Packets of one stream, unchanged but for their times.

    Args:
        planned: the stream's plan.
        timing: cut and speed.
    """

    def __init__(self, planned: PlannedStream, timing: Timing):
        self._kind, self._timing, self._from_zero = planned.kind, timing, planned.from_zero
        self._waits_for_key = planned.kind == "video" and timing.start > 0
        self._waiting: list = []
        self._last = None  # decoding time of the sound before, in ticks of the source

    def convert(self, packet) -> list:
        """The packet with its new times, as a list of one or none."""
        if packet.pts is None and packet.dts is None:
            if self._kind != "cover":
                return []
            packet.pts = 0
        if packet.pts is None:
            packet.pts = packet.dts
        if packet.dts is None and self._kind == "video":
            # Matroska states no decoding times, and FFmpeg does not know the first ones
            self._waiting.append(packet)
            return []
        waiting, self._waiting = self._waiting, []
        for distance, early in enumerate(reversed(waiting), 1):
            early.dts = packet.dts - distance * max(packet.duration or 0, 1)
        return [ready for each in [*waiting, packet] for ready in self._move(each)]

    def _move(self, packet) -> list:
        if packet.dts is None:
            packet.dts = packet.pts
        if self._kind == "audio":
            if not packet.duration and self._last is not None:
                packet.duration = max(packet.dts - self._last, 0)  # the last one would be lost
            self._last = packet.dts
        base, timing = packet.time_base, self._timing
        start = packet.pts * base
        if self._kind == "subtitle":
            return self._subtitle(packet, start)
        if self._kind != "cover" and not timing.holds(start):
            return []
        if self._from_zero and start < 0:
            return []
        if self._waits_for_key and not packet.is_keyframe:
            return []  # nothing that it refers to is there
        self._waits_for_key = False
        offset = round(timing.start / base)  # one number for all packets: no jitter
        packet.pts = round((packet.pts - offset) * timing.factor)
        packet.dts = round((packet.dts - offset) * timing.factor)
        if self._kind == "cover":
            packet.pts = packet.dts = 0
        elif packet.duration:
            packet.duration = round(packet.duration * timing.factor)
        return [packet]

    def _subtitle(self, packet, start: Fraction) -> list:
        base = packet.time_base
        duration = (packet.duration or 0) * base
        shown = self._timing.clip(start, start + (duration or EMPTY))
        if shown is None:
            return []
        packet.pts = packet.dts = round(shown[0] / base)
        if duration:
            packet.duration = max(1, round((shown[1] - shown[0]) / base))
        return [packet]

    def flush(self) -> list:
        """Packets whose decoding times nothing followed to tell."""
        return [ready for packet in self._waiting for ready in self._move(packet)]


def _moved_chapters(chapters: tuple, shift: Fraction) -> list[dict]:
    moved = []
    for chapter in chapters:
        base = chapter["time_base"]
        offset = round(shift / base)
        moved.append(
            {
                **chapter,
                "start": max(chapter["start"] + offset, 0),
                "end": max(chapter["end"] + offset, 0),
            }
        )
    return moved


def packet_copy(av, packet):
    """A new packet with the same data and times; muxing a packet changes its times."""
    copy = av.Packet(bytes(packet))
    copy.time_base, copy.pts, copy.dts = packet.time_base, packet.pts, packet.dts
    copy.duration, copy.is_keyframe = packet.duration, packet.is_keyframe
    copy.stream = packet.stream
    return copy
