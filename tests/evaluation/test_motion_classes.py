"""Synthetic motions belong to the classes that they are made for."""

import cv2
import numpy as np
import pytest

from lift.evaluation.motion_classes import CLASSES, MotionStatistics, classify, motion_statistics

pytestmark = [pytest.mark.native, pytest.mark.videos]

SIZE = 192


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    """A large picture with detail at several scales."""
    random, picture = np.random.default_rng(0), 0
    for cell in (3, 6, 12, 24):
        noise = random.random((3 * SIZE // cell, 3 * SIZE // cell, 3)).astype(np.float32)
        picture = picture + cv2.resize(noise, (3 * SIZE, 3 * SIZE), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture * 64, 0, 255).astype(np.uint8)


def view(texture: np.ndarray, x: int) -> np.ndarray:
    """What a camera sees that has moved x pixels."""
    return np.ascontiguousarray(texture[SIZE : 2 * SIZE, SIZE + x : 2 * SIZE + x])


def occluder(texture: np.ndarray, x: int) -> np.ndarray:
    """A wide bar of another texture at x, before a background at rest."""
    frame = view(texture, 0)
    frame[:, x : x + 60] = texture[:SIZE, :60]
    return frame


def of(frames: list[np.ndarray]) -> tuple[MotionStatistics, tuple[str, ...]]:
    before, frame0, frame1, after = frames
    motion = motion_statistics(frame0, frame1, before, after)
    return motion, classify(motion)


def test_a_still_scene_is_slow_and_nothing_else(texture):
    motion, classes = of([view(texture, 0)] * 4)
    assert classes == ("slow",) and motion.p95 < 0.5 and motion.acceleration == 0


def test_a_moving_camera_is_a_pan_with_linear_motion(texture):
    motion, classes = of([view(texture, x) for x in (0, 6, 12, 18)])
    assert classes == ("pan",) and motion.dominant == pytest.approx(6, abs=0.5)


def test_a_fast_camera_is_large_motion_too(texture):
    assert {"large", "pan"} <= set(of([view(texture, x) for x in (0, 18, 36, 54)])[1])


def test_what_a_moving_object_hides_is_occlusion(texture):
    motion, classes = of([occluder(texture, x) for x in (10, 40, 70, 100)])
    assert "occlusion" in classes and "pan" not in classes and motion.occluded > 0.1


def test_a_camera_that_speeds_up_is_non_linear(texture):
    motion, classes = of([view(texture, x) for x in (0, 2, 8, 18)])
    assert "non-linear" in classes and motion.acceleration == pytest.approx(4, abs=1)
    assert "non-linear" not in of([view(texture, x) for x in (2, 8, 14, 20)])[1]


def test_without_frames_beside_the_references_no_acceleration_is_known(texture):
    motion = motion_statistics(view(texture, 0), view(texture, 6))
    assert motion.acceleration == 0 and classify(motion) == ("pan",)


def test_classes_come_in_the_order_of_their_descriptions():
    everything = MotionStatistics(20, 10, 0.9, 0.5, 4, 4)
    assert classify(everything) == tuple(name for name in CLASSES if name != "slow")
