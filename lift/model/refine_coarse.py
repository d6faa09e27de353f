"""Stage 5 without a blend at full resolution, for an ablation: the coarse frame plus details."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from lift.config import ModelConfig
from lift.model.blocks import (
    PointwiseConv,
    ResidualBlock,
    append_image,
    checkpointed,
    conv,
    conv_act,
    kaiming,
    upsample,
    zero_conv,
)
from lift.model.types import FlowEstimate, ReferenceImages


class CoarseRefinement(nn.Module):
    """Details of the enlarged coarse frame, which start at zero.

    It takes the arguments of `Refinement` and reads neither references nor flows: what the blend at
    1/4 lost can only be guessed.

    Attributes:
        recompute: as of `Refinement`.
    """

    recompute = False

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.stride, self.backend = config.refine_stride, backend
        area, channels = config.refine_stride**2, config.refine_channels
        self.reduce = kaiming(PointwiseConv(config.hidden4 + 3, channels, backend))
        self.conv_in = conv(3 * area, channels)
        self.body = nn.Sequential(
            *(ResidualBlock(channels, norm=True, backend=backend) for _ in range(2))
        )
        self.head = zero_conv(channels, 3 * area)

    def forward(
        self,
        images: ReferenceImages | None,
        estimate: FlowEstimate,
        hidden: torch.Tensor,
        coarse: torch.Tensor,
        t: torch.Tensor,
    ) -> torch.Tensor:
        """Frame (B, 3, H, W) of hidden (B, hidden4, H/4, W/4) and coarse (B, 3, H/4, W/4)."""
        if not (self.recompute and torch.is_grad_enabled()):
            return self._frame(hidden, coarse)
        clips = zip(hidden.split(1), coarse.split(1), strict=True)
        return torch.cat([checkpointed(self._frame, *clip) for clip in clips])

    def _frame(self, hidden: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        frame, s = upsample(coarse, 4), self.stride
        features = self.reduce(append_image(hidden, coarse))
        x = F.pixel_unshuffle(frame, s).to(features.dtype)
        x = self.body(conv_act(self.conv_in, x, features, backend=self.backend))
        detail = self.head(x).to(frame.dtype)
        return frame + (F.pixel_shuffle(detail, s) if s > 1 else detail)


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line, random_estimate

    config = preset_from_command_line()
    describe(
        CoarseRefinement(config),
        None,
        random_estimate(),
        torch.rand(2, config.hidden4, 64, 64),
        torch.rand(2, 3, 64, 64),
        torch.full((2,), 0.5),
    )
