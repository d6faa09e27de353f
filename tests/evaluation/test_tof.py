"""tOF grows with the motion that a generated frame misses."""

import numpy as np
import pytest

from lift.evaluation.tof import tof
from tests.support.video_samples import moving_frames


def test_the_true_frame_scores_zero_and_a_still_one_its_missing_motion():
    frames = moving_frames(4, 64, 96)
    assert tof(frames[1], frames[1], frames[0]) == 0
    still, near = tof(frames[0], frames[3], frames[0]), tof(frames[2], frames[3], frames[0])
    assert still == pytest.approx(3, abs=0.7)  # the texture slides a pixel a frame
    assert near < still / 2


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        tof(*(np.zeros((32, width, 3), np.uint8) for width in (32, 32, 40)))
