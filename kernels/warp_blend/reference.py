"""Backward warp and visibility blend, in plain PyTorch."""
import torch
import torch.nn.functional as F


def warp_reference(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    B, C, H, W = image.shape
    y = torch.arange(H, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    x = torch.arange(W, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    grid = torch.stack((2 * x / max(W - 1, 1) - 1, 2 * y / max(H - 1, 1) - 1), -1)
    return F.grid_sample(image.to(flow.dtype), grid, padding_mode="border", align_corners=True).to(image.dtype)


def warp_blend_reference(image0, image1, flow0, flow1, occ0, occ1):
    visible = torch.stack((F.logsigmoid(occ0.to(flow0.dtype)), F.logsigmoid(occ1.to(flow0.dtype)))).softmax(0)
    dtype = flow0.dtype
    blend = visible[0] * warp_reference(image0.to(dtype), flow0) + visible[1] * warp_reference(image1.to(dtype), flow1)
    return blend.to(image0.dtype)
