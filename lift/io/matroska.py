"""Elements of Matroska files (RFC 8794, RFC 9559), and the pixel aspect of a finished one.

FFmpeg writes a display size from a field of the stream that PyAV does not reach. It is written
afterwards, in the room that a long track name has reserved.
"""

import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

EBML_HEADER, SEGMENT, INFO = 0x1A45DFA3, 0x18538067, 0x1549A966
TRACKS, CLUSTER = 0x1654AE6B, 0x1F43B675
VOID, CRC32 = 0xEC, 0xBF
TRACK_ENTRY, NAME, VIDEO, COLOUR = 0xAE, 0x536E, 0xE0, 0x55B0
PIXEL_WIDTH, PIXEL_HEIGHT = 0xB0, 0xBA
DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
ASPECT_RATIO = 3  # the unit of a display size that is a ratio
STEREO_MODE = 0x53B8
SIDE_BY_SIDE, TOP_BOTTOM = (1, 11), (2, 3)  # modes whose display size is that of one view
CLUSTER_TIME, SIMPLE_BLOCK, BLOCK_GROUP, BLOCK = 0xE7, 0xA3, 0xA0, 0xA1
IN_CLUSTER = {CLUSTER_TIME, SIMPLE_BLOCK, BLOCK_GROUP, 0xA7, 0xAB, 0xAF, 0x5854, VOID, CRC32}
FOUR_BYTES = 0x10000000  # identifiers of a segment's own elements begin there
TIME_SCALE = 0x2AD7B1  # nanoseconds of a tick
ROOM = " " * 48  # bytes at the end of a track's name
HEAD = 1 << 20  # bytes that hold the description of the tracks
LONGEST_HEADER = 12  # bytes of an element before its body: identifier and size


def elements(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(identifier, start, start of the body, end) of each element in data[start:end]."""
    while start < end - 1 and data[start]:
        body = start + 9 - data[start].bit_length()
        if body >= end:
            return
        size_bytes = 9 - data[body].bit_length()
        unknown = (1 << (7 * size_bytes)) - 1
        size = int.from_bytes(data[body : body + size_bytes], "big") & unknown
        name = int.from_bytes(data[start:body], "big")
        body += size_bytes
        stop = end if size == unknown else body + size
        yield name, start, body, stop
        start = stop


def damaged_places(path: str | Path) -> list[Fraction]:
    """Where the structure of a Matroska file is broken; readers skip to the next cluster there.

    Only headers of elements are read: what is inside of a block is for its decoder.

    Returns:
        For each place the time of the last block before it, seconds. Empty for other files.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        found = _segment(file, size)
        return [] if found is None else list(_breaks(file, found[0], min(found[1], size)))


def is_cut_off(path: str | Path) -> bool:
    """Whether a Matroska file states to be longer than it is."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        found = _segment(file, size)
        return found is not None and found[1] > size


def _segment(file: BinaryIO, size: int) -> tuple[int, int] | None:
    """Start and end of the body that holds everything but the first header; None: there is none."""
    walked = _walk(file, 0, size)
    found = next((each for each in walked if each is None or each[0] == SEGMENT), None)
    return None if found is None else found[1:]


def _breaks(file: BinaryIO, start: int, end: int) -> Iterator[Fraction]:
    """Times of the last blocks before what is no element, in the body of a segment."""
    tick, time = Fraction(1, 1000), Fraction(0)
    cluster, limit = 0, end  # the time of the cluster; where it must end
    while start < end:
        for child in _walk(file, start, end):
            name, body, stop = child or (0, 0, 0)
            if name in IN_CLUSTER and stop <= limit:
                start = stop
                if name == CLUSTER_TIME:
                    cluster = int.from_bytes(_read(file, body, stop), "big")
                elif name in (SIMPLE_BLOCK, BLOCK_GROUP):
                    offset = _block_offset(_read(file, body, min(stop, body + 16)), name)
                    time = time if offset is None else (cluster + offset) * tick
            elif _is_in_segment(name) and stop <= end and (start >= limit or limit == end):
                if name == INFO:
                    tick = _tick(_read(file, body, min(stop, body + HEAD)))
                is_cluster = name == CLUSTER
                limit = stop if is_cluster else end
                start = body if is_cluster else stop
                break  # the children of a cluster are walked like what follows it
            else:
                if stop > end and (name in IN_CLUSTER or _is_in_segment(name)):
                    return  # cut off, which is another fault
                yield time
                start, limit = _next_cluster(file, start + 1, end), end
                break
        else:
            return


def _is_in_segment(name: int) -> bool:
    return name >= FOUR_BYTES or name in (VOID, CRC32)


def _walk(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int] | None]:
    """(identifier, start of the body, end) of elements one behind the other; None: no element."""
    while start < end:
        head = _read(file, start, min(end, start + LONGEST_HEADER))
        known = bool(head) and head[0] >= 0x10 and len(head) > 9 - head[0].bit_length()
        at = 9 - head[0].bit_length() if known else 0
        if not known or not head[at]:
            yield None
            return
        length = 9 - head[at].bit_length()
        mask = (1 << 7 * length) - 1
        size = int.from_bytes(head[at : at + length], "big") & mask
        body = start + at + length
        start = end if size == mask else body + size
        yield int.from_bytes(head[:at], "big"), body, start


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _block_offset(head: bytes, name: int) -> int | None:
    """Ticks of a block after the time of its cluster."""
    if name == BLOCK_GROUP:
        found = next(elements(head, 0, len(head)), None)
        if found is None or found[0] != BLOCK:
            return None
        head = head[found[2] :]
    at = 9 - head[0].bit_length() if head else 0
    return int.from_bytes(head[at : at + 2], "big", signed=True) if len(head) >= at + 2 else None


def _tick(info: bytes) -> Fraction:
    for name, _, body, end in elements(info, 0, len(info)):
        if name == TIME_SCALE:
            return Fraction(int.from_bytes(info[body:end], "big"), 10**9)
    return Fraction(1, 1000)


def _next_cluster(file: BinaryIO, start: int, end: int) -> int:
    """Where the next cluster begins; `end` where there is none."""
    mark = CLUSTER.to_bytes(4, "big")
    while start < end:
        data = _read(file, start, min(end, start + HEAD))
        if (at := data.find(mark)) >= 0:
            return start + at
        start += max(1, len(data) - 3)
        if len(data) < 4:
            break
    return end


def element(name: int, body: bytes) -> bytes:
    """An element with its identifier and its size."""
    size_bytes = len(body).bit_length() // 7 + 1
    size = (1 << (7 * size_bytes) | len(body)).to_bytes(size_bytes, "big")
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + size + body


def unsigned(name: int, value: int) -> bytes:
    """An element with an unsigned integer."""
    return element(name, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def real(name: int, value: Fraction | float) -> bytes:
    """An element with a number in double precision."""
    return element(name, struct.pack(">d", float(value)))


def display_size(width: int, height: int, aspect: Fraction, stereo: int, is_webm: bool) -> bytes:
    """The elements that state the display size.

    Args:
        width, height: pixels of the frame.
        aspect: width of a pixel over its height.
        stereo: Matroska's stereo mode; two views side by side state the size of one.
        is_webm: WebM has sizes in pixels only, so that the ratio is rounded.
    """
    views_x, views_y = 1 + (stereo in SIDE_BY_SIDE), 1 + (stereo in TOP_BOTTOM)
    wide, high = width * aspect / views_x, Fraction(height, views_y)
    if wide.denominator == high.denominator == 1 or is_webm:
        return unsigned(DISPLAY_WIDTH, round(wide)) + unsigned(DISPLAY_HEIGHT, round(high))
    ratio = wide / high
    return (
        unsigned(DISPLAY_UNIT, ASPECT_RATIO)
        + unsigned(DISPLAY_WIDTH, ratio.numerator)
        + unsigned(DISPLAY_HEIGHT, ratio.denominator)
    )


def name_with_room(title: str) -> str:
    """A track's name that `write_aspect` makes `title` again; set it as the stream's title."""
    return title + ROOM


def write_aspect(path: str | Path, aspect: Fraction, *, is_webm: bool = False) -> bool:
    """State the pixel aspect of the first video track of a finished Matroska or WebM file.

    Args:
        path: a file whose first video track's name is of `name_with_room`.
        aspect: width of a pixel over its height.

    Returns:
        Whether it was written; false where the file has no such name. The file keeps its size.
    """
    with open(path, "r+b") as file:
        head = file.read(HEAD)
        found = _tracks(head)
        if found is None:
            return False
        start, end = found
        changed = _with_aspect(head[start:end], aspect, is_webm)
        if changed is None:
            return False
        file.seek(start)
        file.write(changed)
    return True


def _tracks(head: bytes) -> tuple[int, int] | None:
    """Where the body of Tracks is."""
    for name, _, body, _ in elements(head, 0, len(head)):
        if name == SEGMENT:
            for child, _, child_body, child_end in elements(head, body, len(head)):
                if child == TRACKS:
                    return child_body, child_end
                if child == CLUSTER:
                    return None
    return None


def _with_aspect(tracks: bytes, aspect: Fraction, is_webm: bool) -> bytes | None:
    result, is_changed = b"", False
    for name, start, body, end in elements(tracks, 0, len(tracks)):
        if name == TRACK_ENTRY and not is_changed:
            entry = _entry_with_aspect(tracks[body:end], aspect, is_webm)
            if entry is not None:
                result, is_changed = result + element(TRACK_ENTRY, entry), True
                continue
        if name not in (CRC32, VOID):
            result += tracks[start:end]
    checksum = element(CRC32, bytes(4))
    room = len(tracks) - len(result) - len(checksum)
    if not is_changed or room < 9:
        return None
    result += VOID.to_bytes(1, "big") + (1 << 56 | room - 9).to_bytes(8, "big") + bytes(room - 9)
    return element(CRC32, zlib.crc32(result).to_bytes(4, "little")) + result


def _entry_with_aspect(entry: bytes, aspect: Fraction, is_webm: bool) -> bytes | None:
    result, video, title = b"", None, None
    for name, start, body, end in elements(entry, 0, len(entry)):
        if name == NAME:
            title = entry[body:end].decode("utf-8", "replace")
        elif name == VIDEO:
            video = entry[body:end]
        else:
            result += entry[start:end]
    if video is None or title is None or not title.endswith(ROOM):
        return None
    title = title.removesuffix(ROOM)
    result += element(NAME, title.encode()) if title else b""
    kept, values = b"", {STEREO_MODE: 0}
    for name, start, body, end in elements(video, 0, len(video)):
        if name in (PIXEL_WIDTH, PIXEL_HEIGHT, STEREO_MODE):
            values[name] = int.from_bytes(video[body:end], "big")
        if name not in (DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT):
            kept += video[start:end]
    size = values[PIXEL_WIDTH], values[PIXEL_HEIGHT]
    return result + element(VIDEO, kept + display_size(*size, aspect, values[STEREO_MODE], is_webm))
