"""Stage 4, coarse synthesis: both references warped and blended at 1/4, with a light correction
from the context.
"""

import torch
import torch.nn as nn

from lift import kernels
from lift.config import ModelConfig
from lift.model.blocks import activate, conv, resize, zero_conv
from lift.model.prediction import FlowEstimate


class CoarseSynthesis(nn.Module):
    """Two convolutions see the blend, the flow's hidden features and the context; their correction
    starts at zero.
    """

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.backend = backend
        self.context = nn.Conv2d(config.attn_channels, config.refine_channels, 1)
        self.gather = conv(config.hidden4 + 3, config.refine_channels)
        self.head = zero_conv(config.refine_channels, 3)

    def forward(
        self,
        small0: torch.Tensor,
        small1: torch.Tensor,
        estimate: FlowEstimate,
        hidden: torch.Tensor,
        context: torch.Tensor,
    ) -> torch.Tensor:
        """Coarse frame (B, 3, H/4, W/4).

        Args:
            small0, small1: (B, 3, H/4, W/4), the references, [0, 1].
            estimate: flows and visibilities at 1/4.
            hidden: (B, hidden4, H/4, W/4).
            context: (B, C, H/16, W/16).
        """
        blend = kernels.warp_blend(
            small0,
            small1,
            estimate.flow_t0,
            estimate.flow_t1,
            estimate.occ_t0,
            estimate.occ_t1,
            backend=self.backend,
        )
        x = self.gather(torch.cat((hidden, blend), 1)) + resize(self.context(context), 4)
        return blend + self.head(activate(x))


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
