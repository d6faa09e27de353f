"""Errors of the flow on scenes whose flow is known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lift.data.synthetic import SyntheticScene
from lift.evaluation.metrics import psnr
from lift.model.factory import create_lift_model
from lift.model.types import Prediction
from lift.release.limits import flow_error


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_lift_model("tiny").eval()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(flow_error, "SIZE", (64, 96))


def test_scenes_are_the_same_in_every_run_and_rows_cover_the_image(model):
    found, again = (flow_error.measure(model, 2) for _ in range(2))
    assert found == again
    for rows in (found["by_motion"], found["by_error"]):
        assert sum(row["share"] for row in rows) == pytest.approx(1)
        assert sum(row["share_of_squared_error"] for row in rows) == pytest.approx(1)
        assert any(row["error"] for row in rows)
    assert found["psnr"]["true_bilinear"] > found["psnr"]["dis"]  # an untrained LIFT only averages


class Shift(torch.nn.Module):
    """Predicts the true flow of scene 0 plus `shift` pixels of the frame in x, all visible."""

    def __init__(self, shift: float):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.tensor(shift))

    def forward(self, clip, t):
        truth = SyntheticScene(np.random.default_rng((flow_error.SEED, 0)), (64, 96)).flow(0.5)
        flow = torch.from_numpy(truth)[None]
        flow[:, ::2] += self.shift
        state = torch.cat((F.avg_pool2d(flow, 4) / 4, torch.full((1, 2, 16, 24), 9.0)), 1)
        return Prediction(clip.frames[:, clip.left], clip.frames[:, 0, :, ::4, ::4], state, None)


def test_errors_are_end_point_errors_in_pixels_of_the_frame():
    exact, shifted = (flow_error.measure_scene(Shift(shift), 0) for shift in (0.0, 1.5))
    assert exact.motion.shape == exact.valid.shape == exact.hidden.shape == (16, 24)
    assert exact.valid.mean() > 0.5 and not (exact.valid & exact.hidden).any()
    assert np.abs(exact.errors["lift"][exact.valid]).max() < 1e-4
    assert shifted.errors["lift"][exact.valid] == pytest.approx(1.5, abs=1e-4)
    assert (exact.errors["dis"] == shifted.errors["dis"]).all()
    assert exact.psnr["lift_flow"] > shifted.psnr["lift_flow"]


def test_true_flow_and_visibility_give_the_frame():
    scene = SyntheticScene(np.random.default_rng(3), (64, 96))
    frame0, frame1, truth = scene.render([0, 1, 0.5])
    flow = scene.flow(0.5)
    frame = flow_error.warped(frame0, frame1, flow, scene.visible(0.5, flow), 1)
    assert psnr(frame, truth) > psnr(frame0, truth) + 3
    assert psnr(frame, truth) > psnr(frame1, truth) + 3


def test_a_frame_that_is_hidden_has_no_weight():
    frame0, frame1 = np.full((8, 8, 3), 10, np.uint8), np.full((8, 8, 3), 90, np.uint8)
    visible = np.stack((np.zeros((8, 8)), np.ones((8, 8)))).astype(np.float32)
    flow = np.zeros((4, 8, 8), np.float32)
    assert (flow_error.warped(frame0, frame1, flow, visible, 1) == 90).all()
    assert (flow_error.warped(frame0, frame1, flow, 0 * visible, 1) == 50).all()
