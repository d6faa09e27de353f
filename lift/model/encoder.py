"""Stage 1, encoder: features of one frame at 1/4, 1/8 and 1/16."""

import torch
import torch.nn as nn

from lift.config import ModelConfig
from lift.model.blocks import ResidualBlock, activate, conv, recomputed

PART = 15  # frames that are recomputed together


class Encoder(nn.Module):
    """(N, 3, H, W) in [0, 1] -> (N, c4, H/4, W/4), (N, c8, H/8, W/8), (N, c16, H/16, W/16); H and W
    multiples of 16.

    Without normalisation over space or batch, a frame's features depend on that frame alone and
    hardly on its crop.

    `recompute`: keep the frames alone for backward, which then holds the intermediate results of a
    few frames at a time.
    """

    recompute = False

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.stem = conv(3, config.stem_channels, stride=2)
        widths = (config.stem_channels, config.c4, config.c8, config.c16)
        self.scales = nn.ModuleList(
            nn.ModuleList(
                [conv(a, b, stride=2), *(ResidualBlock(b) for _ in range(config.encoder_blocks))]
            )
            for a, b in zip(widths, widths[1:], strict=False)
        )

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if not (self.recompute and torch.is_grad_enabled()):
            return self._features(frames)
        parts = [recomputed(self._features, part) for part in frames.split(PART)]
        return tuple(torch.cat(scale) for scale in zip(*parts, strict=True))

    def _features(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = activate(self.stem((frames - 0.5) * 4))  # natural images then have about unit variance
        out = []
        for down, *blocks in self.scales:
            x = activate(down(x))
            for block in blocks:
                x = block(x)
            out.append(x)
        return tuple(out)


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line

    config = preset_from_command_line()
    describe(Encoder(config), torch.rand(2, 3, 256, 256))
