"""Text subtitles from one format to another, with FFmpeg's decoders and encoders."""

from fractions import Fraction

from lift.io.timing import Timing

# PyAV calls the decoders of subrip and ass "srt" and "ssa"
TEXT_CODECS = frozenset("subrip srt ass ssa mov_text webvtt text".split())
# the text format of each container (FFmpeg's names); others hold no text subtitles
TEXT_OF_FORMAT = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
EMPTY = Fraction(2)  # seconds for which a subtitle without a duration is shown


class SubtitleConverter:
    """Packets of a text subtitle stream in the codec of an output stream.

    Args:
        source: the av.SubtitleStream that packets come from.
        target: an output stream with a text encoder, not opened yet.
        timing: which part of the source is kept; subtitles across a cut are shortened.
    """

    def __init__(self, source, target, timing: Timing):
        self._decoder, self._target, self._timing = source.codec_context, target, timing
        self._decoder.open(strict=False)
        target.codec_context.subtitle_header = self._decoder.subtitle_header

    def convert(self, packet) -> list:
        """The packets (av.Packet, of the target's stream) for one packet of the source."""
        if packet.pts is None:
            return []
        subtitle = self._decoder.decode2(packet)
        if subtitle is None or not len(subtitle):
            return []  # MP4 fills the gaps between subtitles with empty packets
        base = packet.time_base
        start = packet.pts * base
        duration = (packet.duration or 0) * base or EMPTY
        shown = self._timing.clip(start, start + duration)
        if shown is None:
            return []
        subtitle.start_display_time = 0
        converted = self._target.codec_context.encode_subtitle(subtitle)
        converted.time_base = base
        converted.pts = converted.dts = round(shown[0] / base)
        converted.duration = max(1, round((shown[1] - shown[0]) / base))
        return [converted]

    def flush(self) -> list:
        """Nothing is held back."""
        return []
