"""The targets of an ablation: evenly spaced, as many as a clip has, and their control."""

from dataclasses import replace

import numpy as np
import pytest

from lift.ablation.clips import ALL
from lift.ablation.scoring_set import ScoringSet, Source
from lift.errors import LiftError
from lift.evaluation.protocols import real16
from tests.support.video_samples import moving_frames, write_folder


@pytest.fixture
def source(tmp_path) -> Source:
    """Clips of 40, 9 and 4 frames."""
    for name, count, tint in (("a", 40, (60, 90, 120)), ("b", 9, (120, 90, 60)), ("c", 4, None)):
        frames = moving_frames(count, 32, 64, *([tint] if tint else []))
        write_folder(tmp_path / "clips" / name, frames)
    return Source(str(tmp_path / "clips"), ALL, "val", 20, str(tmp_path / "cache"))


def test_a_short_clip_has_fewer_targets_and_one_without_any_is_left_out(source):
    found = ScoringSet.open(source)
    assert found.targets["a"] == real16.choose_targets(40)
    assert found.targets["b"] == [2, 3, 4, 5, 6]
    assert found.left_out == ["c"] and len(found) == 25


@pytest.mark.parametrize("count", [1, 2, 7])
def test_fewer_targets_are_evenly_spaced_ones_of_all(source, count):
    found = ScoringSet.open(replace(source, targets=count))
    steps = np.diff(found.targets["a"])
    assert len(found.targets["a"]) == count and set(found.targets["a"]) <= set(range(40))
    assert not count > 2 or steps.max() - steps.min() <= 4
    assert len(found.targets["b"]) == min(count, 5)


def test_shuffled_context_is_another_clips_and_the_references_are_its_own(source):
    found = ScoringSet.open(source)
    a, b = found.clips
    target, shuffled = found.target(a, 20, 6), found.shuffled_target(a, 20, 6)
    own = [np.array_equal(*pair) for pair in zip(target.frames, shuffled.frames, strict=True)]
    assert own == [k in (target.left, target.left + 1) for k in range(6)]
    assert shuffled.times == target.times and np.array_equal(shuffled.truth, target.truth)
    theirs = [frame.tobytes() for frame in found.frames(b).read(list(range(9)))]
    assert all(
        frame.tobytes() in theirs
        for frame, is_own in zip(shuffled.frames, own, strict=True)
        if not is_own
    )


def test_the_control_of_a_target_does_not_depend_on_how_many_are_scored(source):
    few, many = ScoringSet.open(replace(source, targets=2)), ScoringSet.open(source)
    k = few.targets["a"][1]
    again = [found.shuffled_target(found.clips[0], k, 6).frames for found in (few, many)]
    assert np.array_equal(*again) and few.fingerprint == many.fingerprint


def test_no_clip_that_is_long_enough_is_one_sentence(source, tmp_path):
    write_folder(tmp_path / "short" / "c", moving_frames(4, 32, 64))
    with pytest.raises(LiftError, match="no clip of five consecutive frames"):
        ScoringSet.open(replace(source, root=str(tmp_path / "short")))
