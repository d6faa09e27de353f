"""Sound that cannot be copied: encoded in another codec, or slower with its pitch kept."""

from fractions import Fraction

from lift.io.optional import require
from lift.io.timing import Timing

# how sound is treated in slow motion
COPY, STRETCH, DROP, KEEP = "copy", "stretch", "drop", "keep"
SOUND_MODES = (COPY, STRETCH, DROP, KEEP)

# encoders that a container's players support, best first (FFmpeg's names)
ENCODERS_OF_FORMAT = {
    "mp4": ("aac",),
    "mov": ("aac",),
    "webm": ("libopus",),
    "matroska": ("libopus", "aac"),
    "mpegts": ("aac", "ac3", "mp2"),
    "avi": ("libmp3lame", "ac3", "pcm_s16le"),
    "nut": ("flac", "pcm_s16le"),
}
SAME_CODEC = {"mp3": "libmp3lame", "mp3float": "libmp3lame", "opus": "libopus"}
LOSSLESS = ("pcm_", "flac", "alac", "truehd", "mlp", "wavpack", "tta", "ape", "wmalossless")
BITS_OF_CHANNEL = 96_000  # bits per second where the source's rate says nothing
SLOWEST = Fraction(1, 2)  # one atempo filter goes from 1/2 to 100
FASTEST = Fraction(100)
ATEMPO_EARLY = Fraction(21, 1000)  # seconds by which slower sound comes early from an atempo
GAP = 0.01  # seconds; a shorter pause between packets is one of their clock
OPUS_RATE = 48_000


def same_codec_encoder(name: str) -> str:
    """FFmpeg's encoder for the codec of a decoder."""
    return SAME_CODEC.get(name, name)


def is_lossless(codec: str) -> bool:
    """Whether a codec keeps every sample."""
    return codec.startswith(LOSSLESS)


def default_layout(channels: int) -> str | None:
    """The usual speaker layout of a number of channels; None where there is none."""
    usual = ("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1")
    return usual[channels - 1] if 1 <= channels <= len(usual) else None


def atempo_chain(factor: Fraction) -> list[Fraction]:
    """Tempos, each within the limits of one atempo filter, whose product is 1 / factor.

    Raises:
        ValueError: factor is not positive.
    """
    if factor <= 0:
        raise ValueError(f"atempo_chain: factor must be positive, got {factor}")
    tempo, chain = 1 / Fraction(factor), []
    while tempo < SLOWEST:
        chain.append(SLOWEST)
        tempo /= SLOWEST
    while tempo > FASTEST:
        chain.append(FASTEST)
        tempo /= FASTEST
    return chain + ([tempo] if tempo != 1 else [])


def lead_of(chain: list[Fraction]) -> Fraction:
    """Seconds of the source by which sound comes early from a chain of atempo filters.

    Each is early by half of its window, which the filters after it stretch.
    """
    lead = Fraction(0)
    for tempo in reversed(chain):
        lead = (lead + ATEMPO_EARLY) * tempo if tempo < 1 else lead * tempo
    return lead


def add_encoder(output, source, encoder: str, layout: str | None):
    """Add an audio stream that is encoded from `source` (av.AudioStream) to an output.

    Returns:
        The av.AudioStream; its rate is that of the source where the encoder supports it.

    Raises:
        ValueError, FFmpegError: the container does not hold this codec.
    """
    av = require("av", "writing sound")
    rates = av.Codec(encoder, "w").audio_rates
    rate = source.rate
    if encoder == "libopus":
        rate = OPUS_RATE
    elif rates and rate not in rates:
        rate = min(rates, key=lambda allowed: (allowed < rate, abs(allowed - rate)))
    stream = output.add_stream(encoder, rate=rate)
    codec = stream.codec_context
    codec.layout = layout or source.layout.name
    if not is_lossless(encoder):
        codec.bit_rate = _bit_rate(source, codec.layout.nb_channels)
    return stream


def _bit_rate(source, channels: int) -> int:
    usual = BITS_OF_CHANNEL * channels
    if is_lossless(source.codec_context.name) or not source.bit_rate:
        return usual
    return min(max(source.bit_rate, usual // 2), usual * 2)


class SoundConverter:
    """Packets of a sound stream, decoded, cut, stretched and encoded for an output stream.

    The result begins at 0; silence fills a later beginning and gaps, so that sound and picture
    stay in sync.

    Args:
        source: the av.AudioStream that packets come from.
        target: the av.AudioStream of `add_encoder`.
        timing: cut and speed; the pitch is kept.
    """

    def __init__(self, source, target, timing: Timing):
        self._av = require("av", "writing sound")
        self._source, self._target, self._timing = source, target, timing
        self._graph = None
        self._form = None
        self.damaged = 0

    def convert(self, packet) -> list:
        """The packets (av.Packet) of the target that are ready after one packet of the source."""
        try:
            frames = self._source.codec_context.decode(packet)
        except self._av.error.FFmpegError:
            self.damaged += 1
            return []
        return [ready for frame in frames for ready in self._push(frame)]

    def flush(self) -> list:
        """The last packets."""
        try:
            frames = self._source.codec_context.decode(None)
        except self._av.error.FFmpegError:
            frames = []
        ready = [packet for frame in frames for packet in self._push(frame)]
        ready += self._end_graph()
        if self._target.codec_context.is_open:
            ready += self._target.codec_context.encode(None)
        return ready

    def _push(self, frame) -> list:
        if frame.pts is None or not frame.samples:
            return []
        form = (frame.sample_rate, frame.format.name, frame.layout.nb_channels)
        ready = []
        if form != self._form:
            ready = self._end_graph()
            self._graph, self._form = self._make_graph(frame), form
        try:
            self._graph.push(frame)
        except self._av.error.EOFError:  # behind the cut
            return ready
        return ready + self._pull()

    def _make_graph(self, frame):
        codec, timing = self._target.codec_context, self._timing
        layout = frame.layout.name
        if "channels" in layout:
            layout = default_layout(frame.layout.nb_channels) or layout
        first = "" if self._form else ":first_pts=0"
        chain = atempo_chain(timing.factor)
        start = float(timing.start - lead_of(chain))
        graph = self._av.filter.Graph()
        end = "" if timing.end is None else f":end={float(timing.end)}"
        nodes = [
            graph.add_abuffer(
                sample_rate=frame.sample_rate,
                format=frame.format.name,
                layout=layout,
                time_base=frame.time_base,
            ),
            graph.add("asettb", f"1/{frame.sample_rate}"),  # AVI's ticks are whole blocks
            graph.add("atrim", f"start={float(timing.start)}{end}"),
            graph.add("asetpts", f"PTS-({start})/TB"),
            # resamples, and fills gaps with silence
            graph.add("aresample", f"{codec.sample_rate}:async=1:min_hard_comp={GAP}" + first),
        ]
        nodes += [graph.add("atempo", f"{float(tempo):.9f}") for tempo in chain]
        nodes.append(
            graph.add(
                "aformat",
                f"sample_fmts={codec.format.name}:sample_rates={codec.sample_rate}"
                f":channel_layouts={codec.layout.name}",
            )
        )
        nodes.append(graph.add("abuffersink"))
        graph.link_nodes(*nodes).configure()
        return graph

    def _end_graph(self) -> list:
        if self._graph is None:
            return []
        try:
            self._graph.push(None)
        except self._av.error.EOFError:
            pass
        ready, self._graph = self._pull(), None
        return ready

    def _pull(self) -> list:
        ready = []
        while True:
            try:
                frame = self._graph.pull()
            except (self._av.error.BlockingIOError, self._av.error.EOFError):
                return ready
            ready += self._target.codec_context.encode(frame)
