"""A part with another header: what PyAV cannot set on an output stream, stated by an input stream.

Mastering display, content light level and stereo mode reach an output container as side data of its
stream, which PyAV copies from a template and offers no way to set. Here the track's description in
a part (Matroska, RFC 9559) is replaced by one with these elements, in memory; the stream that
FFmpeg reads from it is the template.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from lift.errors import LiftError, callback
from lift.io.codecs import Encoding
from lift.io.encoder import VideoTags
from lift.io.matroska import (
    CLUSTER,
    COLOUR,
    DISPLAY_HEIGHT,
    DISPLAY_UNIT,
    DISPLAY_WIDTH,
    EBML_HEADER,
    HEAD,
    INFO,
    PIXEL_HEIGHT,
    PIXEL_WIDTH,
    SEGMENT,
    STEREO_MODE,
    TRACK_ENTRY,
    TRACKS,
    VIDEO,
    display_size,
    element,
    elements,
    name_with_room,
    real,
    unsigned,
    write_aspect,
)
from lift.io.optional import require
from lift.io.to_yuv import tag

MATROSKA = ("matroska", "webm")
TRANSFER, PRIMARIES = 0x55BA, 0x55BB
MAX_CLL, MAX_FALL, MASTERING = 0x55BC, 0x55BD, 0x55D0
# of MasteringMetadata: red, green, blue and white as x, y; then the luminances
CHROMATICITIES = ((0x55D1, 0x55D2), (0x55D3, 0x55D4), (0x55D5, 0x55D6), (0x55D7, 0x55D8))
MAX_LUMINANCE, MIN_LUMINANCE = 0x55D9, 0x55DA
# Matroska's stereo modes by FFmpeg's names of packings; the left eye first
STEREO_MODES = {
    "side by side": 1,
    "top and bottom": 3,
    "top-bottom": 3,
    "checkerboard": 5,
    "interleaved lines": 7,
    "interleaved columns": 9,
    "frame alternate": 13,
}
INVERTED_MODES = {1: 11, 3: 2, 5: 4, 7: 6, 9: 8, 13: 14}  # the right eye first


@contextmanager
def open_header(
    part: str | Path | io.BytesIO,
    tags: VideoTags,
) -> Iterator:
    """Open a part under a header that states `tags`.

    Args:
        part: a part's path, or one in memory, as `probe` returns it.
        tags: colour, aspect, HDR metadata and stereo packing that the output states.

    Yields:
        av.VideoStream, a template for OutputContainer.add_stream_from_template; its packets can be
        read, too. A part that is not Matroska is opened as it is.

    Raises:
        LiftError: the part is damaged.
    """
    av = require("av", "joining parts")
    file = part if isinstance(part, io.BytesIO) else open(part, "rb")
    try:
        file.seek(0)
        head = file.read(HEAD)
        if head[:4] == EBML_HEADER.to_bytes(4, "big"):
            head, start = _rewritten(head, tags)
            source = _Concatenation(head, file, start)
        else:
            file.seek(0)
            source = file
        try:
            container = av.open(source)
        except (av.error.FFmpegError, OSError) as error:
            raise LiftError(f"{part}: this part is damaged; delete it and run again") from error
        with container:
            yield container.streams.video[0]
    finally:
        if file is not part:
            file.close()


def add_video(container, template, encoding: Encoding, tags: VideoTags, rate: Fraction):
    """Add the stream of a video whose packets come from parts.

    Args:
        container: av.container.OutputContainer; MP4 and MOV state a stereo packing only where they
            were opened with container_options={"strict": "unofficial"}.
        template: from `open_header`, which must stay open until the file's header is written.
        encoding: of the parts.
        rate: nominal frames per second.

    Returns:
        av.VideoStream. In Matroska and WebM its title holds room where pixels are not square: keep
        it (`matroska.name_with_room`), and call `finish_video` on the closed file.
    """
    stream = container.add_stream_from_template(template, opaque=True)
    codec = stream.codec_context
    codec.framerate = Fraction(rate).limit_denominator(1 << 20)
    if encoding.container == "avi":  # whose frames are counted, not timed
        stream.time_base = 1 / codec.framerate
    if encoding.tag:
        codec.codec_tag = encoding.tag
    tag(codec, encoding.pix_fmt, encoding.coding)
    codec.color_primaries, codec.color_trc = tags.primaries, tags.transfer
    if encoding.has_alpha and encoding.encoder.startswith("libvpx"):
        stream.metadata["alpha_mode"] = "1"
    if tags.aspect != 1:
        codec.sample_aspect_ratio = tags.aspect
        if encoding.container in MATROSKA:
            stream.metadata["title"] = name_with_room("")
    return stream


def finish_video(path: str | Path, encoding: Encoding, tags: VideoTags) -> None:
    """What is left to do once the output has been closed: the pixel aspect of Matroska and WebM."""
    if tags.aspect != 1 and encoding.container in MATROSKA:
        write_aspect(path, tags.aspect, is_webm=encoding.container == "webm")


def packet_filter(encoding: Encoding, template, stream):
    """The filter that packets of parts need for the output, or None; call `filter` on each packet.

    FFmpeg inserts it by itself in every container but AVI.

    Args:
        template: from `open_header`.
        stream: from `add_video`.
    """
    av = require("av", "joining parts")
    if encoding.container == "avi" and encoding.codec == "h264":
        return av.bitstream.BitStreamFilterContext("h264_mp4toannexb", template, stream)
    return None


class _Concatenation:
    """Bytes, then the rest of a file from `start` on, read as one file."""

    def __init__(self, head: bytes, file, start: int):
        self._head, self._file, self._start = head, file, start
        self._size = len(head) + file.seek(0, io.SEEK_END) - start
        self._position = 0

    @callback
    def read(self, size: int) -> bytes:
        head = self._head[self._position : self._position + size]
        self._file.seek(self._start + max(0, self._position + len(head) - len(self._head)))
        data = head + self._file.read(size - len(head))
        self._position += len(data)
        return data

    @callback
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    @callback
    def tell(self) -> int:
        return self._position


# -- the track's description -----------------------------------------------------------------------


def _rewritten(head: bytes, tags: VideoTags) -> tuple[bytes, int]:
    """A header with `tags`, and the offset of the part's first cluster."""
    result = b""
    tracks = info = None
    for name, start, body, end in elements(head, 0, len(head)):
        if name == EBML_HEADER:
            result = head[start:end]
        elif name == SEGMENT:
            for child, child_start, child_body, child_end in elements(head, body, len(head)):
                if child == INFO:
                    info = head[child_start:child_end]
                elif child == TRACKS:
                    tracks = head[child_body:child_end]
                elif child == CLUSTER:
                    if tracks is None or info is None:
                        break
                    entry = _track(tracks, tags)
                    unknown_size = b"\x01" + b"\xff" * 7
                    result += SEGMENT.to_bytes(4, "big") + unknown_size + info
                    return result + element(TRACKS, entry), child_start
    raise LiftError("a part has no description of its track; delete it and run again")


def _track(tracks: bytes, tags: VideoTags) -> bytes:
    """The one TrackEntry of a part, with another description of its video."""
    children = elements(tracks, 0, len(tracks))  # a checksum may come first
    body, end = next((body, end) for name, _, body, end in children if name == TRACK_ENTRY)
    entry = b""
    for name, start, child_body, child_end in elements(tracks, body, end):
        kept = tracks[start:child_end]
        if name == VIDEO:
            kept = element(VIDEO, _video(tracks[child_body:child_end], tags))
        entry += kept
    return element(TRACK_ENTRY, entry)


def _video(video: bytes, tags: VideoTags) -> bytes:
    replaced = {COLOUR, STEREO_MODE, DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT}
    result, values, colour = b"", {}, b""
    for name, start, body, end in elements(video, 0, len(video)):
        if name in (PIXEL_WIDTH, PIXEL_HEIGHT):
            values[name] = int.from_bytes(video[body:end], "big")
        if name == COLOUR:
            colour = video[body:end]
        if name not in replaced:
            result += video[start:end]
    mode = stereo_mode(tags.stereo)
    size = values[PIXEL_WIDTH], values[PIXEL_HEIGHT]
    result += display_size(*size, tags.aspect, mode, is_webm=False)
    result += unsigned(STEREO_MODE, mode) if mode else b""
    return result + element(COLOUR, _colour(colour, tags))


def _colour(colour: bytes, tags: VideoTags) -> bytes:
    replaced = {PRIMARIES, TRANSFER, MAX_CLL, MAX_FALL, MASTERING}
    result = b""
    for name, start, _, end in elements(colour, 0, len(colour)):
        if name not in replaced:
            result += colour[start:end]
    result += unsigned(PRIMARIES, tags.primaries) + unsigned(TRANSFER, tags.transfer)
    hdr = tags.hdr
    if hdr is None:
        return result
    if hdr.max_cll is not None:
        result += unsigned(MAX_CLL, hdr.max_cll) + unsigned(MAX_FALL, hdr.max_fall or 0)
    display = b""
    points = (hdr.red, hdr.green, hdr.blue, hdr.white)
    for names, point in zip(CHROMATICITIES, points, strict=True):
        if point is not None:
            display += b"".join(real(*pair) for pair in zip(names, point, strict=True))
    if hdr.max_luminance is not None and hdr.min_luminance is not None:
        display += real(MAX_LUMINANCE, hdr.max_luminance)
        display += real(MIN_LUMINANCE, hdr.min_luminance)
    return result + (element(MASTERING, display) if display else b"")


def stereo_mode(name: str | None) -> int:
    """Matroska's number of a packing of two views by FFmpeg's name of it; 0 for one view.

    Args:
        name: for example "side by side"; "(inverted)" after it where the right eye is first.
    """
    text = (name or "").lower()
    for packing, mode in STEREO_MODES.items():
        if text.startswith(packing):
            return INVERTED_MODES[mode] if "invert" in text else mode
    return 0
