"""Rows of a table of runs, and the claims that a row makes on its output."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from tests.support import video_output as out
from tests.support.video_output import Run

MILLISECOND = 0.0011  # to which Matroska rounds times


@dataclass(frozen=True)
class Row:
    """One run and what must be true of it.

    Attributes:
        id: the row's number in the list of complaints, and what it is about.
        source, target: names of input and output.
        checks: each is called with the Run.
        code: exit code.
    """

    id: str
    source: str
    target: str
    checks: tuple[Callable[[Run], None], ...] = ()
    flags: tuple = ()
    code: int = 0

    def check(self, lift_file):
        run = lift_file(self.source, self.target, *self.flags)
        assert run.code == self.code, run.err or run.out
        for check in self.checks:
            check(run)


def table(*rows: Row):
    """Parametrise a test over rows."""
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.id)


# -- frames and times ------------------------------------------------------------------------------


def frames(count: int):
    """The output has so many frames."""

    def check(run):
        assert len(out.pictures(run.output)) == count

    return check


def doubled(run):
    """n frames became 2n - 1."""
    count = len(out.pictures(run.source))
    assert count > 0 and len(out.pictures(run.output)) == 2 * count - 1


def rising(run):
    """Times rise strictly."""
    found = out.times(run.output)
    assert all(a < b for a, b in zip(found, found[1:], strict=False)), found


def originals_at_their_times(run):
    """With a factor of two every other frame is an original, at its time after the first."""
    source, found = out.times(run.source), out.times(run.output)
    assert len(found) == 2 * len(source) - 1
    errors = [
        abs(float((a - source[0]) - (b - found[0])))
        for a, b in zip(source, found[::2], strict=True)
    ]
    assert max(errors) <= MILLISECOND, max(errors)
    rising(run)


def starts_at(seconds: float, tolerance: float = 0.045):
    """The picture begins there; sound may begin a frame of its codec earlier."""

    def check(run):
        assert float(out.start(run.output)) == pytest.approx(seconds, abs=tolerance)

    return check


def in_step(run):
    """Sound begins as long after the picture as in the source."""
    expected = float(out.sound_after_picture(run.source))
    assert float(out.sound_after_picture(run.output)) == pytest.approx(expected, abs=0.03)


def picture_ends_at(seconds: float, tolerance: float = 0.021):
    """The last frame stops being displayed then."""

    def check(run):
        assert float(out.picture_end(run.output)) == pytest.approx(seconds, abs=tolerance)

    return check


# -- sound and other streams -----------------------------------------------------------------------


def same_sound(run):
    """Every packet of every audio stream is unchanged; PCM may be cut into other packets."""
    source, target = (out.kinds(path).count("audio") for path in (run.source, run.output))
    assert source == target > 0
    for number in range(source):
        same = out.payload(run.source, "audio", number) == out.payload(run.output, "audio", number)
        assert same, out.streams(run.output)


def same_samples(run):
    """The sound is heard as before, whatever the container needed."""
    source, target = out.samples(run.source), out.samples(run.output)
    assert target.shape[1] == source.shape[1]
    assert abs(len(target) - len(source)) <= 2048, (len(source), len(target))
    level = [float(np.sqrt(np.mean(part[2000:] ** 2))) for part in (source, target)]
    assert level[0] > 0.01 and level[1] == pytest.approx(level[0], rel=0.15)


def noted(*words: str):
    """A note before the first frame has these words."""

    def check(run):
        assert run.noted_before_the_first_frame(*words), run.out

    return check


def noted_at_any_time(*words: str):
    """A note has these words."""

    def check(run):
        assert run.noted(*words), run.out

    return check


def silent(run):
    """There is nothing to note."""
    assert run.notes == []


def same_chapters(run):
    """Chapters at their times with their titles."""
    source, target = out.chapters(run.source), out.chapters(run.output)
    assert [c[2] for c in target] == [c[2] for c in source] and source
    for a, b in zip(source, target, strict=True):
        assert b[:2] == pytest.approx(a[:2], abs=0.03)


def says(*words: str):
    """The error names the cause."""

    def check(run):
        assert all(word in run.err for word in words), run.err

    return check


# -- pictures --------------------------------------------------------------------------------------


def same_originals(decibels: float = 40, turn: Callable = lambda picture: picture):
    """With a factor of two every other frame is the source's, upright by `turn`."""

    def check(run):
        source, target = out.pictures(run.source), out.pictures(run.output)
        assert len(target) == 2 * len(source) - 1
        for a, b in zip(source, target[::2], strict=True):
            a = turn(a)
            assert a.shape == b.shape
            assert out.psnr(a, b) >= decibels, out.psnr(a, b)

    return check


def same_tags(run):
    """Primaries, transfer, matrix and range of the source, on every frame."""
    expected = out.color_tags(out.decode(run.source)[0])
    assert {out.color_tags(frame) for frame in out.decode(run.output)} == {expected}


def same_pix_fmt(run):
    """Depth and chroma of the source."""
    source, target = (out.decode(path)[0].format.name for path in (run.source, run.output))
    assert target == source
