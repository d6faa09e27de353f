"""Explanations are complete, and every figure of one can be drawn."""

import dataclasses
import io
from functools import cache

import numpy as np
import pytest
import torch

from lift.visualize import clip_figures, point_figures, target_figures
from lift.visualize.clips import ClipTarget
from lift.visualize.explanation import (
    Explanation,
    attention_per_frame,
    default_point,
    explain,
)
from tests.support.models import awake_lift
from tests.support.video_samples import moving_frames

FIGURES = [
    target_figures.inputs_figure,
    target_figures.result_figure,
    target_figures.motion_figure,
    point_figures.window_figure,
    point_figures.path_figure,
]


def target_of(count: int, size=(40, 56)) -> ClipTarget:
    """`count` input frames around frame `count` of a moving texture."""
    frames = np.stack(moving_frames(2 * count + 1, *size))
    left = (count + 1) // 2 - 1
    indices = tuple(count - 1 + 2 * (i - left) for i in range(count))
    times = tuple(float(i - left) for i in range(count))
    return ClipTarget(count, indices, times, left, frames[list(indices)], frames[count])


@cache
def explanation_of(count: int) -> Explanation:
    torch.manual_seed(0)
    return explain(awake_lift(), target_of(count))


@pytest.fixture
def explained():
    return explanation_of(5)


def test_the_frame_is_the_models(explained):
    torch.manual_seed(0)
    awake_model = awake_lift()
    from lift.evaluation.protocols.real16 import model_candidate

    target = explained.target
    frame = model_candidate(awake_model).interpolate(target.frames, target.times, target.left)
    assert (frame == explained.frame).all()
    assert explained.attention == pytest.approx(attention_per_frame(awake_model, target))
    assert explained.attention.sum() == pytest.approx(1)
    assert explained.coarse.shape == explained.frame.shape == target.truth.shape


def test_a_given_point_is_taken_and_the_default_is_where_the_error_is(awake_model, explained):
    given = explain(awake_model, target_of(5), (3, 39)).at_point
    assert (given.point, given.chosen_by) == ((3, 39), "given with --point")
    assert given.weights.shape == (2, 2, 5, 3, 4)  # layers, heads, frames, 1/16
    assert given.weights.sum((2, 3, 4)) == pytest.approx(np.ones((2, 2)))
    truth = np.zeros((60, 80, 3), np.uint8)
    frame = truth.copy()
    frame[20:50, 40:60] = 9
    (x, y), reason = default_point(frame, truth, np.zeros((15, 20, 2)))
    assert reason == "largest error" and 43 <= x <= 57 and 27 <= y <= 43


def test_without_an_error_the_point_is_where_motion_is_largest():
    truth = np.zeros((200, 240, 3), np.uint8)
    flow = np.zeros((50, 60, 2), np.float32)
    flow[20:30, 40:50] = 3
    (x, y), reason = default_point(truth, truth, flow)
    assert reason == "largest motion" and 120 <= x <= 239 and 40 <= y <= 160


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
@pytest.mark.parametrize("count", (5, 15))
def test_every_figure_can_be_drawn(draw, count):
    figure = draw(explanation_of(count))
    assert figure.get_size_inches()[0] == pytest.approx(6.9)
    file = io.BytesIO()
    figure.savefig(file, format="pdf", dpi=30)
    assert file.getvalue().startswith(b"%PDF")


@pytest.mark.parametrize("draw", FIGURES[:4], ids=lambda draw: draw.__name__)
def test_two_frames_without_context_can_be_drawn(draw):
    explained = explanation_of(2)
    assert explained.at_point.path is None and explained.confidence is None
    draw(explained).savefig(io.BytesIO(), dpi=30)


def test_a_model_without_attention_can_be_drawn(explained):
    point = dataclasses.replace(explained.at_point, weights=None)
    bare = dataclasses.replace(explained, attention=None, at_point=point)
    titles = [axes.get_title() for axes in target_figures.inputs_figure(bare).axes]
    assert titles == ["-2", "-1", "0", "+1", "+2"]


def test_captions_of_inputs_state_their_attention(explained):
    figure = target_figures.inputs_figure(explained)
    titles = [axes.get_title() for axes in figure.axes[:5]]
    percent = [f"{100 * weight:.1f} %" for weight in explained.attention]
    assert titles == [f"{t}: {p}" for t, p in zip("-2 -1 0 +1 +2".split(), percent, strict=True)]
    bars = [bar.get_height() for bar in figure.axes[5].patches]
    assert bars == pytest.approx(100 * explained.attention)


def test_the_map_of_a_clip_has_a_row_a_target_and_gaps_where_frames_are_missing():
    times = [(-1.0, 0.0, 1.0), (0.0, 1.0, 2.0)]
    attention = [np.array([0.2, 0.5, 0.3]), np.array([0.6, 0.3, 0.1])]
    axis, values = clip_figures.attention_map(times, attention)
    assert list(axis) == [-1, 0, 1, 2]
    assert values[0] == pytest.approx([0.2, 0.5, 0.3, np.nan], nan_ok=True)
    assert values[1] == pytest.approx([np.nan, 0.6, 0.3, 0.1], nan_ok=True)
    figure = clip_figures.attention_figure([4, 6], times, attention)
    figure.canvas.draw()


def test_explaining_needs_no_gradient(explained):
    assert torch.is_grad_enabled() and isinstance(explained.flow_t0, np.ndarray)
