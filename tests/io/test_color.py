"""Conversion between YUV and RGB rounds to nearest, in both directions, and is its own inverse."""

import numpy as np
import pytest

from lift.io.color import YuvCoding, coding_of
from lift.io.decoded_frame import DecodedFrame
from lift.io.to_rgb import RgbConverter
from lift.io.to_yuv import to_frame
from tests.support.exact_color import (
    frame_of_planes,
    patches,
    planes_of_rgb,
    rgb_of_planes,
    stored_planes,
)

av = pytest.importorskip("av")

CODINGS = [(matrix, full) for matrix in (1, 5, 6, 9) for full in (False, True)]


def planes_of(frame):
    rows = (np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[: p.height] for p in frame.planes)
    return [row[:, : p.width] for row, p in zip(rows, frame.planes, strict=True)]


@pytest.mark.parametrize("bits", (8, 10, 12))
@pytest.mark.parametrize("matrix, full_range", CODINGS)
def test_a_decoded_frame_is_the_nearest_rgb(matrix, full_range, bits):
    planes = stored_planes(patches(144, 256), matrix, full_range, bits)
    rgb = RgbConverter()(frame_of_planes(planes, matrix, full_range, bits))
    error = rgb - rgb_of_planes(planes, matrix, full_range, bits).clip(0, 255)
    assert abs(error.mean()) < 0.03 and np.abs(error).max() < 0.55


def test_odd_sides_repeat_chroma_like_even_ones():
    planes = stored_planes(patches(48, 64), 1, False)
    frame = av.VideoFrame(63, 47, "yuv420p")
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(target, np.uint8).reshape(-1, target.line_size)
        rows[: target.height, : target.width] = plane[: target.height, : target.width]
    frame.colorspace, frame.color_range = 1, 1
    wanted = rgb_of_planes(planes, 1, False)[:47, :63].clip(0, 255)
    assert np.abs(RgbConverter()(frame) - wanted).max() < 0.55


@pytest.mark.parametrize("matrix, full_range", CODINGS)
def test_an_encoded_frame_is_the_nearest_yuv(matrix, full_range):
    rgb = np.random.default_rng(0).integers(0, 256, (144, 256, 3), dtype=np.uint8)
    frame = to_frame(DecodedFrame(rgb), "yuv420p", YuvCoding(matrix, full_range))
    assert coding_of(frame).full_range == full_range
    for got, want in zip(planes_of(frame), planes_of_rgb(rgb, matrix, full_range), strict=True):
        assert abs((got - want).mean()) < 0.03 and np.abs(got - want).max() < 0.6


@pytest.mark.parametrize("matrix, full_range", CODINGS)
def test_rgb_and_back_changes_no_value_of_yuv(matrix, full_range):
    planes = stored_planes(patches(144, 256), matrix, full_range)
    frame = frame_of_planes(planes, matrix, full_range)
    again = to_frame(DecodedFrame(RgbConverter()(frame)), "yuv420p", coding_of(frame))
    for got, want in zip(planes_of(again), planes, strict=True):
        assert np.array_equal(got, want)


def test_an_untagged_frame_is_bt709_from_720_lines_on():
    frames = {height: av.VideoFrame(64, height, "yuv420p") for height in (480, 576, 718, 720, 1080)}
    matrices = {height: coding_of(frame).matrix for height, frame in frames.items()}
    assert matrices == {480: 6, 576: 6, 718: 6, 720: 1, 1080: 1}


@pytest.mark.parametrize("pix_fmt, full_range", (("gray", True), ("ya8", True), ("yuv420p", False)))
def test_untagged_grey_is_of_full_range(pix_fmt, full_range):
    assert coding_of(av.VideoFrame(64, 48, pix_fmt)).full_range == full_range
