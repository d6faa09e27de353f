"""The baselines do what their names say."""

import sys

import numpy as np
import pytest

from lift.errors import LiftError
from lift.evaluation import baselines
from lift.evaluation.metrics import psnr


def _texture(shift=0.0, height=64, width=96):
    """A smooth texture moved right by `shift` pixels, (H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    x = x - shift
    layers = [np.sin(x / 5 + c) + np.cos(y / 4 - c) + np.sin((x + 2 * y) / 9) for c in range(3)]
    return np.round(127 + 40 * np.stack(layers, -1)).astype(np.uint8)


@pytest.mark.parametrize("method", baselines.METHODS.values(), ids=baselines.METHODS)
def test_a_still_scene_stays_as_it_is(method):
    frame = _texture()
    made = method(frame, frame.copy(), 0.5)
    assert made.dtype == np.uint8 and (made == frame).all()


def test_average_mixes_by_time_and_rounds_half_up():
    zero, ten = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 10, np.uint8)
    one = np.ones((2, 2, 3), np.uint8)
    assert (baselines.average(zero, ten, 0.25) == 3).all()  # 2.5
    assert (baselines.average(zero, one, 0.5) == 1).all()
    assert (
        baselines.average(np.full((2, 2, 3), 254, np.uint8), np.full((2, 2, 3), 255, np.uint8), 0.5)
        == 255
    ).all()


@pytest.mark.parametrize("name", baselines.METHODS)
def test_a_frame_is_its_unrounded_form_rounded(name):
    frames = _texture(0), _texture(3)
    unrounded = baselines.UNROUNDED_METHODS[name](*frames, 0.5)
    rounded = baselines.METHODS[name](*frames, 0.5)
    assert np.abs(unrounded - rounded.astype(np.float32)).max() <= 0.5
    if name != "copy":
        assert unrounded.dtype == np.float32 and (unrounded % 1 != 0).any()


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
def test_dis_follows_motion_to_any_time(t):
    frame0, frame1, truth = _texture(0), _texture(6), _texture(6 * t)
    inside = np.s_[8:-8, 8:-8]
    made = baselines.dis(frame0, frame1, t)
    assert (
        psnr(made[inside], truth[inside])
        > psnr(baselines.average(frame0, frame1, t)[inside], truth[inside]) + 8
    )


def test_dis_flow_points_from_the_first_frame_to_the_second():
    flow = baselines.dis_flow(_texture(0), _texture(4))
    assert np.median(flow[..., 0]) == pytest.approx(4, abs=0.3)
    assert np.median(flow[..., 1]) == pytest.approx(0, abs=0.3)


def _at(times):
    """Frames of the texture on a path that gathers speed."""
    return np.stack([_texture(4 * time + 2 * time**2) for time in times])


@pytest.mark.parametrize(
    "times, left",
    [
        ([-1.0, 0.0, 1.0, 2.0], 1),
        ([-1.0, 0.0, 1.0], 1),
        ([0.0, 1.0, 2.0], 0),
        ([-2.0, -0.5, 0.0, 1.0, 1.5], 2),
    ],
)
def test_dis_cubic_follows_a_bent_path(times, left):
    truth, inside, frames = _at([0.5])[0], np.s_[8:-8, 20:-20], _at(times)
    made, straight = (
        baselines.dis_cubic(frames, times, left),
        baselines.dis(*frames[left : left + 2], 0.5),
    )
    assert psnr(made[inside], truth[inside]) > psnr(straight[inside], truth[inside]) + 3


@pytest.mark.parametrize("method", baselines.PATH_METHODS.values(), ids=baselines.PATH_METHODS)
def test_without_a_third_frame_the_path_is_straight(method):
    frames = _at([0.0, 1.0])
    assert (method(frames, [0.0, 1.0], 0) == baselines.dis(*frames, 0.5)).all()


@pytest.mark.parametrize(
    "times, left",
    [
        ([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0], 2),
        ([-1.75, -0.75, 0.0, 1.0, 2.0], 2),
        ([-1.0, 0.0, 1.0, 2.0, 3.0], 1),
    ],
)
def test_dis_quintic_follows_a_path_that_a_cubic_does_not(times, left):
    """Back and forth, as a pendulum swings."""
    frames, (truth,) = (
        np.stack([_texture(12 * np.sin(1.1 * time)) for time in at]) for at in (times, [0.5])
    )
    inside = np.s_[8:-8, 20:-20]
    quintic, cubic = (
        psnr(method(frames, times, left)[inside], truth[inside])
        for method in (baselines.dis_quintic, baselines.dis_cubic)
    )
    assert quintic > cubic + 1


def test_dis_septic_follows_a_path_that_a_quintic_does_not():
    times = [float(time) for time in range(-3, 5)]
    frames, (truth,) = (
        np.stack([_texture(6 * np.sin(1.7 * time)) for time in at]) for at in (times, [0.5])
    )
    inside = np.s_[8:-8, 20:-20]
    septic, quintic = (
        psnr(method(frames, times, 3)[inside], truth[inside])
        for method in (baselines.dis_septic, baselines.dis_quintic)
    )
    assert septic > quintic + 0.5


def test_paths_of_higher_degree_are_those_of_four_frames_where_there_are_four():
    times = [-1.0, 0.0, 1.0, 2.0]
    frames = _at(times)
    cubic = baselines.dis_cubic(frames, times, 1)
    for method in (baselines.dis_quintic, baselines.dis_septic):
        assert (method(frames, times, 1) == cubic).all()


@pytest.mark.parametrize("t", [0.25, 0.75])
def test_paths_hold_at_any_time(t):
    times = [-1.0, 0.0, 1.0, 2.0]
    truth, inside, frames = _at([t])[0], np.s_[8:-8, 20:-20], _at(times)
    curved = baselines.path_unrounded("dis_cubic", frames, times, 1, t)
    straight = baselines.dis(*frames[1:3], t)
    curved = baselines.round_half_up(curved)
    assert psnr(curved[inside], truth[inside]) > psnr(straight[inside], truth[inside]) + 3


def test_the_nearest_reference_is_the_nearer_in_time():
    frames = _texture(0), _texture(4)
    assert baselines.nearest(*frames, 0.4) is frames[0]
    assert baselines.nearest(*frames, 0.5) is frames[1]


def test_without_opencv_dis_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(LiftError, match="pip install opencv-python-headless"):
        baselines.dis(_texture(), _texture(), 0.5)
