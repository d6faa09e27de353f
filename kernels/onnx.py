"""The ops in operators that ONNX has: what `auto` selects while `torch.onnx.export` traces a model.

Most are the references. Those here differ in that a warp is one GridSample and a correlation a few
convolutions; the references would be thousands of operators, which take minutes to export.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from lift.kernels.ops.correlation.reference import l2_normalize, to_accumulate_dtype
from lift.kernels.ops.flow_inputs.reference import flow_inputs_reference
from lift.kernels.ops.global_motion.reference import global_motion_reference
from lift.kernels.ops.lucas_kanade.reference import align_reference, lucas_kanade_reference
from lift.kernels.ops.path_inputs.reference import path_inputs_reference
from lift.kernels.ops.propagate.reference import propagate_reference
from lift.kernels.ops.warp_blend.reference import blend


def warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """As `warp_reference`; coordinates are normalised, as in `warp_eager`."""
    H, W = image.shape[2:]
    x = torch.arange(W, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    y = torch.arange(H, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    grid = torch.stack((2 * x / max(W - 1, 1) - 1, 2 * y / max(H - 1, 1) - 1), -1)
    grid = torch.where(grid.isnan(), -1, grid).clamp(-1, 1)
    options = {"mode": "bilinear", "padding_mode": "border", "align_corners": True}
    return F.grid_sample(image.to(flow.dtype), grid, **options).to(image.dtype)


def warp_blend(image0, image1, flow0, flow1, occ0, occ1) -> torch.Tensor:
    """As `warp_blend_reference`."""
    dtype = flow0.dtype
    warped0, warped1 = warp(image0.to(dtype), flow0), warp(image1.to(dtype), flow1)
    return blend(warped0, warped1, occ0.to(dtype), occ1.to(dtype)).to(image0.dtype)


def correlation(
    fmap0: torch.Tensor, fmap1: torch.Tensor, radius: int, normalize: bool = False
) -> torch.Tensor:
    """As `correlation_reference`, but a pixel that is not finite spreads over `radius` pixels.

    A convolution shifts a map by all dx at once: each of its kernels has a single 1.
    """
    fmap0, fmap1 = to_accumulate_dtype(fmap0), to_accumulate_dtype(fmap1)
    if normalize:
        fmap0, fmap1 = l2_normalize(fmap0), l2_normalize(fmap1)
    side, (C, H) = 2 * radius + 1, fmap0.shape[1:3]
    shifts = torch.eye(side, dtype=fmap0.dtype, device=fmap0.device)[:, None, None]
    shifted = F.conv2d(fmap1.flatten(0, 1)[:, None], shifts, padding=(radius, radius))
    shifted = shifted.unflatten(0, (-1, C))  # (B, C, side, H + 2 radius, W)
    rows = [(fmap0[:, :, None] * shifted[..., y : y + H, :]).sum(1) for y in range(side)]
    return torch.cat(rows, 1)


_lucas_kanade = partial(lucas_kanade_reference, warp=warp)
IMPLEMENTATIONS: dict[str, Callable] = {
    "align": partial(align_reference, step=_lucas_kanade),
    "correlation": correlation,
    "flow_inputs": partial(flow_inputs_reference, warp=warp),
    "global_motion": partial(global_motion_reference, warp=warp),
    "lucas_kanade": _lucas_kanade,
    "path_inputs": partial(path_inputs_reference, warp=warp),
    "propagate": partial(propagate_reference, warp=warp),
    "warp": warp,
    "warp_blend": warp_blend,
}
