"""What the first image of a TIFF file is: samples, their depth, and whether one is alpha."""

import struct
from dataclasses import dataclass

BITS, PHOTOMETRIC, SAMPLES, SAMPLE_FORMAT = 258, 262, 277, 339  # numbers of tags
GREY, RGB = (0, 1), 2  # photometric interpretations
FLOAT = 3  # a sample format
SHORT, LONG = 3, 4  # types of values


@dataclass(frozen=True)
class TiffTags:
    """Attributes: bits of a sample; photometric interpretation; samples a pixel; sample format."""

    bits: int = 1
    photometric: int = RGB
    samples: int = 1
    sample_format: int = 1

    @property
    def has_alpha(self) -> bool:
        """Grey with two samples or RGB with four: whether the last is stated to be alpha or not."""
        grey = self.photometric in GREY and self.samples == 2
        return grey or (self.photometric == RGB and self.samples == 4)

    @property
    def is_float(self) -> bool:
        return self.sample_format == FLOAT


def tiff_tags(data: bytes) -> TiffTags | None:
    """The tags of a TIFF file; None for other files and for damaged ones."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return None
    found = {}
    try:
        start = struct.unpack_from(order + "I", data, 4)[0]
        for k in range(struct.unpack_from(order + "H", data, start)[0]):
            entry = start + 2 + 12 * k
            tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
            if kind not in (SHORT, LONG):
                continue
            size = 2 if kind == SHORT else 4
            at = entry + 8
            if size * count > 4:  # the values lie elsewhere
                at = struct.unpack_from(order + "I", data, at)[0]
            found[tag] = struct.unpack_from(order + ("H" if kind == SHORT else "I"), data, at)[0]
    except struct.error:
        return None
    return TiffTags(
        found.get(BITS, 1),
        found.get(PHOTOMETRIC, RGB),
        found.get(SAMPLES, 1),
        found.get(SAMPLE_FORMAT, 1),
    )
