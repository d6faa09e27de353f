"""Intermediate results of a model that its prediction does not hold, recorded by hooks.

The model computes as it always does; nothing of it is changed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from lift.kernels.ops.curve_flows.reference import side_agreement
from lift.kernels.ops.path_inputs.reference import divided_differences
from lift.kernels.ops.warp_blend.reference import warp_reference
from lift.model.adjacent import AdjacentMotion
from lift.model.trajectory import CONFIDENCE_LOGIT, LARGEST_WEIGHT, Trajectory
from lift.model.transformer import AttentionLayer
from lift.model.types import FlowEstimate


@dataclass
class LayerRecord:
    """The inputs of the attention of one layer, for B targets.

    Attributes:
        window, shift: as in `temporal_attention`.
        queries: (B, 1, h, w, heads, d).
        keys: (B, T, h, w, heads, d).
        time_bias: (B, heads, 1, T), or None.
        window_bias: (heads, 2 window - 1, 2 window - 1).
        mask: (B, T).
    """

    window: int
    shift: int
    queries: torch.Tensor
    keys: torch.Tensor
    time_bias: torch.Tensor | None
    window_bias: torch.Tensor
    mask: torch.Tensor


@dataclass
class CurveRecord:
    """The paths of the target's pixels, B targets, at 1/4 of the resolution.

    Attributes:
        straight, curved: flows and visibilities along straight and along curved paths.
        adjacent: the motion beside the references.
        differences: (B, G, 2, h, w), divided differences of the paths; see `path_inputs`.
        confidence: (B, G, h, w), weight of each: the predicted confidence, and above order 2 the
            trust in it, 0 to 2.
        residual: (B, 2, h, w), predicted acceleration, pixels of 1/4 per interval squared.
    """

    straight: FlowEstimate
    curved: FlowEstimate
    adjacent: AdjacentMotion
    differences: torch.Tensor
    confidence: torch.Tensor
    residual: torch.Tensor


@dataclass
class Recorded:
    """What was recorded of one forward pass.

    Attributes:
        layers: of the attention, first to last; empty in a model without.
        curve: None where there is no frame beside the references, or the model has no such stage.
    """

    layers: list[LayerRecord] = field(default_factory=list)
    curve: CurveRecord | None = None


@contextmanager
def record(model: torch.nn.Module) -> Iterator[Recorded]:
    """Record the forward pass of a LIFT model that runs in the block."""
    recorded, hooks = Recorded(), []
    try:
        transformer = getattr(model, "transformer", None)
        for layer in getattr(transformer, "attention", ()):
            if isinstance(layer, AttentionLayer):
                hooks += _record_layer(layer, recorded)
        trajectory = getattr(getattr(model, "flow", None), "trajectory", None)
        if isinstance(trajectory, Trajectory):
            hooks += _record_curve(trajectory, recorded)
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()


def _record_layer(layer: AttentionLayer, recorded: Recorded) -> list:
    projected = []

    def keep_query(_module, _inputs, output: torch.Tensor) -> None:
        projected.append(output.unflatten(-1, (layer.heads, -1)))

    def keep_layer(_module, inputs, _output) -> None:
        _x, _update, keys, _values, time_bias, mask, *_ = inputs
        recorded.layers.append(
            LayerRecord(
                layer.window,
                layer.shift,
                projected.pop(),
                keys,
                time_bias,
                layer.window_bias,
                mask,
            )
        )

    return [
        layer.q_proj.register_forward_hook(keep_query),
        layer.register_forward_hook(keep_layer),
    ]


def _record_curve(trajectory: Trajectory, recorded: Recorded) -> list:
    features = []

    def keep_features(_module, _inputs, output: torch.Tensor) -> None:
        features.append(output)

    def keep_curve(module: Trajectory, inputs, output: FlowEstimate) -> None:
        straight, _hidden, adjacent, _context, _t = inputs
        predicted = F.conv2d(
            features.pop(), module.head.weight, module.head.bias, padding=module.head.padding
        ).float()
        differences = divided_differences(
            straight.flow_t0.float(),
            straight.flow_t1.float(),
            adjacent.motions.float(),
            adjacent.times,
            adjacent.valid,
            warp_reference,
        )
        recorded.curve = CurveRecord(
            straight,
            output,
            adjacent,
            differences,
            _confidence(predicted, differences, module.noise_agreement),
            predicted[:, 2:4],
        )

    return [
        trajectory.body.register_forward_hook(keep_features),
        trajectory.register_forward_hook(keep_curve),
    ]


def _confidence(
    predicted: torch.Tensor, differences: torch.Tensor, noise_agreement: tuple[float, ...]
) -> torch.Tensor:
    """The weights of the divided differences, as `curve_flows_reference` defines them."""
    gaps = differences.shape[1]
    confidence = torch.sigmoid(CONFIDENCE_LOGIT + predicted[:, :2])
    if gaps == 2:
        return confidence
    agreement = side_agreement(differences[:, 2:])
    noise = agreement.new_tensor(noise_agreement[: agreement.shape[1]]).view(-1, 1, 1)
    trust = (agreement - noise).clamp(0, 1).repeat_interleave(2, 1)
    outer = LARGEST_WEIGHT * torch.sigmoid(predicted[:, 4 : 2 + gaps])
    return torch.cat((confidence, outer * trust), 1)
