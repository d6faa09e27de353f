"""Weights inside the window are those that the attention applies."""

from dataclasses import replace

import pytest
import torch

from lift.kernels.ops.temporal_attention.reference import temporal_attention_reference
from lift.visualize.recorder import LayerRecord, record
from lift.visualize.window_attention import window_slices, window_weights
from tests.support.models import random_clip

H, W = 7, 10  # no multiples of the window


def _layer(shift: int = 0, window: int = 4) -> LayerRecord:
    return LayerRecord(
        window,
        shift,
        queries=torch.randn(1, 1, H, W, 2, 3),
        keys=torch.randn(1, 5, H, W, 2, 3),
        time_bias=torch.randn(1, 2, 1, 5),
        window_bias=torch.randn(2, 2 * window - 1, 2 * window - 1),
        mask=torch.tensor([[True, True, False, True, True]]),
    )


@pytest.mark.parametrize("shift", (0, 2))
@pytest.mark.parametrize("place", ((0, 0), (3, 5), (H - 1, W - 1), (6, 0)))
def test_the_weighted_values_are_the_output_of_the_attention(shift, place):
    layer, values = _layer(shift), torch.randn(1, 5, H, W, 2, 3)
    out, _ = temporal_attention_reference(
        layer.queries,
        layer.keys,
        values,
        layer.window,
        shift,
        layer.time_bias,
        layer.window_bias,
        layer.mask,
    )
    weights = window_weights(layer, *place)
    read = torch.einsum("htyx,tyxhd->hd", weights, values[0])
    torch.testing.assert_close(read, out[0, 0, place[0], place[1]])


def test_weights_are_zero_outside_the_window_and_in_masked_frames():
    layer = _layer(shift=2)
    weights = window_weights(layer, 3, 5)
    assert weights.sum((1, 2, 3)) == pytest.approx([1, 1])
    rows, columns = window_slices(layer, 3, 5)
    assert (rows, columns) == (slice(2, 6), slice(2, 6))
    assert weights[:, :, rows, columns].sum() == pytest.approx(2)
    assert not weights[:, 2].any()


def test_a_location_outside_is_refused():
    with pytest.raises(ValueError, match="lies outside"):
        window_weights(_layer(), H, 0)


def test_the_mean_over_all_locations_is_the_attention_per_frame(awake_model):
    clip = random_clip(frames=5, size=(48, 80), batch=1)
    clip = replace(clip, mask=torch.tensor([[False, True, True, True, True]]))
    with torch.inference_mode(), record(awake_model) as recorded:
        attention = awake_model(clip, torch.tensor([0.5])).attention
    assert [layer.shift for layer in recorded.layers] == [0, 2]
    mean = torch.stack(
        [
            torch.stack([window_weights(layer, y, x) for y in range(3) for x in range(5)])
            for layer in recorded.layers
        ]
    ).mean((0, 1, 2))
    torch.testing.assert_close(mean.sum((1, 2)), attention[0])
