"""Attention inside the window at one location: how the target's query weights each key.

The definition is that of `temporal_attention`, computed for a single query.
"""

import torch

from lift.visualize.recorder import LayerRecord


def window_weights(layer: LayerRecord, y: int, x: int) -> torch.Tensor:
    """The attention weights of the query at one location.

    Args:
        layer: recorded of one target (B = 1).
        y, x: the location, pixels of 1/16.

    Returns:
        (heads, T, h, w), float32: each head's weight of every key, 0 outside the window and of
        masked frames; sums to 1 over T, h and w.

    Raises:
        ValueError: the location lies outside.
    """
    _, frames, h, w, heads, d = layer.keys.shape
    if not (0 <= y < h and 0 <= x < w):
        raise ValueError(f"window_weights: ({y}, {x}) lies outside of {h} x {w} locations")
    rows, columns = window_slices(layer, y, x)
    query = layer.queries[0, 0, y, x].float()  # (heads, d)
    keys = layer.keys[0, :, rows, columns].float()  # (T, rows, columns, heads, d)
    scores = torch.einsum("hd,tyxhd->htyx", query, keys) * d**-0.5
    if layer.time_bias is not None:
        scores = scores + layer.time_bias[0, :, 0].float()[:, :, None, None]
    dy = torch.arange(rows.start, rows.stop) - y + layer.window - 1
    dx = torch.arange(columns.start, columns.stop) - x + layer.window - 1
    scores = scores + layer.window_bias.detach().float()[:, dy[:, None], dx][:, None]
    scores = scores.masked_fill(~layer.mask[0, None, :, None, None], float("-inf"))
    weights = scores.flatten(1).softmax(-1).view(scores.shape)
    full = weights.new_zeros(heads, frames, h, w)
    full[:, :, rows, columns] = weights
    return full


def window_slices(layer: LayerRecord, y: int, x: int) -> tuple[slice, slice]:
    """Rows and columns of the window of a location, cut off at the edges of the image."""
    h, w = layer.keys.shape[2:4]

    def along(position: int, size: int) -> slice:
        start = (position + layer.shift) // layer.window * layer.window - layer.shift
        return slice(max(start, 0), min(start + layer.window, size))

    return along(y, h), along(x, w)
