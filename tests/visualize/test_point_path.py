"""The path of a point is that of the model's flows."""

import numpy as np
import pytest
import torch

from lift.visualize.point_path import PointPath, point_path
from lift.visualize.recorder import record
from tests.support.models import random_clip


@pytest.fixture
def curve(awake_model):
    """Of one target of 32 x 48 pixels between eight random frames."""
    clip = random_clip(frames=8, left=3, size=(32, 48), batch=1)
    with torch.inference_mode(), record(awake_model) as recorded:
        awake_model(clip, torch.tensor([0.5]))
    return recorded.curve


@pytest.mark.parametrize("point", ((0, 0), (21, 14), (47, 31)))
def test_the_curve_ends_at_the_references_where_the_flows_do(curve, point):
    path = point_path(curve, *point)
    row, column = point[1] // 4, point[0] // 4
    for time, flow in ((0.0, curve.curved.flow_t0), (1.0, curve.curved.flow_t1)):
        expected = np.array(point) + 4 * flow[0, :, row, column].numpy()
        assert path.curved([time])[0] == pytest.approx(expected, abs=1e-3)
    for time, flow in ((0.0, curve.straight.flow_t0), (1.0, curve.straight.flow_t1)):
        expected = np.array(point) + 4 * flow[0, :, row, column].numpy()
        assert path.straight([time])[0] == pytest.approx(expected, abs=1e-4)


def test_it_spans_the_frames_whose_motion_is_known(curve):
    path = point_path(curve, 10, 10)
    assert (path.first, path.last) == (-3, 4) and len(path.confidence) == 6


def _path(terms) -> PointPath:
    zero = np.zeros(2)
    return PointPath((5, 5), 0.5, -1, 2, np.array([4.0, 0]), np.array([3.0, 5]), terms, zero, ())


def test_constant_acceleration_is_a_parabola_through_the_point():
    half = np.array([0.0, 1.5])  # the divided difference of order 2 is half of the acceleration
    path = _path(((-1.0, 2.0, half, half),))
    s = np.array([-1.0, 0.0, 0.5, 1.0, 2.0])
    assert path.straight(s)[:, 1] == pytest.approx(5)
    assert path.curved(s)[:, 0] == pytest.approx(3 + 4 * s)
    assert path.curved(s)[:, 1] == pytest.approx(5 + 1.5 * (s * (s - 1) - 0.5 * (0.5 - 1)))


def test_one_side_stands_for_both_where_the_other_is_missing():
    half = np.array([0.0, 1.5])
    s = np.linspace(-1, 2, 7)
    both = _path(((-1.0, 2.0, half, half),)).curved(s)
    assert _path(((-1.0, 2.0, half, None),)).curved(s) == pytest.approx(both)
    assert _path(((-1.0, 2.0, None, half),)).curved(s) == pytest.approx(both)


def test_a_cubic_through_four_points_is_met():
    def cubic(s):
        return np.stack((0.7 * s**3 - 1.1 * s**2 + 2 * s, 0.2 * s**3 + s**2 - s), -1)

    times = np.array([-1.0, 0.0, 1.0, 2.0])
    left, middle, right = (np.diff(cubic(times), axis=0)[i] for i in range(3))
    terms = ((-1.0, 2.0, (middle - left) / 2, (right - middle) / 2),)
    path = PointPath((0, 0), 0.5, -1, 2, middle, cubic(times)[1], terms, np.zeros(2), ())
    moved_by = path.curved([0.0])[0] - cubic(times)[1]
    s = np.linspace(-1, 2, 9)
    assert path.curved(s) == pytest.approx(cubic(s) + moved_by)
