"""Samples and batches: one target is the case K = 1, several share their frames."""

import numpy as np
import pytest
import torch

from lift.data.sample import Layout, collate, make_sample
from lift.data.sampling import Window, skip
from tests.support.models import TINY, awake_lift

WINDOW = skip(10, 2, 1, (4, 20), frames=5)  # inputs 6, 8, 10, 12, 14; target 11
NEXT = skip(12, 2, 1, (4, 20), frames=5)  # inputs 8 to 16; target 13


def pixels(layout: Layout, size: int = 16) -> np.ndarray:
    """Frames whose every value is their number, but for the texture in the last channel."""
    numbers = np.array([*layout.frames, *layout.targets], np.uint8)
    frames = np.broadcast_to(numbers[:, None, None, None], (len(numbers), size, size, 3)).copy()
    frames[..., 2] = np.arange(size) * 10 + numbers[:, None, None]
    return frames


def numbers(frames: torch.Tensor) -> list[int]:
    return (frames[:, 0, 0, 0] * 255).round().int().tolist()


@pytest.mark.parametrize("reverse", [False, True])
def test_one_target_has_its_references_first_and_its_context_in_the_order_of_play(reverse):
    layout = Layout.single(WINDOW, slots=6, reverse=reverse)
    sample = make_sample(pixels(layout), layout)
    assert sample.frame_index is None and numbers(sample.target) == [11]
    order = [12, 10, 14, 8, 6] if reverse else [10, 12, 6, 8, 14]
    assert numbers(sample.frames) == [*order, 0]
    times = [(12 - i) / 2 if reverse else (i - 10) / 2 for i in order]
    assert sample.times[0].tolist() == [*times, 0] and sample.t.tolist() == [0.5]
    assert sample.mask[0].tolist() == [True] * 5 + [False]
    assert not sample.flow_known and not sample.flow.any() and not sample.visible.any()


@pytest.mark.parametrize("reverse", [False, True])
def test_each_of_several_targets_has_the_clip_it_has_alone(reverse):
    shared = Layout([6, 8, 10, 12, 14, 16], [WINDOW, NEXT], slots=7, inputs=5, reverse=reverse)
    batch = collate([make_sample(pixels(shared), shared)] * 2)
    separate = batch.clip.separate()
    assert batch.clip.frames.shape[:2] == (2, 7) and separate.frames.shape[:2] == (4, 5)
    for k, window in enumerate([WINDOW, NEXT, WINDOW, NEXT]):
        layout = Layout.single(window, slots=5, reverse=reverse)
        single = collate([make_sample(pixels(layout), layout)])
        own = dict(zip(single.clip.times[0].tolist(), numbers(single.clip.frames[0]), strict=True))
        times = separate.times[k].tolist()
        assert dict(zip(times, numbers(separate.frames[k]), strict=True)) == own
        assert times[:2] == [0, 1] and torch.equal(batch.target[k], single.target[0])
        assert batch.t[k] == single.t[0]


@torch.no_grad()
def test_the_model_predicts_the_same_for_shared_and_for_separate_frames():
    layout = Layout([6, 8, 10, 12, 14, 16], [WINDOW, NEXT], slots=6, inputs=5)
    batch, model = collate([make_sample(pixels(layout), layout)]), awake_lift(TINY)
    shared, separate = model(batch.clip, batch.t), model(batch.clip.separate(), batch.t)
    torch.testing.assert_close(shared.frame, separate.frame, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shared.attention, separate.attention, atol=1e-5, rtol=1e-5)


def test_truth_goes_to_its_target():
    windows = [
        Window((8, 10, 12, 14), (-1.0, 0.0, 1.0, 2.0), 1, 11, 0.5),
        Window((10, 12, 14), (-1.0, 0.0, 1.0), 1, 13, 0.5),
    ]
    layout = Layout([8, 10, 12, 14], windows, slots=4, inputs=4)
    flow = np.arange(2, dtype=np.float32)[:, None, None, None] + np.zeros(
        (2, 4, 16, 16), np.float32
    )
    batch = collate([make_sample(pixels(layout), layout, (flow, flow[:, :2]))])
    assert batch.flow[:, 0, 0, 0].tolist() == batch.visible[:, 1, 0, 0].tolist() == [0, 1]
    assert batch.flow_known.tolist() == [True, True]
    assert batch.clip.mask.tolist() == [[True] * 4, [True] * 3 + [False]]
