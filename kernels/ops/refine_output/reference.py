"""The frame that the refinement's residuals make of the references: the definition.

The residuals of a pixel are those of both flows, of both visibility logits, a colour that is added
to the blend, and one of the gate. The gate multiplies the flows: where the references agree all
around a pixel it closes, and both are read in place. An eleventh one, if there is one, is the
sharpness s of the samples of both references,

    sample = bilinear + s (bicubic - bilinear)

since a bilinear sample between pixels is blurred: fine texture wants s = 1, noise s = 0.
"""

import torch

from lift.kernels.ops.refine_inputs.reference import upsample
from lift.kernels.ops.warp_blend.reference import blend, coordinates, sample, warp_blend_reference
from lift.kernels.shuffle import pixel_shuffle

RESIDUALS = 10  # dx, dy of flow 0, of flow 1, two logits, RGB, gate
SHARP_RESIDUALS = 11  # those, and the sharpness
CUBIC_SLOPE = -0.75  # a of the cubic convolution, as in F.grid_sample: its slope one pixel away
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
        residual: (B, R stride^2, H/stride, W/stride), any floating dtype, without its bias;
            R is 10, or 11 with a sharpness.
        bias: (R stride^2,), any floating dtype.
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
    sharpness = residual[:, RESIDUALS:]
    residual0, residual1, logits, detail, gate = residual[:, :RESIDUALS].split((2, 2, 2, 3, 1), 1)
    flow0, flow1, occ = upsample(state).split(2, 1)
    gate = torch.sigmoid(GATE_SLOPE * (upsample(change) - threshold.to(state.dtype)) + gate)
    flow0, flow1 = gate * (2 * flow0 + residual0), gate * (2 * flow1 + residual1)
    occ0, occ1 = (occ + logits).split(1, 1)
    if sharpness.shape[1] == 0:
        frame = warp_blend_reference(image0, image1, flow0, flow1, occ0, occ1)
    else:
        sharp0, sharp1 = (
            sharp_sample(image0, flow0, sharpness),
            sharp_sample(image1, flow1, sharpness),
        )
        frame = blend(sharp0, sharp1, occ0, occ1)
    return (frame + detail).contiguous()


def sharp_sample(
    image: torch.Tensor, flow: torch.Tensor, sharpness: torch.Tensor | float
) -> torch.Tensor:
    """An image (B, C, H, W) at the places that a flow (B, 2, H, W) moves to, which are clamped to
    the image; bilinear where the sharpness, (B, 1, H, W) or one for all, is 0, bicubic where 1.
    """
    bilinear = sample(image, flow)
    return bilinear + sharpness * (_bicubic_sample(image, flow) - bilinear)


def _bicubic_sample(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """The 4 x 4 pixels around each sample, those beyond the border being the nearest inside."""
    B, C, H, W = image.shape
    x, y = coordinates(flow)
    columns, rows = _taps(x, W), _taps(y, H)
    pixels = image.flatten(2)

    def gather(y, x):
        return pixels.gather(2, (y * W + x).flatten(1)[:, None].expand(-1, C, -1)).view(B, C, H, W)

    return sum(
        y_weight * sum(x_weight * gather(row, column) for column, x_weight in columns)
        for row, y_weight in rows
    )


def _taps(coordinate: torch.Tensor, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Index (B, H, W) and weight (B, 1, H, W) of the four pixels along one axis.

    The weight is the cubic convolution of the distance, a polynomial below 1 and another up to 2.
    """
    first = coordinate.detach().floor()
    t = (coordinate - first)[:, None]
    a, first = CUBIC_SLOPE, first.long()

    def near(d):
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d):
        return a * (((d - 5) * d + 8) * d - 4)

    weights = far(1 + t), near(t), near(1 - t), far(2 - t)
    return [((first + i - 1).clamp(0, size - 1), weight) for i, weight in enumerate(weights)]
