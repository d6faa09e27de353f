"""X-TEST: seven frames between the first and the last of a clip of 33."""

import numpy as np
import pytest

from lift.errors import LiftError
from lift.evaluation.protocols import x4k1000fps
from tests.support.published_folders import names, touch


@pytest.mark.parametrize("above", ["test", "."])
def test_every_fourth_frame_lies_between_two(tmp_path, above):
    clips = ("Type1/TEST02_045_f0465", "Type1/TEST01_003_f0433", "Type3/TEST11_078_f4977")
    touch(tmp_path / above / clip / f"{k:04d}.png" for clip in clips for k in range(33))
    samples = x4k1000fps.find(tmp_path, 15)
    assert len(samples) == 21 and {sample.group for sample in samples} == {"Type1", "Type3"}
    assert samples[0].name == "Type1/TEST01_003_f0433/0004"
    assert names(samples[0]) == (["0000.png", "0032.png"], [0, 1], "0004.png")
    assert [sample.t for sample in samples[:7]] == [k / 8 for k in range(1, 8)]


def test_a_missing_frame_and_a_wrong_level_are_named(tmp_path):
    clip = tmp_path / "test/Type1/TEST01"
    touch(clip / f"{k:04d}.png" for k in range(32))
    with pytest.raises(LiftError, match="0032.png does not exist"):
        x4k1000fps.find(tmp_path, 2)
    with pytest.raises(LiftError, match=r"TEST01 does not hold .*protocol xtest reads test/Type1"):
        x4k1000fps.find(clip, 2)


def test_4k_is_native_and_2k_resized():
    frame = np.zeros((2160, 4096, 3), np.uint8)
    assert x4k1000fps.XTEST_4K.prepare(frame) is frame
    assert x4k1000fps.XTEST_2K.prepare(frame).shape == (1080, 2048, 3)
    for test_set in (x4k1000fps.XTEST_4K, x4k1000fps.XTEST_2K):
        assert test_set.count == 105
        with pytest.raises(LiftError, match="is 2048x1080 and protocol xtest_.k needs 4096x2160"):
            test_set.prepare(np.zeros((1080, 2048, 3), np.uint8))
