"""A net of RIFE's size, to time beside LIFT. Its weights are random: its frames mean nothing.

Written from the description of Huang et al., "Real-Time Intermediate Flow Estimation for Video
Frame Interpolation", ECCV 2022: three blocks estimate the flows and a fusion map from coarse to
fine, a context net warps features of both frames along them, and a U-Net adds a residual. The
teacher, which only training has, is left out.
"""

import torch
import torch.nn.functional as F
from torch import nn

SCALES = (4, 2, 1)
WIDTHS = (240, 150, 90)  # channels of the three blocks
CONVOLUTIONS = 8  # of a block, one after the other
CONTEXT = 16  # channels of the context net at 1/2; doubled at each of four scales
MULTIPLE = 32  # the sides of the frames


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.PReLU(outputs))


def _halved(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions, the first of stride two."""
    return nn.Sequential(_conv(inputs, outputs, 2), _conv(outputs, outputs))


def _doubled(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.PReLU(outputs))


def _resized(x: torch.Tensor, factor: float) -> torch.Tensor:
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Backward warp, bilinear, clamped to the border.

    Args:
        image: (B, C, H, W).
        flow: (B, 2, H, W), dx then dy, pixels.
    """
    H, W = image.shape[2:]
    y = torch.arange(H, device=flow.device, dtype=flow.dtype).view(1, H, 1)
    x = torch.arange(W, device=flow.device, dtype=flow.dtype).view(1, 1, W)
    grid = torch.stack((2 * (x + flow[:, 0]) / (W - 1) - 1, 2 * (y + flow[:, 1]) / (H - 1) - 1), -1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


class FlowBlock(nn.Module):
    """Estimates the change of both flows (4 channels) and of the fusion map (1) at a scale."""

    def __init__(self, inputs: int, width: int, scale: int):
        super().__init__()
        self.scale = scale
        self.reduce = nn.Sequential(_conv(inputs, width // 2, 2), _conv(width // 2, width, 2))
        self.body = nn.Sequential(*(_conv(width, width) for _ in range(CONVOLUTIONS)))
        self.head = nn.ConvTranspose2d(width, 5, 4, 2, 1)

    def forward(self, images: torch.Tensor, flow: torch.Tensor | None):
        """Changes of the flows (B, 4, H, W), pixels, and of the fusion map (B, 1, H, W).

        Args:
            images: (B, 6 or 13, H, W); with flows so far: warped images and the fusion map too.
            flow: (B, 4, H, W), pixels; None before the first.
        """
        x = _resized(images, 1 / self.scale)
        if flow is not None:
            x = torch.cat((x, _resized(flow, 1 / self.scale) / self.scale), 1)
        x = self.reduce(x)
        x = _resized(self.head(self.body(x) + x), 2 * self.scale)
        return 2 * self.scale * x[:, :4], x[:, 4:]


class RifeSized(nn.Module):
    """Frames (B, 3, H, W) at 0 and 1 to the frame at 0.5; H and W are multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (6, 17, 17)
        self.blocks = nn.ModuleList(map(FlowBlock, inputs, WIDTHS, SCALES))
        c = CONTEXT
        channels = (3, c, 2 * c, 4 * c, 8 * c)
        self.context = nn.ModuleList(map(_halved, channels[:-1], channels[1:]))
        # Frames, warped frames, fusion map, flows; from then on features and both warped contexts.
        self.down = nn.ModuleList(
            (_halved(17, 2 * c), *(_halved(k * c, k * c) for k in (4, 8, 16)))
        )
        self.up = nn.ModuleList(_doubled(k * c, k * c // 4) for k in (32, 16, 8, 4))
        self.head = nn.Conv2d(c, 3, 3, 1, 1)

    def forward(self, frame0: torch.Tensor, frame1: torch.Tensor) -> torch.Tensor:
        frames, flow, fusion = torch.cat((frame0, frame1), 1), None, None
        warped = frames
        for block in self.blocks:
            known = frames if flow is None else torch.cat((frames, warped, fusion), 1)
            flow_change, fusion_change = block(known, flow)
            flow = flow_change if flow is None else flow + flow_change
            fusion = fusion_change if fusion is None else fusion + fusion_change
            warped = torch.cat((warp(frame0, flow[:, :2]), warp(frame1, flow[:, 2:])), 1)
        weight = torch.sigmoid(fusion)
        merged = weight * warped[:, :3] + (1 - weight) * warped[:, 3:]
        residual = self._residual(frame0, frame1, warped, fusion, flow)
        return (merged + 2 * torch.sigmoid(residual) - 1).clamp(0, 1)

    def _residual(self, frame0, frame1, warped, fusion, flow) -> torch.Tensor:
        """Output (B, 3, H, W) of the U-Net, before the sigmoid."""
        left = self._warped_context(frame0, flow[:, :2])
        right = self._warped_context(frame1, flow[:, 2:])
        skips = [self.down[0](torch.cat((frame0, frame1, warped, fusion, flow), 1))]
        for level, down in enumerate(self.down[1:]):
            skips.append(down(torch.cat((skips[-1], left[level], right[level]), 1)))
        x = self.up[0](torch.cat((skips[3], left[3], right[3]), 1))
        for up, skip in zip(self.up[1:], skips[2::-1], strict=True):
            x = up(torch.cat((x, skip), 1))
        return self.head(x)

    def _warped_context(self, frame: torch.Tensor, flow: torch.Tensor) -> list[torch.Tensor]:
        """Features of a frame at 1/2 to 1/16, warped along a flow (B, 2, H, W) in pixels."""
        x, found = frame, []
        for level in self.context:
            x, flow = level(x), _resized(flow, 0.5) / 2
            found.append(warp(x, flow))
        return found
