"""How frames are coded as YUV: matrix, range, depth and chroma.

The matrix is the tagged one. An untagged frame has BT.709 from 720 lines on, else BT.601, which is
what players assume. Halved chroma is repeated on the way to RGB (`lift.io.to_rgb`) and averaged on
the way back (`lift.io.to_yuv`), so the two are inverse to each other but for rounding and for
colours outside of RGB. Frames that are written again unchanged need not pass through RGB: see
`lift.io.planes`.
"""

from dataclasses import dataclass, field

BT709, BT601, YCGCO, BT2020 = 1, 6, 8, 9  # numbers of ISO/IEC 23091-2
UNSPECIFIED = 2
SWSCALE_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # to swscale's own numbers
LUMA_WEIGHTS = {  # of red and blue, by ISO/IEC 23091-2
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
HD_LINES = 720  # untagged frames are BT.709 from here on
LIMITED, FULL = 1, 2
GRAY = ("gray", "ya8", "ya16")  # full range where nothing is stated, as everywhere in FFmpeg


@dataclass(frozen=True)
class YuvCoding:
    """How RGB is coded as YUV.

    Attributes:
        matrix: matrix coefficients by their number in ISO/IEC 23091-2.
        full_range: 0 to 255 instead of 16 to 235.
        states_matrix, states_range: whether a tag says so; an untagged source stays untagged, so
            that players assume the same of it as before.
    """

    matrix: int = BT709
    full_range: bool = False
    states_matrix: bool = field(default=True, compare=False)
    states_range: bool = field(default=True, compare=False)

    @property
    def swscale_matrix(self) -> int:
        return SWSCALE_MATRICES[self.matrix]


@dataclass(frozen=True)
class FrameLayout:
    """What the frames of a source look like, upright.

    Attributes:
        pix_fmt: FFmpeg's name of the planar YUV, grey or RGB format that holds the planes without
            alpha and without loss: yuv422p10le, gray, gbrp12le. Full range is not part of it
            (yuv420p, never yuvj420p): see `coding`.
        bits: of one sample, 8 to 16 (32 for floating point).
        chroma: "420", "422", "440", "444", "411", "410", "gray" or "rgb".
        has_alpha: frames have an alpha channel.
        coding: matrix and range of the planes; the default for RGB.
    """

    pix_fmt: str = "yuv420p"
    bits: int = 8
    chroma: str = "420"
    has_alpha: bool = False
    coding: YuvCoding = YuvCoding()

    @property
    def is_rgb(self) -> bool:
        """Samples are red, green and blue; there are no planes of YUV."""
        return self.chroma == "rgb"


def coding_of(frame) -> YuvCoding:
    """How a decoded frame (av.VideoFrame) is coded; the one rule for untagged frames."""
    tagged = int(frame.colorspace)
    untagged = BT709 if frame.height >= HD_LINES else BT601
    known = tagged in SWSCALE_MATRICES or tagged == YCGCO
    name, stated = frame.format.name, int(frame.color_range)
    full = stated == FULL or name.startswith("yuvj")
    if stated not in (LIMITED, FULL) and name.startswith(GRAY):
        full = True
    states_range = full or stated in (LIMITED, FULL)
    return YuvCoding(tagged if known else untagged, full, known, states_range)
