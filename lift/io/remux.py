"""Audio and subtitles: packets copied from the source unchanged, in step with the encoded video."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

INTERLEAVE_SECONDS = Fraction(1)  # audio is muxed this far ahead of the video

COPIED_TYPES = ("audio", "subtitle", "attachment")
# metadata of the source's container that is not true of the output's
CONTAINER_METADATA = ("major_brand", "minor_version", "compatible_brands", "encoder")


class StreamCopy:
    """Copies every audio stream, subtitle stream and attachment that the output container supports.

    Attributes:
        notes: a sentence for each stream that the container does not support.
    """

    def __init__(self, av, source: Path, output):
        self._av = av
        self._input = av.open(str(source.resolve()))
        self._output = output
        self._targets, self.notes = {}, []
        for stream in self._input.streams:
            if stream.type not in COPIED_TYPES:
                continue
            try:
                target = output.add_stream_from_template(stream)
            except (ValueError, TypeError, av.error.FFmpegError):
                name = stream.codec_context.name if stream.codec_context else "unknown codec"
                self.notes.append(
                    f"{stream.type} stream {stream.index} ({name}) is left out: "
                    f"{output.format.name} does not support it; .mkv supports more"
                )
                continue
            if stream.type != "attachment":
                target.metadata.update(stream.metadata)
                self._targets[stream.index] = target
        output.metadata.update(
            {k: v for k, v in self._input.metadata.items() if k.lower() not in CONTAINER_METADATA}
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
            self.notes.append("the source's audio is truncated; what could be read is copied")

    def copy_until(self, time: Fraction | None) -> None:
        """Mux the packets up to `time` (seconds); all remaining ones where None."""
        while True:
            if self._next is None:
                self._next = next(self._packets, None)
                if self._next is None:
                    return
            packet = self._next
            if time is not None and packet.dts * packet.time_base > time + INTERLEAVE_SECONDS:
                return
            self._next = None
            packet.stream = self._targets[packet.stream.index]
            self._output.mux(packet)

    def close(self) -> None:
        self._packets.close()
        self._input.close()
