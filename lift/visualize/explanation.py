"""Everything that the pictures of one target show, as arrays in the pixels of its frames."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from lift.evaluation.figures import blend_weight, flow_in_frame_pixels
from lift.evaluation.metrics import psnr, ssim, to_uint8
from lift.evaluation.protocols.real16 import as_clip
from lift.model.types import Prediction
from lift.visualize.clips import ClipTarget
from lift.visualize.point_path import PointPath, point_path
from lift.visualize.recorder import LayerRecord, Recorded, record
from lift.visualize.window_attention import window_weights

BOX = 33  # pixels, odd; the point is the middle of the box of this side with the largest error


@dataclass(frozen=True)
class PointExplanation:
    """What happens at one point of the target.

    Attributes:
        point: (x, y), pixels of the frames.
        chosen_by: how it was chosen, in words.
        weights: (layers, heads, T, h, w), attention weights of its query, at 1/16; None for a model
            without attention.
        path: its path through the context frames; None without a frame beside the references.
    """

    point: tuple[int, int]
    chosen_by: str
    weights: np.ndarray | None
    path: PointPath | None


@dataclass(frozen=True)
class Explanation:
    """A generated frame and what the model estimated for it.

    Attributes:
        target: the target and its input frames.
        frame: (H, W, 3) uint8, the generated frame.
        coarse: (H, W, 3) uint8, the frame synthesised at 1/4, enlarged without interpolation.
        flow_t0, flow_t1: (h, w, 2), from the target to the references, pixels of the frames.
        visibility_t0, visibility_t1: (h, w), 0 hidden to 1 visible, in each reference.
        left_weight: (h, w), of the left reference in the blend, 0 to 1.
        attention: (T,), attention weight per frame, sums to 1; None for a model without.
        confidence: (h, w), mean confidence in the accelerations of both sides, 0 to 1; None without
            a frame beside the references.
        curvature: (h, w), length of the distance between the straight and the curved path at the
            target's time, pixels of the frames; None as above.
        at_point: see `PointExplanation`.
        psnr, ssim: of the generated frame, dB and 0 to 1.
    """

    target: ClipTarget
    frame: np.ndarray
    coarse: np.ndarray
    flow_t0: np.ndarray
    flow_t1: np.ndarray
    visibility_t0: np.ndarray
    visibility_t1: np.ndarray
    left_weight: np.ndarray
    attention: np.ndarray | None
    confidence: np.ndarray | None
    curvature: np.ndarray | None
    at_point: PointExplanation
    psnr: float
    ssim: float


@torch.inference_mode()
def explain(
    model: torch.nn.Module, target: ClipTarget, point: tuple[int, int] | None = None
) -> Explanation:
    """Run the model on a target and collect what it computed.

    Args:
        model: a LIFT in evaluation mode, on any device.
        target: the target and its input frames.
        point: (x, y), pixels of the frames; where the error is largest when None.
    """
    with record(model) as recorded:
        prediction = _predict(model, target)
    frame, truth = to_uint8(prediction.frame[0]), target.truth
    flows = [flow_in_frame_pixels(flow) for flow in (prediction.flow_t0, prediction.flow_t1)]
    visibilities = [
        torch.sigmoid(occ[0, 0].float()).cpu().numpy()
        for occ in (prediction.occ_t0, prediction.occ_t1)
    ]
    h, w = prediction.coarse.shape[-2:]
    confidence, curvature = _curve_maps(recorded, h, w)
    if point is None:
        chosen, chosen_by = default_point(frame, truth, flows[0])
    else:
        chosen, chosen_by = point, "given with --point"
    attention = prediction.attention
    coarse = F.interpolate(prediction.coarse, scale_factor=4)[0, :, : len(frame), : frame.shape[1]]
    return Explanation(
        target=target,
        frame=frame,
        coarse=to_uint8(coarse),
        flow_t0=flows[0],
        flow_t1=flows[1],
        visibility_t0=visibilities[0],
        visibility_t1=visibilities[1],
        left_weight=blend_weight(prediction.occ_t0, prediction.occ_t1),
        attention=None if attention is None else attention[0].float().cpu().numpy(),
        confidence=confidence,
        curvature=curvature,
        at_point=_at_point(recorded, chosen, chosen_by),
        psnr=psnr(frame, truth),
        ssim=ssim(frame, truth),
    )


@torch.inference_mode()
def attention_per_frame(model: torch.nn.Module, target: ClipTarget) -> np.ndarray | None:
    """(T,), the attention weight of each input frame; None for a model without attention."""
    attention = _predict(model, target).attention
    return None if attention is None else attention[0].float().cpu().numpy()


def _predict(model: torch.nn.Module, target: ClipTarget) -> Prediction:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    clip = as_clip(target.frames, list(target.times), target.left, device)
    return model(clip, torch.tensor([0.5], device=device))


def default_point(
    frame: np.ndarray, truth: np.ndarray, flow: np.ndarray
) -> tuple[tuple[int, int], str]:
    """Where to look when no point is given, (x, y) in pixels, and why there.

    The middle of the box of `BOX` pixels with the largest mean error, or, where the generated frame
    equals the truth, the largest motion.

    Args:
        frame, truth: (H, W, 3) uint8.
        flow: (h, w, 2), at 1/4.
    """
    error = np.abs(frame.astype(np.float32) - truth).mean(-1)
    if error.any():
        values, scale, reason = error, 1, "largest error"
    else:
        values, scale, reason = np.hypot(flow[..., 0], flow[..., 1]), 4, "largest motion"
    mean = F.avg_pool2d(torch.from_numpy(values)[None, None].float(), BOX, 1, BOX // 2)[0, 0]
    y, x = divmod(int(mean.argmax()), mean.shape[1])
    height, width = error.shape
    return (min(scale * x, width - 1), min(scale * y, height - 1)), reason


def _at_point(recorded: Recorded, point: tuple[int, int], chosen_by: str) -> PointExplanation:
    x, y = point
    weights = path = None
    if recorded.layers:
        layers = [_on_cpu(layer) for layer in recorded.layers]
        weights = np.stack([window_weights(layer, y // 16, x // 16).numpy() for layer in layers])
    if recorded.curve is not None and recorded.curve.adjacent.valid.any():
        path = point_path(recorded.curve, x, y)
    return PointExplanation(point, chosen_by, weights, path)


def _on_cpu(layer: LayerRecord) -> LayerRecord:
    moved_parts = {
        name: value.detach().cpu() if isinstance(value, torch.Tensor) else value
        for name, value in vars(layer).items()
    }
    return LayerRecord(**moved_parts)


def _curve_maps(recorded: Recorded, h: int, w: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Confidence in the accelerations, and how far the path bends, cropped to (h, w)."""
    curve = recorded.curve
    if curve is None or not curve.adjacent.valid.any():
        return None, None
    known = curve.adjacent.valid[0, :2]
    confidence = curve.confidence[0, :2][known].mean(0) if known.any() else None
    offset = curve.straight.scale * (curve.curved.flow_t0 - curve.straight.flow_t0)[0].float()
    maps = confidence, torch.linalg.vector_norm(offset, dim=0)
    return tuple(None if each is None else each[:h, :w].cpu().numpy() for each in maps)
