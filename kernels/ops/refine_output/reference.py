"""The frame that the refinement's residuals make of the references: the definition.

The residuals of a pixel are those of both flows, of both visibility logits, a colour that is added
to the blend, and one of the gate. The gate multiplies the flows: where the references agree all
around a pixel it closes, and both are read in place.
"""

import torch

from lift.kernels.ops.refine_inputs.reference import upsample
from lift.kernels.ops.warp_blend.reference import warp_blend_reference
from lift.kernels.shuffle import pixel_shuffle

RESIDUALS = 10  # dx, dy of flow 0, of flow 1, two logits, RGB, gate
SHARP_RESIDUALS = 11
GATE_SLOPE = 4.0  # of the gate's sigmoid over the logarithm of the change


def refine_output_reference(
    residual: torch.Tensor,
    bias: torch.Tensor,
    image0: torch.Tensor,
    image1: torch.Tensor,
    state: torch.Tensor,
    change: torch.Tensor,
    threshold: torch.Tensor,
    stride: int,
) -> torch.Tensor:
    """The frame of residuals, references and a state at half resolution.

    Args:
        residual: (B, 10 stride^2, H/stride, W/stride), any floating dtype, without its bias.
        bias: (10 stride^2,), any floating dtype.
        image0, image1: (B, 3, H, W), float32, or float64.
        state: (B, 6, H/2, W/2), dtype of the images, as for `refine_inputs_reference`.
        change: (B, 1, H/2, W/2), dtype of the images.
        threshold: (), any floating dtype: the change at which the gate is half open.
        stride: 1, 2 or 4.

    Returns:
        (B, 3, H, W), dtype of the images.
    """
    residual = residual.to(image0.dtype) + bias.to(image0.dtype).view(-1, 1, 1)
    residual = pixel_shuffle(residual, stride)
    residual0, residual1, logits, detail, gate = residual.split((2, 2, 2, 3, 1), 1)
    flow0, flow1, occ = upsample(state).split(2, 1)
    gate = torch.sigmoid(GATE_SLOPE * (upsample(change) - threshold.to(state.dtype)) + gate)
    blend = warp_blend_reference(
        image0,
        image1,
        gate * (2 * flow0 + residual0),
        gate * (2 * flow1 + residual1),
        *(occ + logits).split(1, 1),
    )
    return (blend + detail).contiguous()
