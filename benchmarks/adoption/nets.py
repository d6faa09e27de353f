"""Small nets in the manner of RIFE and IFRNet, for `lift.kernels.patch`.

Their flows start at a motion of 1.4 pixels. At no motion, as of random weights, every pixel lies
where the gradient of a bilinear sample jumps, and rounding decides between its two sides.
"""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.adoption import conventions
from benchmarks.adoption.conventions import ifrnet_warp


def _block(inputs: int, width: int, outputs: int, stride: int = 2) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, stride, 1),
        nn.PReLU(width),
        nn.Conv2d(width, width, 3, 1, 1),
        nn.PReLU(width),
        nn.Conv2d(width, outputs, 3, 1, 1),
    )


def _start_at(block: nn.Sequential, motion: float) -> None:
    """Let the first four outputs of a block, two flows, start near a motion in pixels."""
    nn.init.constant_(block[-1].bias[:4], motion)


class RifeLike(nn.Module):
    """Two levels that refine the flows to both images and a mask, and warp the images at each.

    Images are (B, 3, H, W) with H and W divisible by 4; the result is (B, 3, H, W).
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.levels = nn.ModuleList([_block(6, width, 5), _block(17, width, 5)])
        for level in self.levels:
            _start_at(level, 0.7)

    def forward(self, image0, image1):
        size = image0.shape[2:]
        warped0, warped1, flow, mask = image0, image1, None, None
        for i, level in enumerate(self.levels):
            inputs = [image0, image1] if flow is None else [warped0, warped1, image0, image1]
            inputs += [] if flow is None else [flow, mask]
            coarse = F.interpolate(torch.cat(inputs, 1), scale_factor=0.5 if i == 0 else 1.0)
            found = F.interpolate(level(coarse), size, mode="bilinear", align_corners=False)
            flow = found[:, :4] if flow is None else flow + found[:, :4]
            mask = found[:, 4:] if mask is None else mask + found[:, 4:]
            warped0 = conventions.rife_warp(image0, flow[:, :2])
            warped1 = conventions.rife_warp(image1, flow[:, 2:])
        share = torch.sigmoid(mask)
        return warped0 * share + warped1 * (1 - share)


class IfrnetLike(nn.Module):
    """Features of two levels, warped by flows that a decoder refines from coarse to fine.

    Images are (B, 3, H, W) with H and W divisible by 4; the result is (B, 3, H, W).
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.encoders = nn.ModuleList([_block(3, width, width), _block(width, width, width)])
        self.coarse = _block(2 * width, width, 4, stride=1)
        _start_at(self.coarse, 0.35)
        self.fine = _block(2 * width + 4, width, 5, stride=1)

    def forward(self, image0, image1):
        features = [[image0], [image1]]
        for encoder in self.encoders:
            for levels in features:
                levels.append(encoder(levels[-1]))
        flow = self.coarse(torch.cat((features[0][2], features[1][2]), 1))
        flow = 2 * F.interpolate(flow, scale_factor=2.0, mode="bilinear", align_corners=False)
        left = ifrnet_warp(features[0][1], flow[:, :2])
        right = ifrnet_warp(features[1][1], flow[:, 2:])
        found = self.fine(torch.cat((left, right, flow), 1))
        found = F.interpolate(found, scale_factor=2.0, mode="bilinear", align_corners=False)
        flow = 2 * (F.interpolate(flow, scale_factor=2.0) + found[:, :4])
        share = torch.sigmoid(found[:, 4:])
        left, right = ifrnet_warp(image0, flow[:, :2]), ifrnet_warp(image1, flow[:, 2:])
        return share * left + (1 - share) * right
