"""When the frames of an AVI file are displayed: the file states only when they are decoded.

FFmpeg guesses the rest. For H.264 it displays everything one frame late and mistakes the order.
"""

from collections.abc import Iterator


def is_avi(container) -> bool:
    """Whether an opened file (av.container.InputContainer) states no times of display."""
    return container.format.name == "avi"


class AviTimes:
    """Gives decoded frames the times at which their file has them displayed.

    The first frame is displayed when the first packet is decoded; a later one when the packet is
    decoded that made the decoder give it out, less the delay of the first.

    Args:
        decoder: the av.VideoCodecContext that decodes the packets.

    Attributes:
        end: ticks at which the last packet so far ends; a file counts frames that it leaves out.
    """

    def __init__(self, decoder):
        self._decoder = decoder
        self._first = self._last = self._delay = None  # in ticks of the stream
        self._next, self._step, self.end = 0, 1, 0

    def packets(self, packets: Iterator) -> Iterator:
        """The packets, without FFmpeg's guess."""
        for packet in packets:
            if packet.size and packet.dts is not None:
                self._first = packet.dts if self._first is None else self._first
                if self._last is not None and packet.dts > self._last:
                    self._step = packet.dts - self._last
                self._last = packet.dts
                self.end = packet.dts + (packet.duration or 1)
            packet.pts = None
            yield packet

    def __call__(self, frames: list) -> list:
        """Frames (av.VideoFrame) in the order of display, with `pts`."""
        for frame in frames:
            decoded = frame.dts  # None where the packets have ended
            if self._delay is None:
                first = self._first or 0
                decoded = first if decoded is None else decoded
                # more than the codec reorders: frames that could not be decoded
                self._delay = min(decoded - first, self._decoder.reorder_depth * self._step)
            frame.pts = self._next if decoded is None else decoded - self._delay
            self._next = frame.pts + self._step
        return frames
