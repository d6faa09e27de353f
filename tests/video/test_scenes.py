import subprocess
import sys

import numpy as np
import pytest

from lift.video.scenes import LOOK_AHEAD, CutDetector, number_shots
from tests.support.video_samples import moving_frames

pytest.importorskip("scenedetect")

RED, BLUE = (200, 60, 50), (40, 70, 160)


def cuts_of(frames):
    numbers = [shot for _, shot in number_shots(frames, lambda frame: frame, CutDetector())]
    assert len(numbers) == len(frames)
    return [k for k in range(1, len(numbers)) if numbers[k] != numbers[k - 1]]


@pytest.mark.parametrize("first", (1, 2, 3, 10, 17, 18, 19))
def test_a_cut_is_found_wherever_it_lies(first):
    assert cuts_of(moving_frames(first, tint=RED) + moving_frames(20 - first, tint=BLUE)) == [first]


def test_several_cuts_are_found():
    a, b, c = (
        moving_frames(8, tint=RED),
        moving_frames(5, tint=BLUE),
        moving_frames(8, tint=(90, 200, 90)),
    )
    assert cuts_of(a + b + c) == [8, 13]


def test_motion_is_no_cut():
    rng = np.random.default_rng(0)
    wide = np.kron(rng.integers(0, 255, (12, 200, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    assert (
        cuts_of([wide[:, 12 * k : 12 * k + 160] for k in range(30)]) == []
    )  # a pan of 12 pixels a frame


def test_a_fade_from_black_is_no_cut():
    rng = np.random.default_rng(0)
    picture = np.stack([frame.astype(float) for frame in moving_frames(20)])
    faded = (
        picture * np.linspace(0, 0.2, 20)[:, None, None, None] + rng.random(picture.shape)
    ).astype(np.uint8)
    assert cuts_of(list(faded)) == []


def test_still_and_doubled_frames_are_no_cuts():
    assert cuts_of([moving_frames(1)[0]] * 10) == []
    assert cuts_of([frame for frame in moving_frames(10) for _ in range(2)]) == []


@pytest.mark.parametrize("count", (0, 1, 2))
def test_what_has_nothing_to_compare_with_is_one_shot(count):
    assert cuts_of((moving_frames(1, tint=RED) + moving_frames(1, tint=BLUE))[:count]) == []


def test_frames_come_out_a_constant_distance_behind():
    read = 0

    def counted():
        nonlocal read
        for frame in moving_frames(30):
            read += 1
            yield frame

    for k, _ in enumerate(number_shots(counted(), lambda frame: frame, CutDetector())):
        assert read <= k + 1 + LOOK_AHEAD


def test_without_a_detector_all_is_one_shot():
    frames = moving_frames(5, tint=RED) + moving_frames(5, tint=BLUE)
    assert {shot for _, shot in number_shots(frames, lambda frame: frame, None)} == {0}


def test_without_pyscenedetect_the_remedy_is_told():
    program = """
import sys
sys.modules["scenedetect"] = None
from lift.errors import LiftError
from lift.video.scenes import CutDetector
try:
    CutDetector()
except LiftError as error:
    text = str(error)
    assert "pip install scenedetect" in text and "--no_scenes" in text and "\\n" not in text
else:
    raise AssertionError("no error")
"""
    subprocess.run([sys.executable, "-c", program], check=True)
