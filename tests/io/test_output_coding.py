"""Matrix and range of an output are those that a player takes it to have."""

import pytest

from lift.io.color import BT601, BT709, UNSPECIFIED, FrameLayout, YuvCoding
from lift.io.output_coding import output_coding

FULL_709 = YuvCoding(BT709, full_range=True)


def coding(codec, container, of=FULL_709, *, tags=BT709, height=480, pix_fmt="yuv420p"):
    layout, size = FrameLayout(coding=of), (2 * height, height)
    return output_coding(layout, codec, container, pix_fmt, size, transfer=tags, primaries=tags)


@pytest.mark.parametrize("container", ("mp4", "mov", "avi", "matroska", "mpegts"))
def test_codecs_that_state_it_keep_it(container):
    for codec in ("h264", "hevc", "vp9", "av1", "dnxhd"):
        assert coding(codec, container) == FULL_709


@pytest.mark.parametrize("container", ("mov", "matroska"))
def test_some_codecs_are_limited_by_definition(container):
    for codec in ("prores", "mpeg2video"):
        assert coding(codec, container) == YuvCoding(BT709)


def test_else_the_container_states_it():
    assert coding("ffv1", "matroska") == FULL_709
    assert coding("ffv1", "mp4") == FULL_709
    assert coding("ffv1", "mp4", tags=UNSPECIFIED) == YuvCoding(BT601)
    assert coding("v210", "mov") == YuvCoding(BT709)
    assert coding("mpeg4", "avi") == YuvCoding(BT601)
    assert coding("mpeg4", "avi", height=720) == YuvCoding(BT709)
    assert coding("mpeg4", "avi", YuvCoding(5)) == YuvCoding(5)  # the same as what is assumed
    assert coding("ffv1", "avi", pix_fmt="gray") == FULL_709
