"""Stage 4, coarse synthesis: both references warped and blended at 1/4, and a context residual."""

import torch
import torch.nn as nn

from lift import kernels
from lift.config import ModelConfig
from lift.model.blocks import append_image, conv, conv_act, zero_conv
from lift.model.context import context_proj
from lift.model.types import FlowEstimate


class CoarseSynthesis(nn.Module):
    """Warp and blend, plus a residual that two convolutions predict; it starts at zero.

    Inputs of the convolutions are the blend, the hidden features of the flow and the context.
    """

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.backend = backend
        self.context_proj = context_proj(config, config.refine_channels, backend)
        self.conv_in = conv(config.hidden4 + 3, config.refine_channels)
        self.head = zero_conv(config.refine_channels, 3)

    def forward(
        self,
        quarter0: torch.Tensor,
        quarter1: torch.Tensor,
        estimate: FlowEstimate,
        hidden: torch.Tensor,
        context: torch.Tensor | None,
    ) -> torch.Tensor:
        """Coarse frame (B, 3, H/4, W/4).

        Args:
            quarter0, quarter1: (B, 3, H/4, W/4), the references, [0, 1].
            estimate: flows and visibilities at 1/4.
            hidden: (B, hidden4, H/4, W/4).
            context: (B, C, H/16, W/16); None where the context mode is none.
        """
        blend = kernels.warp_blend(
            quarter0,
            quarter1,
            *estimate.state.split(
                (2, 2, 1, 1), 1
            ),  # unlike slices, they have one gradient together
            backend=self.backend,
        )
        context = None if context is None else self.context_proj(context)
        x = conv_act(self.conv_in, append_image(hidden, blend), context, backend=self.backend)
        return conv_act(self.head, x, skip=blend, slope=1, backend=self.backend)


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line, random_estimate

    config = preset_from_command_line()
    describe(
        CoarseSynthesis(config),
        torch.rand(2, 3, 64, 64),
        torch.rand(2, 3, 64, 64),
        random_estimate(),
        torch.rand(2, config.hidden4, 64, 64),
        torch.rand(2, config.attn_channels, 16, 16),
    )
