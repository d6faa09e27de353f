"""Where the chroma samples of 4:2:0 lie between those of luma; HDR discs have them at the top left.

PyAV does not reach FFmpeg's field. FFmpeg's own parser of headers logs what a stream states.
"""

import re
from contextlib import suppress

from lift.io.optional import require

NAMES = ("left", "center", "topleft", "top", "bottomleft", "bottom")  # in FFmpeg's order
AV1_NAMES = {1: "left", 2: "topleft"}
STATED = re.compile(r"chroma_sample_(loc_type_top_field|position)\s.*=\s*(\d+)")
CODECS = {"h264", "hevc", "av1"}
ENCODERS = {"libx264", "libx265", "libsvtav1"}  # which write it


def stated_location(stream) -> str | None:
    """FFmpeg's name of the location that the header of an av.VideoStream states, or None."""
    av = require("av", "reading a video")
    if stream.codec_context is None or stream.codec_context.codec.canonical_name not in CODECS:
        return None
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.logging.Capture() as lines, suppress(av.error.FFmpegError, ValueError):
            av.bitstream.BitStreamFilterContext("trace_headers", stream)
    finally:
        av.logging.set_level(level)
    for _, _, text in lines:
        if match := STATED.search(text):
            number = int(match[2])
            if match[1] == "position":
                return AV1_NAMES.get(number)
            return NAMES[number] if number < len(NAMES) else None
    return None


def location_option(encoder: str, chroma: str, location: str | None) -> dict[str, str]:
    """The option by which an encoder writes a location; none where it does not.

    Args:
        encoder: FFmpeg's name.
        chroma: subsampling of the output, "420".
        location: of `stated_location`.
    """
    if location is None or chroma != "420" or encoder not in ENCODERS:
        return {}
    return {"chroma_sample_location": location}
