"""Stage 1, encoder: features of one frame at 1/4, 1/8 and 1/16."""

import torch
import torch.nn as nn

from lift.config import ModelConfig
from lift.kernels.ops.frame_inputs.reference import normalize
from lift.model.blocks import ResidualBlock, checkpointed, conv, conv_act

FRAMES_PER_CHECKPOINT = 15


class Encoder(nn.Module):
    """(N, 3, H, W) in [0, 1] -> (N, c4, H/4, W/4), (N, c8, H/8, W/8), (N, c16, H/16, W/16).

    H and W must be multiples of 16. Without normalisation over space or batch, a frame's features
    depend on that frame alone and hardly on its crop. Where no other stage reads features at 1/16,
    there are none: None stands in their place.

    Attributes:
        recompute: use activation checkpointing: save only the normalized frames for backward, and
            hold the activations of a few frames at a time there.
    """

    recompute = False

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.backend = backend
        self.stem = conv(3, config.stem_channels, stride=2)
        widths = [config.stem_channels, config.c4, config.c8]
        self.has_s16 = config.global_motion or config.context_mode != "none"
        if self.has_s16:
            widths.append(config.c16)
        self.scales = nn.ModuleList()
        for c_in, c_out in zip(widths, widths[1:], strict=False):
            down = conv(c_in, c_out, stride=2)
            blocks = [ResidualBlock(c_out, backend=backend) for _ in range(config.encoder_blocks)]
            self.scales.append(nn.ModuleList([down, *blocks]))

    def forward(
        self, frames: torch.Tensor, normalized: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Features at three scales; `normalized` frames are the first of `frame_images`."""
        x = frames if normalized else normalize(frames)
        if self.recompute and torch.is_grad_enabled():
            chunks = x.split(FRAMES_PER_CHECKPOINT)
            parts = [checkpointed(self._features, chunk) for chunk in chunks]
            scales = tuple(torch.cat(scale) for scale in zip(*parts, strict=True))
        else:
            scales = self._features(x)
        return scales if self.has_s16 else (*scales, None)

    def _features(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = conv_act(self.stem, x, backend=self.backend)
        out = []
        for down, *blocks in self.scales:
            x = conv_act(down, x, backend=self.backend)
            for block in blocks:
                x = block(x)
            out.append(x)
        return tuple(out)


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line

    config = preset_from_command_line()
    describe(Encoder(config), torch.rand(2, 3, 256, 256))
