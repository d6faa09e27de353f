"""Files that lost something: truncated, overwritten, a packet missing, two recordings joined."""

import random
from functools import partial

from tests.support.video_inputs.write import Picture, Tone, frames_of, write

PACKET = 188  # bytes of a transport stream's packet


CLOCK = {"output_ts_offset": "1.4"}  # where FFmpeg's own program lets a transport stream begin


def make_whole(path, inputs, sound=False, options=None):
    """40 frames in groups of 10."""
    parts = [Picture(count=40, options={"g": "10"})] + ([Tone(1.6)] if sound else [])
    write(path, *parts, options=options)


def make_truncated(path, inputs, source):
    content = inputs(source).read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])


def make_overwritten(path, inputs, source):
    """400 random bytes in the middle."""
    content = bytearray(inputs(source).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = random.Random(0).randbytes(400)
    path.write_bytes(content)


def make_lost_packet(path, inputs):
    content = inputs("v17_full.ts").read_bytes()
    middle = len(content) // PACKET // 2 * PACKET
    path.write_bytes(content[:middle] + content[middle + PACKET :])


def make_mid_group(path, inputs):
    """A recording that begins inside an open group of pictures."""
    content = inputs("v22_og.ts").read_bytes()
    path.write_bytes(content[len(content) // PACKET // 3 * PACKET :])


def make_joined(path, inputs):
    """`cat` of two recordings: the clock starts again."""
    write(path, Picture(), format="mpegts", options=CLOCK)
    path.write_bytes(2 * path.read_bytes())


def make_size_change(path, inputs):
    write(path, Picture(), format="mpegts", options=CLOCK)
    first = path.read_bytes()
    larger = Picture(frames_of(12, "testsrc2=s=128x96:r=25"))
    write(path, larger, format="mpegts", options={"output_ts_offset": "1.88"})
    path.write_bytes(first + path.read_bytes())


def make_content(path, inputs, content):
    path.write_bytes(content)


MAKERS = {
    "v17_full.mp4": make_whole,
    "v17_fs.mp4": partial(make_whole, options={"movflags": "+faststart"}),
    "v17_full.mkv": partial(make_whole, sound=True),
    "v17_full.ts": partial(make_whole, options=CLOCK),
    "v17_full.avi": make_whole,
    "v17_lostpacket.ts": make_lost_packet,
    "v17_corrupt.mp4": partial(make_overwritten, source="v17_fs.mp4"),
    "v17_corrupt.mkv": partial(make_overwritten, source="v17_full.mkv"),
    "v17_corrupt.ts": partial(make_overwritten, source="v17_full.ts"),
    "v17_empty.mp4": partial(make_content, content=b""),
    "v17_random.mp4": partial(make_content, content=random.Random(1).randbytes(3000)),
    "v17_text.mp4": partial(make_content, content=b"hello\n"),
    "v22_midgop.ts": make_mid_group,
    "v30_joined.ts": make_joined,
    "v30_reschange.ts": make_size_change,
} | {
    f"v17_trunc_{name}": partial(make_truncated, source=f"v17_{name}")
    for name in ("full.mp4", "fs.mp4", "full.mkv", "full.ts", "full.avi")
}
