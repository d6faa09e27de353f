"""Gaps in sound that is copied to a container which does not state times."""

import re
from collections.abc import Iterator
from fractions import Fraction

from lift.io.optional import require
from lift.io.sound import GAP

CLOSES_GAPS = ("avi", "mp4", "mov")
SILENCE = {"pcm_u8": b"\x80", "pcm_alaw": b"\xd5", "pcm_mulaw": b"\xff"}  # else 0


class GapFiller:
    """Silence in the gaps of sound that is copied to a container which would close them.

    AVI, and QuickTime for PCM, count samples instead of stating times.

    Args:
        source: av.AudioStream; silence is known for PCM.
        closes_all: gaps in other codecs are closed too, and noted.
    """

    def __init__(self, source, closes_all: bool):
        codec = source.codec_context
        self._index, self._closes_all, self._rate = source.index, closes_all, source.rate
        name = "" if codec is None else codec.name
        bits = re.fullmatch(r"pcm_(?:[sf](\d+)[bl]e|s8|u8|alaw|mulaw)", name)
        self._silence = SILENCE.get(name, b"\0")
        self._bytes = int(bits[1] or 8) // 8 * codec.layout.nb_channels if bits else 0
        self._end: Fraction | None = None
        self._closed = Fraction(0)

    def __call__(self, packet) -> Iterator:
        """The packet, behind the silence that leads to it."""
        start, end = packet.pts * packet.time_base, self._end
        if self._bytes:
            self._end = start + Fraction(packet.size // self._bytes, self._rate)
        else:
            self._end = start + packet.duration * packet.time_base if packet.duration else None
        if end is not None and start - end > GAP:
            if self._bytes:
                yield from self._quiet(packet, end, start)
            elif self._closes_all:
                self._closed += start - end
        yield packet

    def _quiet(self, packet, start: Fraction, end: Fraction) -> Iterator:
        av = require("av", "writing sound")
        samples = round((end - start) * self._rate)
        for first in range(0, samples, self._rate):  # a second each
            count = min(self._rate, samples - first)
            quiet = av.Packet(self._silence * (count * self._bytes))
            quiet.stream, quiet.time_base = packet.stream, packet.time_base
            time = start + Fraction(first, self._rate)
            quiet.pts = quiet.dts = round(time / packet.time_base)
            quiet.duration = round(Fraction(count, self._rate) / packet.time_base)
            yield quiet

    def notes(self) -> list[str]:
        """A sentence where gaps were closed."""
        if not self._closed:
            return []
        return [
            f"audio stream {self._index} has gaps, which AVI closes: sound is up to "
            f"{float(self._closed):.2f} s early behind them; .mkv and .mp4 keep them"
        ]
