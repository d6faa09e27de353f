"""Middlebury: true frames in one folder, inputs in another."""

import pytest

from lift.errors import LiftError
from lift.evaluation.protocols import middlebury
from tests.support.published_folders import names, touch


def make(root, frames: dict[str, range]):
    for name, numbers in frames.items():
        touch(root / "other-data" / name / f"frame{k:02d}.png" for k in numbers)
        touch([root / "other-gt-interp" / name / "frame10i11.png"])
    return root


def test_further_frames_are_context_where_there_are_some(tmp_path):
    root = make(tmp_path, {"Venus": range(10, 12), "Beanbags": range(7, 15)})
    beanbags, venus = middlebury.find(root, 15)
    assert names(venus) == (["frame10.png", "frame11.png"], [0, 1], "frame10i11.png")
    assert beanbags.times == (-3, -2, -1, 0, 1, 2, 3, 4) and beanbags.left == 3
    assert middlebury.find(root, 2)[0].times == (0, 1)


def test_a_missing_input_is_named(tmp_path):
    root = make(tmp_path, {"Venus": range(10, 11)})
    with pytest.raises(LiftError, match="Venus/frame11.png does not exist"):
        middlebury.find(root, 2)


def test_a_root_without_true_frames_is_one_sentence(tmp_path):
    with pytest.raises(
        LiftError, match="not hold other-gt-interp; protocol middlebury reads other-"
    ):
        middlebury.find(tmp_path, 2)
