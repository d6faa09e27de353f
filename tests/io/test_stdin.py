"""A video from stdin, which cannot seek and is opened twice."""

import io
from fractions import Fraction

import numpy as np
import pytest

from lift.errors import LiftError
from lift.io import stdin
from lift.io.color import FrameLayout
from lift.io.decode import open_frames
from lift.io.pipes import NUT, Y4M, PipeOutput

pytest.importorskip("av")
pytestmark = pytest.mark.videos

RATE, TICK, SIZE = Fraction(25), Fraction(1, 1000), (32, 16)
RGB = FrameLayout("gbrp", chroma="rgb")


class Pipe(io.BytesIO):
    """Stdin that cannot seek."""

    buffer = property(lambda self: self)

    def seekable(self):
        return False

    def seek(self, *_):
        raise io.UnsupportedOperation


@pytest.fixture
def piped(monkeypatch):
    """Makes stdin a pipe with these bytes."""

    def pipe(content):
        monkeypatch.setattr(stdin, "_stdin", None)
        monkeypatch.setattr("sys.stdin", Pipe(content))

    return pipe


@pytest.mark.parametrize("form", (Y4M, NUT))
def test_a_video_is_read_from_a_pipe(piped, form):
    frames = [np.full((16, 32, 3), 20 * k, np.uint8) for k in range(8)]
    stream = io.BytesIO()
    with PipeOutput(form, SIZE, RATE, TICK, RGB, stream=stream) as output:
        for k, frame in enumerate(frames):
            output.write(frame, k / RATE)
    piped(stream.getvalue())
    source = open_frames(stdin.STDIN)
    assert (source.width, source.height, source.fps) == (*SIZE, RATE)
    found = list(source.decoded())
    assert [time for _, time in found] == [k / RATE for k in range(8)]
    for (frame, _), original in zip(found, frames, strict=True):
        assert np.abs(frame.rgb.astype(int) - original).max() <= 1


def test_what_is_read_twice_is_kept_only_until_then():
    content = bytes(range(200))
    replayed = stdin.Replayed(io.BytesIO(content))
    assert replayed.read(50) + replayed.read(30) == content[:80]
    replayed.replay()
    assert b"".join(iter(lambda: replayed.read(64), b"")) == content
    assert len(replayed._head) == 0


@pytest.mark.parametrize("content", (b"", b"no video at all" * 100))
def test_what_is_no_video_is_one_sentence(piped, content):
    piped(content)
    with pytest.raises(LiftError, match="-: not a readable video"):
        open_frames(stdin.STDIN)


def test_a_terminal_is_no_pipe(piped, monkeypatch):
    piped(b"")
    monkeypatch.setattr(Pipe, "isatty", lambda self: True)
    with pytest.raises(LiftError, match="nothing comes through a pipe"):
        open_frames(stdin.STDIN)
