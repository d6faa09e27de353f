"""A picture of a validation clip for TensorBoard."""

import numpy as np
import torch

from lift.data.clip import Batch
from lift.evaluation.figures import (
    blend_weight,
    caption,
    colored,
    error_map,
    flow_in_frame_pixels,
    flow_to_color,
)
from lift.model.types import Prediction

MOST = 512  # pixels; longer sides are shown in part


def draw_clip(batch: Batch, prediction: Prediction) -> np.ndarray:
    """Two rows of four: references, truth and prediction, then flow, visibility, error, attention.

    Args:
        batch: one clip, on any device.
        prediction: of it; its values are finite.

    Returns:
        (H, W, 3) uint8.
    """
    left, right = (_pixels(x) for x in batch.clip.references)
    truth, frame = _pixels(batch.target), _pixels(prediction.frame)
    height, width = truth.shape[:2]
    flow = flow_to_color(flow_in_frame_pixels(prediction.flow_t0[:1]))
    weight = blend_weight(prediction.occ_t0[:1], prediction.occ_t1[:1])
    rows = [
        {"left reference": left, "right reference": right, "truth": truth, "prediction": frame},
        {
            "flow to the left": _enlarged(flow, height, width),
            "weight of the left": _enlarged(colored(weight, "gray"), height, width),
            "error": error_map(frame, truth),
        },
    ]
    if prediction.attention is None:  # a model without the transformer
        rows[1]["coarse frame"] = _enlarged(_pixels(prediction.coarse), height, width)
    else:
        rows[1]["attention"] = _bars(batch, prediction, height, width)
    return np.concatenate(
        [
            np.concatenate([caption(image[:MOST, :MOST], name) for name, image in row.items()], 1)
            for row in rows
        ]
    )


def _pixels(image: torch.Tensor) -> np.ndarray:
    """(B, 3, H, W) in [0, 1] -> the first, (H, W, 3) uint8."""
    return (image[0].float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _enlarged(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w, 3) -> (H, W, 3) by repeating pixels."""
    rows = np.arange(height) * len(image) // height
    columns = np.arange(width) * image.shape[1] // width
    return image[rows][:, columns]


def _bars(batch: Batch, prediction: Prediction, height: int, width: int) -> np.ndarray:
    """Attention weights in the order of time, as bars; those of the references are orange."""
    times, mask = batch.clip.times[0].cpu(), batch.clip.mask[0].cpu()
    weights = prediction.attention[0].float().cpu()[mask].numpy()
    times = times[mask].numpy()
    order = np.argsort(times)
    image = np.full((height, width, 3), 255, np.uint8)
    edges = np.linspace(0, width, len(order) + 1).astype(int)
    for k, (a, b) in zip(order, zip(edges, edges[1:], strict=False), strict=True):
        top = height - round(float(weights[k] / max(weights.max(), 1e-9)) * (height - 4))
        color = (255, 127, 14) if times[k] in (0, 1) else (31, 119, 180)
        image[top:, a : max(a + 1, b - 1)] = color
    return image
