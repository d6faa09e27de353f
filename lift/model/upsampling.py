"""Learned upsampling of flows and visibilities: each fine pixel mixes the coarse ones around it.

Bilinear upsampling blurs the edge of a motion over a coarse pixel. With predicted weights a fine
pixel takes the flow of the side to which it belongs. (Teed and Deng, "RAFT", ECCV 2020.)
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from lift.config import ModelConfig
from lift.model.blocks import upsample, without_autocast
from lift.model.types import FlowEstimate

FACTOR = 2
BILINEAR = ((0.25, 0.75, 0.0), (0.0, 0.75, 0.25))  # of three coarse pixels, for two fine ones
SMALLEST = 0.0025  # weight at the start of the pixels that bilinear upsampling does not use


class ConvexUpsampling(nn.Module):
    """Upsampling by 2 with weights of the 3 x 3 coarse pixels around; it starts as bilinear.

    Args:
        channels: of the features that the weights are predicted from.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.head = nn.Conv2d(channels, FACTOR**2 * 9, 1, bias=False)
        nn.init.zeros_(self.head.weight)
        rows = torch.tensor(BILINEAR)
        weights = torch.einsum("iy,jx->ijyx", rows, rows).reshape(-1)
        self.prior = nn.Parameter(weights.clamp(min=SMALLEST).log())

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) and features (B, channels, h, w) of the same scale -> (B, C, 2h, 2w)."""
        b, c, h, w = x.shape
        weights = self.head(hidden)
        with without_autocast(x.device):  # half precision would round the flows
            weights = (
                weights.float().reshape(b, FACTOR**2, 9, h, w) + self.prior.view(FACTOR**2, 9, 1, 1)
            ).softmax(2)
            around = F.pad(x.float(), (1, 1, 1, 1), mode="replicate").unsqueeze(2)
            shifted = [around[..., i : i + h, j : j + w] for i in range(3) for j in range(3)]
            # a sum over planes, since a CPU is slow at a matrix product per pixel
            fine = shifted[0] * weights[:, None, :, 0]
            for k in range(1, 9):
                fine.addcmul_(shifted[k], weights[:, None, :, k])
        return F.pixel_shuffle(fine.reshape(b, c * FACTOR**2, h, w), FACTOR)


class FlowUpsampling(nn.Module):
    """An estimate at twice its resolution, flows in pixels of the finer scale.

    Args:
        channels: of the estimate's hidden features.
        config: whether the weights are predicted or bilinear.
    """

    def __init__(self, channels: int, config: ModelConfig):
        super().__init__()
        self.convex = ConvexUpsampling(channels) if config.convex_upsampling else None

    def forward(self, coarser: FlowEstimate, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Flows (B, 2, 2h, 2w) and visibility logits (B, 1, 2h, 2w) of both references.

        Args:
            coarser: at (h, w).
            hidden: (B, channels, h, w).
        """
        state = torch.cat((FACTOR * coarser.state[:, :4], coarser.state[:, 4:]), 1)
        state = upsample(state, FACTOR) if self.convex is None else self.convex(state, hidden)
        return state.split((2, 2, 1, 1), 1)
