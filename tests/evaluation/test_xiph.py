"""Xiph: even frames of eight clips, resized or cropped."""

import numpy as np
import pytest

from lift.errors import LiftError
from lift.evaluation.protocols import xiph
from tests.support.published_folders import names, touch


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("xiph")
    touch(root / f"{clip}-{k:03d}.png" for clip in xiph.CLIPS for k in range(1, 101))
    return root


def test_targets_are_the_even_frames_up_to_98(root):
    samples = xiph.find(root, 2)
    assert len(samples) == xiph.XIPH_2K.count == 392
    assert names(samples[0]) == (
        ["BoxingPractice-001.png", "BoxingPractice-003.png"],
        [0, 1],
        "BoxingPractice-002.png",
    )
    assert samples[48].name == "BoxingPractice/098" and samples[49].group == "Crosswalk"


def test_context_is_every_second_frame_of_the_clip(root):
    samples = xiph.find(root, 15)
    assert samples[0].times == tuple(range(0, 8)) and samples[0].left == 0
    inputs, times, _ = names(samples[24])  # frame 50
    assert times == list(range(-7, 8)) and inputs[7] == "BoxingPractice-049.png"
    assert names(samples[48])[0][-1] == "BoxingPractice-099.png"


def test_frames_are_resized_or_cropped_to_2k():
    frame = np.zeros((2160, 4096, 3), np.uint8)
    frame[540:1620, 1024:3072] = 200
    assert (xiph.XIPH_4K.prepare(frame) == 200).all()
    assert xiph.XIPH_4K.prepare(frame).shape == (1080, 2048, 3)
    resized = xiph.XIPH_2K.prepare(frame)
    assert (
        resized.shape == (1080, 2048, 3) and resized[0, 0, 0] == 0 and resized[540, 1024, 0] == 200
    )


@pytest.mark.parametrize("test_set", [xiph.XIPH_2K, xiph.XIPH_4K], ids=lambda each: each.name)
def test_frames_of_another_size_are_refused(test_set):
    with pytest.raises(LiftError, match="is 64x48 and protocol xiph_.k needs 4096x2160"):
        test_set.prepare(np.zeros((48, 64, 3), np.uint8))


def test_a_clip_that_is_not_complete_is_named(tmp_path):
    touch(tmp_path / f"BoxingPractice-{k:03d}.png" for k in range(1, 99))
    with pytest.raises(LiftError, match="BoxingPractice-099.png does not exist"):
        xiph.find(tmp_path, 2)
