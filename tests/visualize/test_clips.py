"""Targets of a clip and their input frames."""

import numpy as np
import pytest

from lift.errors import LiftError
from lift.evaluation.protocols.real16 import context_indices
from lift.visualize.clips import ClipSource, open_clip, reduced_size
from tests.support.video_samples import moving_frames, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two shots of twelve frames."""
    frames = moving_frames(12, 48, 64) + moving_frames(12, 48, 64, (20, 200, 230))
    return write_folder(tmp_path_factory.mktemp("clip") / "two shots", frames, first=0), frames


def test_frames_are_counted_and_cuts_found(folder):
    clip = open_clip(folder[0])
    assert (clip.count, clip.size, clip.cuts) == (24, (48, 64), (12,))


def test_windows_hold_the_frames_of_their_protocol(folder):
    clip, frames = open_clip(folder[0]), folder[1]
    read = list(clip.read_targets([14, 3, 10], context_frames=5))
    assert [target.number for target in read] == [3, 10, 14]
    for target in read:
        indices, times, left = context_indices(target.number, 24, (12,), 5)
        assert (list(target.indices), list(target.times), target.left) == (indices, times, left)
        assert (target.frames == np.stack([frames[i] for i in indices])).all()
        assert (target.truth == frames[target.number]).all()
        assert {i < 12 for i in indices} == {target.number < 12}  # within the shot


def test_only_the_frames_of_a_window_are_read_and_reduced(folder, monkeypatch):
    clip, alive = open_clip(folder[0]), []
    reduced = []
    monkeypatch.setattr(
        "lift.visualize.clips.reduce_frame",
        lambda frame, size: reduced.append(frame) or frame,
    )
    for target in clip.read_targets([5, 20], context_frames=3):
        alive.append((target.number, len(reduced)))
    assert alive == [(5, 4), (20, 8)]  # frames 2, 4, 5, 6, then 17, 19, 20, 21


def test_targets_are_spread_and_have_neighbours_in_their_shot(folder):
    clip = open_clip(folder[0])
    targets = clip.spread_targets(4)
    assert len(targets) == 4 and all(clip.is_target(k) for k in targets)
    assert clip.spread_targets(100) == [k for k in range(1, 23) if k not in (11, 12)]


@pytest.mark.parametrize(
    ("k", "cause"),
    [(0, "no neighbour"), (23, "no neighbour"), (24, "frames 0 to 23"), (11, "cut"), (12, "cut")],
)
def test_a_frame_that_cannot_be_a_target_is_refused(folder, k, cause):
    with pytest.raises(LiftError, match=cause):
        open_clip(folder[0]).check_target(k)


def test_a_point_outside_is_refused():
    clip = ClipSource("clip.mp4", 9, (100, 200), (50, 100), ())
    clip.check_point((199, 99))
    with pytest.raises(LiftError, match="X is 0 to 199 and Y 0 to 99"):
        clip.check_point((200, 5))


def test_two_frames_hold_no_truth(tmp_path):
    write_folder(tmp_path / "short", moving_frames(2))
    with pytest.raises(LiftError, match="has 2 frames"):
        open_clip(tmp_path / "short")


def test_frames_without_a_window_are_refused(tmp_path):
    write_folder(tmp_path / "small", moving_frames(5, 8, 40))
    with pytest.raises(LiftError, match="need 16 pixels"):
        open_clip(tmp_path / "small")


def test_only_shots_of_two_frames_leave_no_target():
    clip = ClipSource("clip.mp4", 4, (32, 32), (32, 32), (2,))
    with pytest.raises(LiftError, match="no frame has a neighbour"):
        clip.spread_targets(2)


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((1080, 1920), 256, (256, 455)),
        ((200, 100), 256, (200, 100)),
        ((1920, 1080), 0, (1920, 1080)),
    ],
)
def test_frames_are_reduced_and_never_enlarged(size, short_side, expected):
    assert reduced_size(size, short_side) == expected
