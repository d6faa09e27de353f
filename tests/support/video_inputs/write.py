"""A file from pictures, tones and copied streams: `write`, with which all inputs are made."""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np

UNSPECIFIED = 2
TESTSRC = "testsrc2=s=96x64:r=25"
SUBTITLE_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\n"
    b"Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, "
    b"Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, "
    b"Shadow, Alignment, MarginL, MarginR, MarginV, Encoding\n"
    b"Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0\n\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


def frames_of(count: int, *chain: str) -> Iterator[av.VideoFrame]:
    """`count` frames of a chain of FFmpeg's filters, the first a source; pts 0, 1, 2, ..."""
    graph = av.filter.Graph()
    names = [step.partition("=")[::2] for step in (chain or (TESTSRC,))]
    nodes = [graph.add(name, arguments or None) for name, arguments in names]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    for k in range(count):
        frame = graph.vpull()
        frame.pts = k
        yield frame


def frame_of_arrays(planes, pix_fmt: str) -> av.VideoFrame:
    """A frame of given planes, each (h, w) uint8 or uint16."""
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pix_fmt)
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(target, plane.dtype)
        rows = rows[: target.line_size // plane.itemsize * target.height]
        rows.reshape(target.height, -1)[:, : plane.shape[1]] = plane
    return frame


@dataclass
class Picture:
    """A video stream.

    Attributes:
        frames: its frames; those of testsrc2 where None.
        ticks: pts of each frame, in `tick` seconds; 0, 1, 2, ... at `rate` where None.
        codec_settings: attributes of the codec context, such as colour tags.
        packet: called with every packet before it is written.
        end: tick at which the last frame stops being displayed.
    """

    frames: Iterable[av.VideoFrame] | None = None
    codec: str = "libx264"
    pix_fmt: str | None = "yuv420p"
    rate: Fraction | int = 25
    ticks: Iterable[int] | None = None
    tick: Fraction | None = None
    options: dict = field(default_factory=dict)
    codec_settings: dict = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)
    disposition: int | None = None
    count: int = 12
    end: int | None = None

    def add(self, out) -> Callable[[], None]:
        frames = list(frames_of(self.count) if self.frames is None else self.frames)
        speed = {"libx264": {"preset": "ultrafast"}, "libx265": {"preset": "ultrafast"}}
        options = speed.get(self.codec, {}) | self.options
        stream = out.add_stream(self.codec, rate=self.rate, options=options)
        stream.width, stream.height = frames[0].width, frames[0].height
        stream.pix_fmt = self.pix_fmt or frames[0].format.name
        tick = self.tick or 1 / Fraction(self.rate)
        stream.codec_context.time_base = tick
        for name, value in self.codec_settings.items():
            setattr(stream.codec_context, name, value)
        stream.metadata.update(self.metadata)
        if self.disposition is not None:
            stream.disposition = self.disposition
        ticks = range(len(frames)) if self.ticks is None else self.ticks

        def write():
            for frame, at in zip(frames, ticks, strict=True):
                if frame.format.name != stream.pix_fmt:
                    frame = frame.reformat(format=stream.pix_fmt)
                    if not frame.format.is_rgb:
                        frame.colorspace = UNSPECIFIED  # that of RGB would remain
                frame.pts, frame.time_base = at, tick
                for name in ("colorspace", "color_range", "color_trc", "color_primaries"):
                    if name in self.codec_settings:
                        setattr(frame, name, self.codec_settings[name])
                self._mux(out, stream, stream.encode(frame), tick)
            self._mux(out, stream, stream.encode(None), tick)

        return write

    def _mux(self, out, stream, packets, tick):
        for packet in packets:
            if self.end is not None:
                last = packet.pts * packet.time_base == max(self.ticks) * tick
                if last:
                    packet.duration = round((self.end * tick) / packet.time_base - packet.pts)
            out.mux(packet)


@dataclass
class Tone:
    """An audio stream: a sine wave."""

    seconds: float = 0.48
    codec: str = "aac"
    rate: int = 44100
    layout: str = "mono"
    pitch: float = 440
    metadata: dict = field(default_factory=dict)
    disposition: int | None = None
    strict: bool = True

    def add(self, out) -> Callable[[], None]:
        options = {} if self.strict else {"strict": "experimental"}
        stream = out.add_stream(self.codec, rate=self.rate, options=options)
        stream.layout = self.layout
        if self.codec.startswith("wma"):
            stream.bit_rate = 64000
        stream.metadata.update(self.metadata)
        if self.disposition is not None:
            stream.disposition = self.disposition

        def write():
            total = round(self.seconds * self.rate)
            wave = 0.1 * np.sin(np.arange(total) * 2 * np.pi * self.pitch / self.rate)
            wave = np.repeat(wave[None], len(stream.layout.channels), 0).astype(np.float32)
            graph = av.filter.Graph()
            source = graph.add_abuffer(
                format="fltp",
                sample_rate=self.rate,
                layout=self.layout,
                time_base=Fraction(1, self.rate),
            )
            size = stream.codec_context.frame_size or 1024
            formats = f"sample_fmts={stream.codec_context.format.name}"
            nodes = [graph.add("aformat", formats)]
            if stream.codec_context.frame_size:
                nodes.append(graph.add("asetnsamples", f"n={size}:p=0"))
            graph.link_nodes(source, *nodes, graph.add("abuffersink")).configure()
            for start in range(0, total, 1024):
                chunk = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(wave[:, start : start + 1024]), "fltp", self.layout
                )
                chunk.sample_rate, chunk.pts = self.rate, start
                chunk.time_base = Fraction(1, self.rate)
                graph.push(chunk)
            graph.push(None)
            while (frame := _pull(graph)) is not None:
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))

        return write


def _pull(graph):
    try:
        return graph.pull()
    except (av.error.BlockingIOError, av.error.EOFError):
        return None


@dataclass
class Copy:
    """Streams of another file, copied.

    Attributes:
        source: path, or the content of a file and its format.
        streams: indices; all where None.
        shift: seconds added to every time.
        keep: whether a packet is copied; called with packet.
    """

    source: object
    streams: tuple[int, ...] | None = None
    shift: Fraction | float = 0
    metadata: dict = field(default_factory=dict)
    disposition: int | None = None
    keep: Callable | None = None

    def add(self, out) -> Callable[[], None]:
        if isinstance(self.source, tuple):
            data, name = self.source
            source = av.open(io.BytesIO(data), format=name)
        else:
            source = av.open(str(self.source))
        chosen = (
            source.streams if self.streams is None else [source.streams[i] for i in self.streams]
        )
        targets = {}
        for stream in chosen:
            if stream.type == "attachment":
                name = stream.metadata["filename"]
                out.add_attachment(name, stream.metadata["mimetype"], stream.data)
                continue
            target = targets[stream.index] = out.add_stream_from_template(stream)
            target.metadata.update(stream.metadata | self.metadata)
            target.disposition = (
                stream.disposition if self.disposition is None else self.disposition
            )

        def write():
            for packet in source.demux([source.streams[i] for i in targets]):
                if packet.dts is None or (self.keep is not None and not self.keep(packet)):
                    continue
                shift = round(Fraction(self.shift) / packet.time_base)
                packet.pts += shift
                packet.dts += shift
                packet.stream = targets[packet.stream_index]
                out.mux(packet)
            source.close()

        return write


@dataclass
class Captions:
    """A subtitle stream that FFmpeg encodes from (start, end, text), in milliseconds."""

    codec: str = "mov_text"
    lines: tuple = ((100, 300, "Hello"), (320, 450, "World ünï"))
    metadata: dict = field(default_factory=dict)

    def add(self, out) -> Callable[[], None]:
        stream = out.add_stream(self.codec, rate=1000)
        stream.codec_context.subtitle_header = SUBTITLE_HEADER
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        stream.metadata.update(self.metadata)

        def write():
            for k, (start, end, text) in enumerate(self.lines):
                event = f"{k},0,Default,,0,0,0,,{text}".encode()
                packet = stream.codec_context.encode_subtitle(
                    av.subtitles.subtitle.SubtitleSet.create(event, 0, end - start, 1000 * start)
                )
                packet.stream, packet.time_base = stream, Fraction(1, 1000)
                packet.pts = packet.dts = start
                packet.duration = end - start
                out.mux(packet)

        return write


@dataclass
class Data:
    """A data stream of one packet of 40 bytes every 40 ms, as a camera's telemetry."""

    codec: str = "bin_data"
    count: int = 12

    def add(self, out) -> Callable[[], None]:
        stream = out.add_data_stream(self.codec)
        stream.time_base = Fraction(1, 1000)

        def write():
            for k in range(self.count):
                packet = av.Packet(bytes([k]) * 40)
                packet.stream, packet.time_base = stream, Fraction(1, 1000)
                packet.pts = packet.dts = 40 * k
                packet.duration = 40
                out.mux(packet)

        return write


def write(path, *parts, format=None, options=None, metadata=None, chapters=(), attachments=()):
    """A file with the streams of `parts`, in order.

    Args:
        chapters: (start, end, title), milliseconds.
        attachments: (name, media type, content).
    """
    with av.open(str(path), "w", format=format, options=options or {}) as out:
        out.metadata.update(metadata or {})
        if chapters:
            out.set_chapters(
                [
                    {
                        "id": k,
                        "start": start,
                        "end": end,
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": title},
                    }
                    for k, (start, end, title) in enumerate(chapters)
                ]
            )
        writers = [part.add(out) for part in parts]
        for name, media_type, content in attachments:
            out.add_attachment(name, media_type, content)
        for writer in writers:
            writer()
    return path
