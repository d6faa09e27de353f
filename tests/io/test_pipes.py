"""Frames through pipes: which form holds them, and readers that end."""

import io
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from lift.errors import LiftError
from lift.io.color import FrameLayout
from lift.io.decode import open_frames
from lift.io.decoded_frame import DecodedFrame
from lift.io.pipes import NUT, Y4M, PipeOutput
from tests.support.raw_frames import planes_of, random_frame, write_frames

av = pytest.importorskip("av")
pytestmark = pytest.mark.videos

RATE, TICK = Fraction(25), Fraction(1, 1000)
SIZE = 32, 16
YUV, RGB = FrameLayout(), FrameLayout("gbrp", chroma="rgb")
HELD = (  # format of the frames, its bits, and the form that holds it
    ("yuv420p", 8, Y4M),
    ("yuv422p", 8, Y4M),
    ("yuv420p10le", 10, Y4M),
    ("yuv444p12le", 12, Y4M),
    ("gray", 8, Y4M),
    ("yuva420p", 8, NUT),
    ("yuva444p10le", 10, NUT),
    ("yuv422p10le", 10, NUT),
)


def through_a_pipe(frames, times=None, form=None, layout=RGB, source=None, **options):
    """The container that the reader of the pipe sees, and its frames."""
    stream = io.BytesIO()
    times = [k / RATE for k in range(len(frames))] if times is None else times
    with PipeOutput(form, SIZE, RATE, TICK, layout, source, stream=stream, **options) as output:
        for frame, time in zip(frames, times, strict=True):
            output.write(frame, time)
    stream.seek(0)
    with av.open(stream) as container:
        return container.format.name, list(container.decode(video=0))


@pytest.mark.parametrize("pix_fmt, bits, form", HELD, ids=lambda value: str(value))
def test_frames_come_through_as_they_are(tmp_path, pix_fmt, bits, form):
    frames = [random_frame(pix_fmt, bits, *SIZE, seed=k) for k in range(3)]
    path = write_frames(tmp_path / "in.mkv", frames)
    source = open_frames(path)
    decoded = [frame for frame, _ in source.decoded()]
    asked = form if pix_fmt == "yuv422p10le" else None
    name, found = through_a_pipe(decoded, form=asked, layout=source.layout, source=source)
    assert name == ("nut" if form == NUT else "yuv4mpegpipe")
    for frame, original in zip(found, frames, strict=True):
        assert frame.format.name == pix_fmt
        for a, b in zip(planes_of(frame, bits), planes_of(original, bits), strict=True):
            assert np.array_equal(a, b)


def test_rgb_is_lossless_through_nut():
    frames = list(np.random.default_rng(0).integers(0, 255, (3, 16, 32, 3), np.uint8))
    name, found = through_a_pipe(frames)
    assert name == "nut"
    for frame, original in zip(found, frames, strict=True):
        assert np.array_equal(frame.to_ndarray(format="rgb24"), original)


def test_nut_has_exact_times_and_y4m_the_rate():
    frames = [np.zeros((16, 32, 3), np.uint8)] * 4
    times = [Fraction(k, 1000) for k in (0, 40, 45, 200)]
    _, found = through_a_pipe(frames, times, NUT)
    assert [frame.pts * frame.time_base for frame in found] == times
    _, found = through_a_pipe(frames, times, Y4M)
    assert [frame.pts * frame.time_base for frame in found] == [k / RATE for k in range(4)]


@pytest.mark.parametrize(
    "layout", (RGB, replace(YUV, has_alpha=True), FrameLayout("yuv440p", chroma="440"))
)
def test_y4m_that_is_asked_for_holds_the_nearest_format(layout):
    frames = [DecodedFrame(np.full((16, 32, 3), 90, np.uint8))] * 2
    name, found = through_a_pipe(frames, form=Y4M, layout=layout)
    assert name == "yuv4mpegpipe" and found[0].format.name == "yuv444p"
    assert np.abs(found[0].to_ndarray(format="rgb24").astype(int) - 90).max() <= 1


def test_nut_may_be_compressed():
    frames = [np.full((16, 32, 3), 90, np.uint8)] * 3
    name, found = through_a_pipe(frames, layout=YUV, codec="h264", crf=10, preset="ultrafast")
    assert name == "nut" and len(found) == 3


@pytest.mark.parametrize(
    "form, options, message",
    (
        ("png", {}, "--format png: a pipe holds y4m or nut"),
        (Y4M, {"codec": "h264"}, "--format nut"),
        (None, {"crf": 10}, "add --codec"),
        (None, {"preset": "slow"}, "add --codec"),
        (Y4M, {"pix_fmt": "bgr0"}, "y4m does not hold it"),
        (Y4M, {"pix_fmt": "yuva420p"}, "y4m does not hold it"),
    ),
)
def test_what_a_pipe_does_not_hold_is_refused(form, options, message):
    with pytest.raises(LiftError, match=message):
        PipeOutput(form, SIZE, RATE, TICK, YUV, stream=io.BytesIO(), **options)


@pytest.mark.parametrize("form", (Y4M, NUT))
@pytest.mark.parametrize("after", (0, 3000))
def test_a_reader_that_ends_is_one_sentence(form, after):
    class Ending(io.BytesIO):
        def write(self, data):
            if self.tell() + len(data) > after:
                raise BrokenPipeError(32, "Broken pipe")
            return super().write(data)

    frames = list(np.random.default_rng(0).integers(0, 255, (6, 16, 32, 3), np.uint8))
    with (
        pytest.raises(LiftError, match="the program that reads the pipe has ended"),
        PipeOutput(form, SIZE, RATE, TICK, RGB, stream=Ending()) as output,
    ):
        for k, frame in enumerate(frames):
            output.write(frame, k / RATE)


@pytest.mark.parametrize("form, late, uneven", ((Y4M, 0, False), (Y4M, 2, True), (NUT, 2, False)))
def test_times_that_y4m_cannot_state_are_known(form, late, uneven):
    frame = np.zeros((16, 32, 3), np.uint8)
    with PipeOutput(form, SIZE, RATE, TICK, RGB, stream=io.BytesIO()) as output:
        for k in range(6):
            output.write(frame, 1 + (k + late * (k > 3)) / RATE)
    assert output.is_uneven == uneven
