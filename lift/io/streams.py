"""Plans what becomes of every stream of a source beside the interpolated picture.

Whether a container holds a stream is not looked up but tried: a header, the first packets and a
trailer are written to a temporary file, which is then read. So a stream that cannot be kept is
known before the first frame is interpolated.
"""

import errno
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from lift.errors import LiftError
from lift.files import write_error
from lift.io import clock
from lift.io.decode import open_container
from lift.io.first_packets import first_packets, first_picture
from lift.io.lost_tags import lost_tags
from lift.io.metadata import (
    container_metadata,
    moved_chapters,
    moved_timecode,
    needs_quicktime_keys,
    stream_metadata,
)
from lift.io.optional import require
from lift.io.other_streams import OtherStreams, has_bare_streams, open_output, packet_copy
from lift.io.sound import (
    COPY,
    DROP,
    ENCODERS_OF_FORMAT,
    KEEP,
    SOUND_MODES,
    STRETCH,
    default_layout,
    is_lossless,
    same_codec_encoder,
)
from lift.io.stream_plan import PlannedStream, StreamPlan
from lift.io.subtitles import TEXT_CODECS, TEXT_OF_FORMAT
from lift.io.timing import WHOLE, Timing

FORMATS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
    ".m2ts": "mpegts",
    ".mts": "mpegts",
    ".avi": "avi",
    ".nut": "nut",
}
FASTSTART = {"movflags": "+faststart"}  # the index stands before the frames, for streaming
QUICKTIME_KEYS = {"movflags": "+faststart+use_metadata_tags"}
OPTIONS = {
    "mp4": FASTSTART,
    "mov": FASTSTART,
    "matroska": {"default_mode": "passthrough"},  # flags of streams are written as they are
    "webm": {"default_mode": "passthrough"},
    ".mts": {"mpegts_m2ts_mode": "1"},  # packets as in .m2ts, where FFmpeg knows it by itself
}
EDIT_LISTS = ("mp4", "mov")  # these hold sound that begins before 0
MATROSKA = ("matroska", "webm")
STATES_PRIMING = MATROSKA  # these state it beside the stream, where it is known
# samples before the first audible one, as FFmpeg's encoders of these codecs state them
PRIMING = {"aac": 1024, "ac3": 256, "eac3": 256, "mp2": 481, "mp3": 1105}

# FFmpeg writes these to AVI with wrong times
WRONG_IN_AVI = frozenset("alac dts eac3 flac mlp opus truehd vorbis".split())

LONGEST_PRIMING = Fraction(1, 10)  # seconds; sound earlier before 0 is hidden by an edit

MATROSKA_FRAMES = 1000  # a second, beyond which two have the same time there

ALL_DISCARDED = 48  # AVDISCARD_ALL
IMAGE_TYPES = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}
KIND_NAMES = {
    "audio": "audio stream",
    "video": "second video stream",
    "cover": "cover picture, stream",
    "subtitle": "subtitle stream",
    "data": "data stream",
    "attachment": "attachment, stream",
}


def plan_streams(
    source: Path | None,
    suffix: str,
    video_index: int = 0,
    *,
    template,
    sound: str = COPY,
    timing: Timing = WHOLE,
    old_rate: Fraction | None = None,
    new_rate: Fraction | None = None,
    options: dict | None = None,
    add_picture: Callable | None = None,
) -> StreamPlan:
    """Decide what becomes of every stream of a video beside the interpolated one.

    Args:
        source: a video file; None for a folder of frames, which has no other streams.
        suffix: of the output, a key of `FORMATS`.
        video_index: index of the interpolated stream.
        template: an av.VideoStream with the parameters of the encoded picture, of an opened file
            that holds at least one of its packets; the file is read from its beginning.
        sound: "copy"; where the video is slower or faster: "stretch" (with its pitch kept),
            "drop", or "keep" (at its own speed, from 0 on).
        timing: the part of the source that is kept, and how much slower.
        old_rate, new_rate: frames per second before and after, for the timecode.
        options: more options of the output container.
        add_picture: see `lift.io.join.join_parts`.

    Returns:
        The plan; its notes name every stream that is converted or left out.

    Raises:
        ValueError: an unknown suffix or mode.
        LiftError: the source cannot be read, or the container does not support the picture's
            codec.
    """
    if suffix.lower() not in FORMATS:
        raise ValueError(f"suffix must be one of {', '.join(FORMATS)}, got {suffix!r}")
    if sound not in SOUND_MODES:
        raise ValueError(f"sound must be one of {', '.join(SOUND_MODES)}, got {sound!r}")
    name = FORMATS[suffix.lower()]
    plan = StreamPlan(
        None,
        format=name,
        options={**OPTIONS.get(name, {}), **OPTIONS.get(suffix.lower(), {}), **(options or {})},
        timing=timing,
        sound=sound,
        picture_rate=new_rate,
    )
    if name in MATROSKA and (new_rate or 0) > MATROSKA_FRAMES:
        text = (
            f"{suffix} rounds times to milliseconds, so some frames have the same time at "
            f"{float(new_rate):g} frames/s; .mp4 is exact"
        )
        plan = replace(plan, notes=(text,))
    if source is None:
        return plan
    with open_container(Path(source)) as container:
        planner = _Planner(container, suffix.lower(), video_index, template, plan, add_picture)
        return planner.plan(Path(source), old_rate, new_rate)


class _Planner:
    """Tries the streams of an opened source, one after the other, then all together."""

    def __init__(self, container, suffix, video_index, template, plan: StreamPlan, add_picture):
        self._av = require("av", "writing a video")
        self._container, self._suffix, self._template = container, suffix, template
        self._video_index, self._empty, self._add_picture = video_index, plan, add_picture
        self._format = plan.format
        self._notes: list[str] = list(plan.notes)
        self._packets = first_packets(container, video_index)
        self._picture = first_picture(template)

    def plan(self, source: Path, old_rate, new_rate) -> StreamPlan:
        container, picture = self._container, self._container.streams[self._video_index]
        metadata = container_metadata(container.metadata)
        timing, origin = self._empty.timing, clock.start_of(container)
        picture_metadata = stream_metadata(picture.metadata, self._format)
        timecodes = [found.pop("timecode", None) for found in (picture_metadata, metadata)]
        timecode = next(filter(None, timecodes), None)
        plan = replace(
            self._empty,
            source=source,
            video_index=self._video_index,
            metadata=metadata,
            picture_metadata=picture_metadata,
            picture_disposition=int(picture.disposition) & ~clock.ATTACHED_PICTURE,
            chapters=moved_chapters(container.chapters(), origin, timing),
        )
        if not self._works(replace(plan, chapters=())):
            raise LiftError(
                f"{self._suffix} does not support video coded as {_codec(self._template)}; "
                "choose another codec or another container, such as .mkv"
            )
        if timecode:
            moved = moved_timecode(timecode, old_rate, new_rate, timing.start)
            with_timecode = replace(plan, picture_metadata={**picture_metadata, "timecode": moved})
            if self._works(with_timecode):
                plan = with_timecode
            else:
                self._notes.append(
                    f"the timecode {timecode} is left out: "
                    f"{self._suffix} does not support it at this rate"
                )
        if plan.chapters and not self._works(plan):
            self._notes.append(f"chapters are left out: {self._suffix} does not support them")
            plan = replace(plan, chapters=())
        chosen = self._choose(plan)
        plan = replace(plan, streams=tuple(chosen))
        has_cover = any(stream.kind == "cover" for stream in chosen)
        if self._format in EDIT_LISTS and needs_quicktime_keys(metadata) and not has_cover:
            plan = replace(plan, options={**plan.options, **QUICKTIME_KEYS})
        plan = self._together(plan)
        first = [self._first_time(stream) for stream in plan.streams if stream.kind == "audio"]
        return replace(
            self._early_sound(plan),
            notes=tuple(_grouped(self._notes)),
            first=min((time for time in first if time is not None), default=None),
        )

    def _choose(self, plan: StreamPlan) -> list[PlannedStream]:
        chosen = []
        for stream in self._container.streams:
            if stream.index == self._video_index or self._is_made_anew(stream):
                continue
            kind = _kind(stream)
            if kind is None or (kind == "audio" and plan.sound == DROP):
                continue
            for candidate in self._candidates(stream, kind):
                if self._works(replace(plan, chapters=(), streams=(candidate,))):
                    chosen.append(candidate)
                    self._note_conversion(stream, candidate)
                    break
            else:
                self._notes.append(self._left_out(stream, kind))
        return chosen

    def _together(self, plan: StreamPlan) -> StreamPlan:
        """Streams that each work alone may not work together; the last ones are left out."""
        while plan.streams and not self._works(plan, self._note_lost_tags):
            last = plan.streams[-1]
            stream = self._container.streams[last.index]
            self._notes.append(self._left_out(stream, last.kind))
            plan = replace(plan, streams=plan.streams[:-1])
        return plan

    def _is_made_anew(self, stream) -> bool:
        """Whether the muxer itself makes this track: a timecode, or the titles of chapters."""
        if stream.type != "data" or "mov" not in self._container.format.name:
            return False
        # FFmpeg reads the chapters' titles itself and then passes this track over
        return "timecode" in stream.metadata or stream.discard == ALL_DISCARDED

    # -- what could become of a stream, best first ------------------------------------------------

    def _candidates(self, stream, kind: str) -> list[PlannedStream]:
        planned = PlannedStream(
            stream.index,
            kind,
            "copy",
            metadata=stream_metadata(stream.metadata, self._format),
            disposition=int(stream.disposition),
        )
        if kind == "audio":
            return self._sound_candidates(stream, planned)
        if kind == "cover" and self._format == "matroska":
            return self._attached(stream, planned)
        if kind == "attachment" and self._format != "matroska":
            return []
        candidates = [planned]
        codec = _codec(stream)
        if kind == "subtitle" and codec in TEXT_CODECS and self._format in TEXT_OF_FORMAT:
            encoder = TEXT_OF_FORMAT[self._format]
            candidates.append(replace(planned, action="convert", encoder=encoder))
        return candidates

    def _sound_candidates(self, stream, planned: PlannedStream) -> list[PlannedStream]:
        layout = stream.layout.name
        usual = default_layout(stream.layout.nb_channels)
        if "channels" in layout:
            planned = replace(planned, layout=usual)
        codec, encoders = _codec(stream), list(ENCODERS_OF_FORMAT.get(self._format, ()))
        if is_lossless(codec) and self._format == "matroska":
            encoders.insert(0, "flac")
        convert, candidates = replace(planned, action="convert"), []
        if self._empty.sound in (COPY, KEEP):
            if self._has_usual_priming(stream):
                candidates.append(replace(planned, encoder=same_codec_encoder(codec)))
            if self._format != "avi" or codec not in WRONG_IN_AVI:
                candidates.append(planned)
            if self._format == "matroska" and has_bare_streams():
                candidates.append(replace(planned, unlisted=True))
        else:
            encoders.insert(0, same_codec_encoder(codec))
        for encoder in dict.fromkeys(encoders):
            for speakers in dict.fromkeys((planned.layout, usual, "stereo")):
                candidates.append(replace(convert, encoder=encoder, layout=speakers))
        return candidates

    def _has_usual_priming(self, stream) -> bool:
        """Whether an encoder's parameters would state how much of the sound is before 0."""
        if self._format != "matroska" or _codec(stream) not in PRIMING or self._empty.timing.start:
            return False
        first = _time(self._packets.get(stream.index, []))
        priming = Fraction(PRIMING[_codec(stream)], stream.rate)
        return first is not None and abs(first + priming) < stream.time_base

    def _attached(self, stream, planned: PlannedStream) -> list[PlannedStream]:
        packets = self._packets.get(stream.index, [])
        if not packets or _codec(stream) not in IMAGE_TYPES:
            return []
        name, kind = IMAGE_TYPES[_codec(stream)]
        metadata = {"filename": name, "mimetype": kind, **planned.metadata}
        data = bytes(packets[0])
        return [replace(planned, action="attach", metadata=metadata, disposition=0, data=data)]

    # -- trying --------------------------------------------------------------------------------

    def _works(self, plan: StreamPlan, look: Callable | None = None) -> bool:
        """Whether a file with these streams can be written and has them all.

        Args:
            look: is called with the plan and the file where it has.
        """
        plan = replace(plan, timing=Timing(factor=plan.timing.factor), lead=Fraction(0))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"probe{self._suffix}"
            try:
                written = self._write(path, plan)
                has_all = self._has(path, plan, written)
                if has_all and look is not None:
                    look(plan, path)
                return has_all
            except (
                ValueError,
                TypeError,
                LookupError,
                self._av.error.FFmpegError,
                OSError,
            ) as error:
                if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                    raise write_error(path, error) from error
                return False

    def _note_lost_tags(self, plan: StreamPlan, path: Path) -> None:
        """A sentence for each stream whose language, title or flags a file does not hold."""
        with self._av.open(str(path)) as container:
            found = {}
            for stream in container.streams:
                found.setdefault(_kind(stream), []).append(stream)
            del found["video"][:1]  # the picture
            for planned in plan.streams:
                if planned.action != "attach" and found.get(planned.kind):
                    self._note_lost(planned, found[planned.kind].pop(0))

    def _write(self, path: Path, plan: StreamPlan) -> set[int]:
        output = open_output(path, plan)
        others = None
        try:
            others = OtherStreams(
                plan,
                output,
                self._template,
                container=self._container,
                add_picture=self._add_picture,
            )
            others.begin(Fraction(0))
            self._write_picture(others)
            written = set()
            for stream in plan.streams:
                packets = self._packets.get(stream.index, [])
                hidden = max(-(_time(packets) or Fraction(0)), Fraction(0))
                for packet in packets:
                    if stream.action != "attach":
                        tried = packet_copy(self._av, packet)
                        if stream.action == "convert":  # an edit may hide all of these
                            clock.move(tried, hidden)
                        others.write(tried)
                        written.add(stream.index)
            others.flush()
            output.close()
            return written
        finally:
            self._flush_decoders(plan)
            try:
                output.close()  # does nothing after the first time
            except (self._av.error.FFmpegError, OSError):
                pass

    def _write_picture(self, others: OtherStreams) -> None:
        """One frame: without any, Matroska cannot be read."""
        packet = packet_copy(self._av, self._picture)
        packet.pts = packet.dts = 0
        others.write_picture(packet)

    def _flush_decoders(self, plan: StreamPlan) -> None:
        for stream in plan.streams:
            codec = self._container.streams[stream.index].codec_context
            if stream.action == "convert" and codec is not None and codec.is_open:
                codec.flush_buffers()

    def _has(self, path: Path, plan: StreamPlan, written: set[int]) -> bool:
        """Whether the file has the streams whose packets were written, and the chapters."""
        wanted = Counter(
            stream.kind
            for stream in plan.streams
            if stream.index in written or stream.action == "attach"
        )
        with self._av.open(str(path)) as container:
            found = Counter(_kind(stream) for stream in container.streams)
            chapters = len(container.chapters())
            tags = {key.lower() for stream in container.streams for key in stream.metadata}
        return (
            all(found[kind] >= count for kind, count in wanted.items())
            and chapters >= len(plan.chapters)
            and ("timecode" in tags or "timecode" not in plan.picture_metadata)
        )

    # -- times -----------------------------------------------------------------------------------

    def _first_time(self, stream: PlannedStream) -> Fraction | None:
        """Seconds of the output at which a stream begins, where it is copied from its beginning."""
        timing = self._empty.timing
        first = _time(self._packets.get(stream.index, []))
        if first is None or timing.start > 0:
            return None if first is None else Fraction(0)
        if stream.action == "convert":
            return Fraction(0)
        return first * (1 if self._empty.sound == KEEP else timing.factor)

    def _early_sound(self, plan: StreamPlan) -> StreamPlan:
        """See to sound before 0 where the container holds no negative times."""
        if self._format in EDIT_LISTS:
            return plan
        earliest, streams = Fraction(0), []
        for planned in plan.streams:
            stream, first = self._container.streams[planned.index], self._first_time(planned)
            states_priming = planned.encoder or (
                self._format in STATES_PRIMING
                and ("matroska" in self._container.format.name or _codec(stream) == "opus")
            )
            if planned.kind == "audio" and first is not None and not states_priming:
                if first < -LONGEST_PRIMING:
                    planned, first = replace(planned, from_zero=True), Fraction(0)
                earliest = min(earliest, first)
            streams.append(planned)
        return replace(plan, streams=tuple(streams), lead=-earliest)

    # -- notes -------------------------------------------------------------------------------------

    def _note_lost(self, planned: PlannedStream, stream) -> None:
        if lost := lost_tags(planned, stream):
            self._notes.append(
                f"{KIND_NAMES[planned.kind]} {planned.index} loses its {' and its '.join(lost)}: "
                f"{self._suffix} has no place for it"
            )

    def _note_conversion(self, stream, planned: PlannedStream) -> None:
        if self._format == "mp4" and planned.action == "copy" and _codec(stream)[:4] == "pcm_":
            self._notes.append(
                f"audio stream {stream.index} ({_codec(stream)}) is not compressed, which some "
                f"players do not support in {self._suffix}; .mov and .mkv play in more"
            )
        if planned.kind == "video" and self._empty.timing.start > 0:
            self._notes.append(
                f"{KIND_NAMES['video']} {planned.index} is copied from its first keyframe behind "
                "the start of --trim on"
            )
        is_stretched = planned.kind == "audio" and self._empty.sound == STRETCH
        if planned.action != "convert" or is_stretched:
            return
        self._notes.append(
            f"{KIND_NAMES[planned.kind]} {stream.index} ({_codec(stream)}) is converted to "
            f"{planned.encoder.removeprefix('lib')}: "
            f"{self._suffix} does not support {_codec(stream)}"
        )

    def _left_out(self, stream, kind: str) -> str:
        remedy = ""
        if self._suffix != ".mkv" and kind in ("audio", "subtitle", "attachment", "cover"):
            remedy = "; .mkv supports more"
        return (
            f"{KIND_NAMES[kind]} {stream.index} ({_codec(stream)}) is left out: "
            f"{self._suffix} does not support it{remedy}"
        )


def _kind(stream) -> str | None:
    if stream.type == "video":
        return "cover" if int(stream.disposition) & clock.ATTACHED_PICTURE else "video"
    return stream.type if stream.type in KIND_NAMES else None


def _codec(stream) -> str:
    if stream.codec_context is not None:
        return stream.codec_context.codec.canonical_name
    return getattr(stream, "name", None) or "unknown codec"


def _time(packets: list) -> Fraction | None:
    times = [packet.pts * packet.time_base for packet in packets if packet.pts is not None]
    return min(times, default=None)


def _grouped(notes: list[str]) -> list[str]:
    """Each sentence once."""
    return list(dict.fromkeys(notes))
