"""Curved trajectories: how each point's velocity changes, from the motion beside the references.

(Quadratic motion: Xu et al., "Quadratic Video Interpolation", NeurIPS 2019; here polynomials
through up to eight frames at any times, weighted by learned confidences. The formula is in
`adjacent`.)
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from lift import kernels
from lift.config import ModelConfig
from lift.model.adjacent import AdjacentMotion
from lift.model.blocks import ResidualBlock, conv, conv_act, zero_conv
from lift.model.context import context_proj
from lift.model.types import FlowEstimate

CONFIDENCE_LOGIT = 2.0  # offset of the logits of confidences in accelerations
INIT_LOGIT = 4.0  # of those before training: 0.98, since most paths are smooth
# Largest weight of a difference above order 2. It starts at half of this; where motion oscillates,
# a weight above 1 stands for differences of yet higher orders, which bend the path the same way.
LARGEST_WEIGHT = 2.0
# In quarter-resolution pixels; they scale differences of order 2 and above to about unit size.
ACCEL_SCALE = 4.0
OUTER_SCALE = 1.0


class Trajectory(nn.Module):
    """Divided differences over the frames beside the references, weighted by learned confidences.

    Convolutions predict the confidence in each difference and a residual acceleration. Differences
    above order 2 count as far as the two sides agree, so that random displacements of the frames do
    not bend the path.
    """

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.backend = backend
        self.gaps = config.path_frames - 2
        # in noise, the correlation between the two sides' differences of the orders above 2
        self.noise_agreement = tuple([-n / (n + 1) for n in range(4, self.gaps + 1, 2)])
        channels = config.trajectory_channels
        self.context_proj = context_proj(config, channels, backend)
        self.conv_in = conv(config.hidden4 + 2 + 2 * self.gaps, channels)
        # the activation is part of `conv_act`; the names of the weights remain
        self.body = nn.Sequential(nn.Identity(), ResidualBlock(channels, backend=backend))
        self.head = zero_conv(channels, 2 + self.gaps)
        with torch.no_grad():
            self.head.bias[:2] = INIT_LOGIT - CONFIDENCE_LOGIT

    def forward(
        self,
        estimate: FlowEstimate,
        hidden: torch.Tensor,
        adjacent: AdjacentMotion,
        context: torch.Tensor | None,
        t: torch.Tensor,
    ) -> FlowEstimate:
        """The estimate with both flows along curved trajectories.

        Args:
            estimate: at 1/4, along straight paths; hidden: (B, hidden4, H/4, W/4), its features.
            adjacent: the motion in the gaps before and after, at most `path_frames` - 2 gaps.
            context: (B, C, H/16, W/16); None where the context mode is none.
            t: (B,), in (0, 1).
        """
        inputs, differences = kernels.path_inputs(
            hidden,
            estimate.state,
            adjacent.motions,
            adjacent.times,
            adjacent.valid,
            self.gaps,
            (1 / ACCEL_SCALE, 4 / 32, 1 / OUTER_SCALE),
            backend=self.backend,
        )
        context = None if context is None else self.context_proj(context)
        x = conv_act(self.conv_in, inputs, context, backend=self.backend)
        x = self.body(x)
        state = kernels.curve_flows(
            F.conv2d(x, self.head.weight, padding=self.head.padding),
            self.head.bias,
            estimate.state,
            differences,
            adjacent.times,
            adjacent.valid,
            t,
            CONFIDENCE_LOGIT,
            LARGEST_WEIGHT,
            self.noise_agreement,
            backend=self.backend,
        )
        return FlowEstimate(state, estimate.scale)


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line, random_estimate

    config = preset_from_command_line()
    gaps = config.path_frames - 2
    adjacent = AdjacentMotion(
        motions=torch.randn(2, gaps, 2, 64, 64),
        times=torch.tensor([[-1.0, 2.0, -2.0, 3.0, -3.0, 4.0]])[:, :gaps].expand(2, gaps),
        valid=torch.ones(2, gaps, dtype=torch.bool),
    )
    describe(
        Trajectory(config),
        random_estimate(),
        torch.rand(2, config.hidden4, 64, 64),
        adjacent,
        torch.rand(2, config.attn_channels, 16, 16),
        torch.full((2,), 0.5),
    )
