"""Stage 1, encoder: features of one frame at 1/4, 1/8 and 1/16."""

import torch
import torch.nn as nn

from lift.config import ModelConfig
from lift.model.blocks import ResidualBlock, checkpointed, conv, leaky_relu_

FRAMES_PER_CHECKPOINT = 15


class Encoder(nn.Module):
    """(N, 3, H, W) in [0, 1] -> (N, c4, H/4, W/4), (N, c8, H/8, W/8), (N, c16, H/16, W/16).

    H and W must be multiples of 16. Without normalisation over space or batch, a frame's features
    depend on that frame alone and hardly on its crop.

    Attributes:
        recompute: use activation checkpointing: save only the frames for backward, and hold the
            activations of a few frames at a time there.
    """

    recompute = False

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.stem = conv(3, config.stem_channels, stride=2)
        widths = (config.stem_channels, config.c4, config.c8, config.c16)
        self.scales = nn.ModuleList()
        for c_in, c_out in zip(widths, widths[1:], strict=False):
            down = conv(c_in, c_out, stride=2)
            blocks = (ResidualBlock(c_out) for _ in range(config.encoder_blocks))
            self.scales.append(nn.ModuleList([down, *blocks]))

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if not (self.recompute and torch.is_grad_enabled()):
            return self._features(frames)
        chunks = frames.split(FRAMES_PER_CHECKPOINT)
        parts = [checkpointed(self._features, chunk) for chunk in chunks]
        return tuple(torch.cat(scale) for scale in zip(*parts, strict=True))

    def _features(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # Natural images have about unit variance after this scaling.
        x = leaky_relu_(self.stem((frames - 0.5) * 4))
        out = []
        for down, *blocks in self.scales:
            x = leaky_relu_(down(x))
            for block in blocks:
                x = block(x)
            out.append(x)
        return tuple(out)


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line

    config = preset_from_command_line()
    describe(Encoder(config), torch.rand(2, 3, 256, 256))
