"""What the stages read of frames: padded, normalized and small images, and how much two differ."""

import torch
import torch.nn.functional as F

from lift import kernels
from lift.model.types import ReferenceImages

MULTIPLE = 16  # frames are padded to it; the coarsest scale is 1/16


def frame_images(frames: torch.Tensor, backend: str = "auto") -> tuple[torch.Tensor, ...]:
    """The encoder's input, padded frames, and means of frames (N, 3, H, W) in [0, 1].

    See `kernels.frame_inputs`. The encoder's input has the dtype that convolutions compute in.
    """
    dtype, device = frames.dtype, frames.device.type
    if device != "meta" and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    return kernels.frame_inputs(frames, MULTIPLE, dtype, backend=backend)


def reference_images(
    image0: torch.Tensor,
    image1: torch.Tensor,
    luma0: torch.Tensor,
    luma1: torch.Tensor,
    backend: str = "auto",
) -> ReferenceImages:
    """What `Refinement` needs of the references.

    Args:
        image0, image1: (B, 3, H, W), in [0, 1]; even H and W.
        luma0, luma1: (B, 1, H/2, W/2), of the images average-pooled.
        backend: of the kernels.
    """
    change = kernels.change_map(image0, image1, backend=backend)
    return ReferenceImages(image0, image1, luma0, luma1, change)


def reduced(frames: torch.Tensor, scale: float) -> torch.Tensor:
    """Frames (N, C, H, W) at `scale` times their size, in (0, 1]: means over areas.

    Where pixels are no whole number of pixels wide, their areas are weighted by a triangle, which
    is centred on each.
    """
    if scale == 1:
        return frames
    size = [round(side * scale) for side in frames.shape[-2:]]
    if all(side % small == 0 for side, small in zip(frames.shape[-2:], size, strict=True)):
        return F.interpolate(frames, size=size, mode="area")
    return F.interpolate(frames, size=size, mode="bilinear", align_corners=False, antialias=True)
