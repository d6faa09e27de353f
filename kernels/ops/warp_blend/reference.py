"""Backward warp and visibility blend: the definition.

A pixel (x, y) of the output reads the image at (x + dx, y + dy), bilinearly, with coordinates
clamped to the border (as `F.grid_sample` with padding_mode="border" and align_corners=True). Two
warped images are blended by the visibility of the pixel in each:

    v = sigmoid(occ)
    out = (v0 warp(image0) + v1 warp(image1)) / (v0 + v1)

computed as softmax(logsigmoid(occ0), logsigmoid(occ1)). This is plain arithmetic on pixel
coordinates, so integer flows are exact, any number of derivatives exists, and a GPU obeys
`torch.use_deterministic_algorithms(True)`. `eager.py` is faster and saves less for backward.
"""

import torch
import torch.nn.functional as F


def warp_reference(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Backward warp.

    Args:
        image: (B, C, H, W), any floating dtype.
        flow: (B, 2, H, W), dx then dy in pixels, float32, or float64 for a float64 image.
            Infinities read the border, NaN reads coordinate 0.

    Returns:
        (B, C, H, W), dtype of image, computed in flow's. The gradient of flow is zero where a
        coordinate was clamped or NaN.
    """
    return sample(image.to(flow.dtype), flow).to(image.dtype)


def warp_blend_reference(
    image0: torch.Tensor,
    image1: torch.Tensor,
    flow0: torch.Tensor,
    flow1: torch.Tensor,
    occ0: torch.Tensor,
    occ1: torch.Tensor,
) -> torch.Tensor:
    """Warp two images backward and blend them by visibility.

    Args:
        image0, image1: (B, C, H, W), any floating dtype.
        flow0, flow1: (B, 2, H, W), as in `warp_reference`.
        occ0, occ1: (B, 1, H, W), finite logits of visibility.

    Returns:
        (B, C, H, W), dtype of the images, computed in flow's.
    """
    dtype = flow0.dtype
    warped0, warped1 = sample(image0.to(dtype), flow0), sample(image1.to(dtype), flow1)
    return blend(warped0, warped1, occ0.to(dtype), occ1.to(dtype)).to(image0.dtype)


def blend(
    warped0: torch.Tensor, warped1: torch.Tensor, occ0: torch.Tensor, occ1: torch.Tensor
) -> torch.Tensor:
    """Blend two images (B, C, H, W) by visibility logits (B, 1, H, W).

    In log space: no epsilon, no saturation.
    """
    weight0, weight1 = torch.stack((F.logsigmoid(occ0), F.logsigmoid(occ1))).softmax(0)
    return weight0 * warped0 + weight1 * warped1


def coordinates(flow: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample coordinates x and y (B, H, W), in pixels inside the image, of flow (B, 2, H, W)."""
    H, W = flow.shape[2:]
    x = torch.arange(W, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    y = torch.arange(H, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    return _clamp(x, W), _clamp(y, H)


def sample(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """`warp_reference` of an image in flow's dtype."""
    B, C, H, W = image.shape
    x, y = coordinates(flow)
    west, north = x.detach().floor(), y.detach().floor()
    fx, fy = (x - west)[:, None], (y - north)[:, None]
    west, north = west.long(), north.long()
    east = (west + 1).clamp(max=W - 1)  # past the border only where the weight is 0
    south = (north + 1).clamp(max=H - 1)
    pixels = image.flatten(2)

    def gather(y, x):
        return pixels.gather(2, (y * W + x).flatten(1)[:, None].expand(-1, C, -1)).view(B, C, H, W)

    top = (1 - fx) * gather(north, west) + fx * gather(north, east)
    bottom = (1 - fx) * gather(south, west) + fx * gather(south, east)
    return (1 - fy) * top + fy * bottom


def _clamp(coordinate: torch.Tensor, size: int) -> torch.Tensor:
    """Clamp to [0, size - 1], NaN to 0; no gradient where clamped or on the border."""
    inside = (coordinate > 0) & (coordinate < size - 1)
    clamped = coordinate.detach().nan_to_num(nan=0.0).clamp(0, size - 1)
    return torch.where(inside, coordinate, clamped)
