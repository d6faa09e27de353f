"""Learned upsampling of flows and visibilities: each fine pixel mixes the coarse ones around it.

Bilinear upsampling blurs the edge of a motion over a coarse pixel. With predicted weights a fine
pixel takes the flow of the side to which it belongs. (Teed and Deng, "RAFT", ECCV 2020.)
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from lift import kernels
from lift.config import ModelConfig
from lift.kernels.ops.convex_upsample.reference import WEIGHTS
from lift.model.blocks import upsample, without_autocast
from lift.model.types import FlowEstimate

BILINEAR = ((0.25, 0.75, 0.0), (0.0, 0.75, 0.25))  # of three coarse pixels, for two fine ones
SMALLEST = 0.0025  # weight at the start of the pixels that bilinear upsampling does not use


class ConvexUpsampling(nn.Module):
    """Upsampling by 2 with weights of the 3 x 3 coarse pixels around; it starts as bilinear.

    Args:
        channels: of the features that the weights are predicted from.
        backend: of the kernels.
    """

    def __init__(self, channels: int, backend: str = "auto"):
        super().__init__()
        self.backend = backend
        self.head = nn.Conv2d(channels, WEIGHTS, 1, bias=False)
        nn.init.zeros_(self.head.weight)
        rows = torch.tensor(BILINEAR)
        weights = torch.einsum("iy,jx->ijyx", rows, rows).reshape(-1)
        self.prior = nn.Parameter(weights.clamp(min=SMALLEST).log())

    def forward(self, state: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """(B, 6, h, w) and features (B, channels, h, w) of the same scale -> (B, 6, 2h, 2w)."""
        logits = self.head(hidden)
        with without_autocast(state.device):  # half precision would round the flows
            return kernels.convex_upsample(state, logits, self.prior, backend=self.backend)


class FlowUpsampling(nn.Module):
    """An estimate at twice its resolution, flows in pixels of the finer scale.

    Args:
        channels: of the estimate's hidden features.
        config: whether the weights are predicted or bilinear.
        backend: of the kernels.
    """

    def __init__(self, channels: int, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.convex = ConvexUpsampling(channels, backend) if config.convex_upsampling else None

    def forward(self, coarser: FlowEstimate, hidden: torch.Tensor) -> torch.Tensor:
        """The state (B, 6, 2h, 2w), as in `FlowEstimate`.

        Args:
            coarser: at (h, w).
            hidden: (B, channels, h, w).
        """
        if self.convex is not None:
            return self.convex(coarser.state, hidden)
        state = coarser.state
        return upsample(torch.cat((2 * state[:, :4], state[:, 4:]), 1), 2)


def enlarged(
    estimate: FlowEstimate,
    hidden: torch.Tensor,
    context: torch.Tensor | None,
    size: tuple[int, int],
) -> tuple[FlowEstimate, torch.Tensor, torch.Tensor | None]:
    """What was found on reduced frames, bilinearly enlarged to another size at 1/4.

    Args:
        estimate: (B, 6, h, w) at 1/4 of the reduced frames.
        hidden, context: (B, hidden4, h, w) and (B, C, h/4, w/4); no context stays None.
        size: H/4 and W/4 of the frames themselves.

    Returns:
        The three with H/4, W/4 in place of h, w; flows in pixels of H/4, W/4.
    """
    (height, width), (h, w) = size, estimate.state.shape[-2:]

    def enlarge(x: torch.Tensor, *size: int) -> torch.Tensor:
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)

    flows, visibility = estimate.state.split((4, 2), 1)
    dx, dy = flows[:, 0::2] * (width / w), flows[:, 1::2] * (height / h)
    flows = torch.stack((dx, dy), 2).flatten(1, 2)
    state = torch.cat((flows, visibility), 1)
    return (
        FlowEstimate(enlarge(state, height, width), estimate.scale),
        enlarge(hidden, height, width),
        None if context is None else enlarge(context, height // 4, width // 4),
    )
