"""The first packets of each stream, with which it is tried what an output can hold."""

from lift.io import clock
from lift.io.optional import require

PROBE_PACKETS = 4  # of each stream
PROBE_LIMIT = 1000  # packets of the file


def first_packets(container, video_index: int) -> dict[int, list]:
    """The first packets of every stream but the picture's, by the stream's index."""
    others = [
        stream
        for stream in container.streams
        if stream.index != video_index and stream.type != "attachment"
    ]
    packets: dict[int, list] = {stream.index: [] for stream in others}
    if not others:
        return packets
    av = require("av", "reading a video")
    try:
        for count, packet in enumerate(clock.demux(container)):
            found = packets.get(packet.stream.index)
            if found is not None and packet.size and len(found) < PROBE_PACKETS:
                found.append(packet)
            enough = all(len(found) >= PROBE_PACKETS for found in packets.values())
            if enough or count >= PROBE_LIMIT:
                break
    except av.error.FFmpegError:
        pass  # a damaged source: what could be read is tried
    return packets


def first_picture(template):
    """The first packet of the template's file, which is then rewound."""
    container = template.container
    packet = next((packet for packet in container.demux(template) if packet.size), None)
    if packet is None:
        raise ValueError("template: its file holds no packet")
    container.seek(0)
    return packet
