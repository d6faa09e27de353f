"""What the refinement's first convolution reads: the definition.

A state at half resolution, (B, 6, H/2, W/2), holds the flows from the target to both references, dx
and dy in pixels of half resolution, and the visibility logits. The references, warped by the flows
at full resolution, and their difference pass through `pixel_unshuffle`, which loses nothing; the
state follows at the resolution of its result.
"""

import torch
import torch.nn.functional as F

from lift.kernels.ops.warp_blend.reference import warp_reference
from lift.kernels.shuffle import pixel_unshuffle

STRIDES = (1, 2, 4)
FLOWS = 4  # channels of a state that are flows
STATE = 6  # channels of a state
FLOW_SCALE = 2 / 32  # gives usual motion about unit size


def channels(missing: torch.Tensor | None, stride: int) -> int:
    """How many channels the result has."""
    return 9 * stride**2 + STATE + (0 if missing is None else 2)


def empty_output(
    image0: torch.Tensor, missing: torch.Tensor | None, stride: int, dtype: torch.dtype
) -> torch.Tensor:
    """An uninitialised result, channels_last."""
    B, _, H, W = image0.shape
    return image0.new_empty(
        (B, H // stride, W // stride, channels(missing, stride)), dtype=dtype
    ).permute(0, 3, 1, 2)


def refine_inputs_reference(
    image0: torch.Tensor,
    image1: torch.Tensor,
    state: torch.Tensor,
    missing: torch.Tensor | None,
    stride: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """The input of the refinement's first convolution.

    Args:
        image0, image1: (B, 3, H, W), float32, or float64.
        state: (B, 6, H/2, W/2), dtype of the images.
        missing: (B, 2, H/2, W/2), as state; or None.
        stride: 1, 2 or 4.
        dtype: of the result.

    Returns:
        (B, 9 stride^2 + 6 [+ 2], H/stride, W/stride), channels_last, computed in the images' dtype.
    """
    flow0, flow1 = (2 * upsample(state[:, :FLOWS])).split(2, 1)
    warped = warp_reference(image0, flow0), warp_reference(image1, flow1)
    images = pixel_unshuffle(torch.cat((*warped, image0 - image1), 1), stride)
    maps = [] if missing is None else [missing]
    maps = torch.cat((FLOW_SCALE * state[:, :FLOWS], state[:, FLOWS:], *maps), 1)
    if stride == 1:
        maps = upsample(maps)
    elif stride == 4:
        maps = F.avg_pool2d(maps, 2)
    # As in `empty_output`, also where a side is 1.
    return (
        torch.cat((images, maps), 1).to(dtype).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    )


def upsample(x: torch.Tensor) -> torch.Tensor:
    """Bilinear upsampling by 2, (B, C, h, w) -> (B, C, 2h, 2w), align_corners=False."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
