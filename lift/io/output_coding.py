"""Matrix and range of an output: the source's, where a player can tell them from the output."""

from dataclasses import replace

from lift.io.color import (
    BT601,
    BT709,
    BT2020,
    HD_LINES,
    LUMA_WEIGHTS,
    UNSPECIFIED,
    FrameLayout,
    YuvCoding,
)
from lift.io.to_yuv import pixel_format

BT601_PAL = 5  # the same coefficients as BT.601
STATES_CODING = frozenset("h264 hevc av1 vp9 vvc dnxhd".split())
LIMITED_ONLY = frozenset("mpeg1video mpeg2video prores magicyuv".split())


def output_coding(
    layout: FrameLayout,
    codec: str,
    container: str,
    pix_fmt: str,
    size: tuple[int, int] | None,
    *,
    transfer: int,
    primaries: int,
) -> YuvCoding:
    """The coding of an output, nearest to the source's.

    Some codecs state matrix and range, some are limited by definition, and for the rest the
    container does: MP4 and MOV only together with primaries and transfer, MOV never the range.

    Args:
        layout: of the source's frames.
        codec, container, pix_fmt: of the output, FFmpeg's names.
        size: width, height; players assume a matrix by the height.
        transfer, primaries: colour tags of the source (ISO/IEC 23091-2).
    """
    if codec in ("mjpeg", "vp8"):  # these store no matrix and range: it is fixed
        return YuvCoding(BT601_PAL, full_range=codec == "mjpeg")
    if layout.is_rgb:
        return YuvCoding(BT2020 if primaries == BT2020 else BT709)
    coding, known = layout.coding, pixel_format(pix_fmt)
    if known is None or known.is_rgb:  # a palette or RGB, which need none
        return coding
    if codec in STATES_CODING or container in ("matroska", "webm", "nut"):
        return replace(coding, full_range=False) if codec in LIMITED_ONLY else coding
    if known.is_gray:
        return coding
    limited = replace(coding, full_range=False)
    if codec in LIMITED_ONLY:
        return limited
    if coding.states_matrix and {transfer, primaries}.isdisjoint((0, UNSPECIFIED)):
        if container in ("mp4", "mov"):
            return coding if container == "mp4" else limited
    assumed = BT709 if size is not None and size[1] >= HD_LINES else BT601
    if size is None or LUMA_WEIGHTS.get(coding.matrix) == LUMA_WEIGHTS[assumed]:
        return limited
    return replace(limited, matrix=assumed)
