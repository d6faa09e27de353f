"""Static HDR metadata: the display on which a video was mastered, and how bright its frames are.

SMPTE ST 2086 (mastering display) and CTA-861.3 (content light level). FFmpeg attaches both to the
first frames, from the bitstream or from the container; the same for stereoscopic packing.
"""

import struct
from dataclasses import dataclass
from fractions import Fraction

Chromaticity = tuple[Fraction, Fraction]  # CIE 1931 x, y
STEREO_TYPES = (
    "2D",
    "side by side",
    "top and bottom",
    "frame alternate",
    "checkerboard",
    "side by side (quincunx subsampling)",
    "interleaved lines",
    "interleaved columns",
    "unspecified",
)
DYNAMIC = {  # side data that no encoder here writes
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DOVI_METADATA": "Dolby Vision",
    "DYNAMIC_HDR_VIVID": "HDR Vivid",
}
INVERTED = 1  # the right eye comes first


@dataclass(frozen=True)
class HdrMetadata:
    """What a source states; None where it states nothing.

    Attributes:
        red, green, blue, white: chromaticities of the mastering display.
        min_luminance, max_luminance: of the mastering display, cd/m^2.
        max_cll, max_fall: maximum content and frame-average light level, cd/m^2.
    """

    red: Chromaticity | None = None
    green: Chromaticity | None = None
    blue: Chromaticity | None = None
    white: Chromaticity | None = None
    min_luminance: Fraction | None = None
    max_luminance: Fraction | None = None
    max_cll: int | None = None
    max_fall: int | None = None


def hdr_of(frame) -> HdrMetadata | None:
    """The HDR metadata of a decoded frame (av.VideoFrame), or None."""
    found = side_data(frame)
    values = {}
    if data := found.get("MASTERING_DISPLAY_METADATA"):
        # AVMasteringDisplayMetadata: ten AVRational, then two flags
        *numbers, has_primaries, has_luminance = struct.unpack("=22i", data[:88])
        ratios = [
            Fraction(*pair) if pair[1] else Fraction(0)
            for pair in zip(numbers[::2], numbers[1::2], strict=True)
        ]
        if has_primaries:
            pairs = list(zip(ratios[:8:2], ratios[1:8:2], strict=True))
            values.update(zip(("red", "green", "blue", "white"), pairs, strict=True))
        if has_luminance:
            values.update(min_luminance=ratios[8], max_luminance=ratios[9])
    if data := found.get("CONTENT_LIGHT_LEVEL"):
        max_cll, max_fall = struct.unpack("=2I", data[:8])
        if max_cll or max_fall:
            values.update(max_cll=max_cll, max_fall=max_fall)
    return HdrMetadata(**values) if values else None


def dynamic_hdr_note(frame) -> str | None:
    """A sentence on the dynamic HDR metadata of a decoded frame, or None."""
    names = sorted({DYNAMIC[name] for name in side_data(frame) if name in DYNAMIC})
    if not names:
        return None
    return f"the dynamic metadata of {' and '.join(names)} is left out"


def stereo_of(frame) -> str | None:
    """FFmpeg's name of how a frame packs two views ("side by side"), or None.

    " (inverted)" is appended where the right eye comes first.
    """
    data = side_data(frame).get("STEREO3D")
    if data is None:
        return None
    kind, flags = struct.unpack("=Ii", data[:8])
    if not 0 < kind < len(STEREO_TYPES):
        return None
    return STEREO_TYPES[kind] + (" (inverted)" if flags & INVERTED else "")


def side_data(frame) -> dict[str, bytes]:
    """All side data of a frame by the name of its type; types that PyAV does not name are left out.

    The one before last of a type that is there twice is lost, as in PyAV.
    """
    found = {}
    for data in frame.side_data:
        try:
            found[data.type.name] = bytes(data)
        except ValueError:  # newer than this PyAV
            continue
    return found
