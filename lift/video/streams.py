"""Audio and subtitles: packets copied from the source as they are, in step with the video that is
being encoded.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

AHEAD = Fraction(1)  # seconds of sound muxed ahead of the picture

KINDS = ("audio", "subtitle", "attachment")
BRANDS = (
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
)  # of the source's container, not of ours


class StreamCopy:
    """Copies every audio stream, subtitle stream and attachment that the output container takes.

    Attributes:
        notes: a sentence for each stream that the container does not take.
    """

    def __init__(self, av, source: Path, output):
        self._av = av
        self._input = av.open(str(source.resolve()))
        self._output = output
        self._targets, self.notes = {}, []
        for stream in self._input.streams:
            if stream.type not in KINDS:
                continue
            try:
                target = output.add_stream_from_template(stream)
            except (ValueError, TypeError, av.error.FFmpegError):
                name = stream.codec_context.name if stream.codec_context else "unknown codec"
                self.notes.append(
                    f"{stream.type} stream {stream.index} ({name}) is left out: {output.format.name} does not take it; "
                    ".mkv takes more"
                )
                continue
            if stream.type != "attachment":
                target.metadata.update(stream.metadata)
                self._targets[stream.index] = target
        output.metadata.update(
            {k: v for k, v in self._input.metadata.items() if k.lower() not in BRANDS}
        )
        self._packets = self._read()
        self._next = None

    def _read(self) -> Iterator:
        if not self._targets:
            return
        try:
            for packet in self._input.demux([self._input.streams[i] for i in self._targets]):
                if packet.dts is not None:  # the flush packets at the end carry none
                    yield packet
        except self._av.error.FFmpegError:
            self.notes.append(
                "the source's sound breaks off before its end; what could be read is copied"
            )

    def until(self, time: Fraction | None) -> None:
        """Mux what belongs before `time` (seconds); everything that is left where None."""
        while True:
            if self._next is None:
                self._next = next(self._packets, None)
                if self._next is None:
                    return
            packet = self._next
            if time is not None and packet.dts * packet.time_base > time + AHEAD:
                return
            self._next = None
            packet.stream = self._targets[packet.stream.index]
            self._output.mux(packet)

    def close(self) -> None:
        self._packets.close()
        self._input.close()
