"""Curved trajectories: how each point's velocity changes, from the motion beside the references.

(Quadratic motion: Xu et al., "Quadratic Video Interpolation", NeurIPS 2019; here polynomials
through up to eight frames at any times, weighted by learned confidences. The formula is in
`adjacent`.)
"""

import torch
import torch.nn as nn

from lift import kernels
from lift.config import ModelConfig
from lift.model.adjacent import AdjacentMotion, path_differences, path_weights, side_agreement
from lift.model.blocks import SLOPE, ResidualBlock, conv, upsample, zero_conv
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
        noise = torch.tensor([-n / (n + 1) for n in range(4, self.gaps + 1, 2)])
        self.register_buffer("noise_agreement", noise.view(-1, 1, 1), persistent=False)
        channels = config.trajectory_channels
        self.context_proj = nn.Conv2d(config.attn_channels, channels, 1)
        self.conv_in = conv(config.hidden4 + 2 + 2 * self.gaps, channels)
        self.body = nn.Sequential(nn.LeakyReLU(SLOPE, inplace=True), ResidualBlock(channels))
        self.head = zero_conv(channels, 2 + self.gaps)
        with torch.no_grad():
            self.head.bias[:2] = INIT_LOGIT - CONFIDENCE_LOGIT

    def forward(
        self,
        estimate: FlowEstimate,
        hidden: torch.Tensor,
        adjacent: AdjacentMotion,
        context: torch.Tensor,
        t: torch.Tensor,
    ) -> FlowEstimate:
        """The estimate with both flows along curved trajectories.

        Args:
            estimate: at 1/4, along straight paths; hidden: (B, hidden4, H/4, W/4), its features.
            adjacent: the motion in the gaps before and after, at most `path_frames` - 2 gaps.
            context: (B, C, H/16, W/16).
            t: (B,), in (0, 1).
        """
        differences = path_differences(estimate.flow_t0, estimate.flow_t1, adjacent, self._warp)
        gaps = differences.shape[1]
        if gaps < self.gaps:
            unknown = differences.new_zeros(len(t), self.gaps - gaps, *differences.shape[2:])
            differences = torch.cat((differences, unknown), 1)
        velocity = estimate.flow_t1 - estimate.flow_t0
        inputs = (
            hidden,
            differences[:, :2].flatten(1, 2) / ACCEL_SCALE,
            velocity * (4 / 32),
            differences[:, 2:].flatten(1, 2) / OUTER_SCALE,
        )
        x = self.conv_in(torch.cat(inputs, 1)) + upsample(self.context_proj(context), 4)
        d = self.head(self.body(x)).float()
        confidence = torch.sigmoid(CONFIDENCE_LOGIT + d[:, :2])
        if gaps > 2:
            agreement = side_agreement(differences[:, 2:gaps])
            trust = (agreement - self.noise_agreement[: gaps // 2 - 1]).clamp(0, 1)
            outer = LARGEST_WEIGHT * torch.sigmoid(d[:, 4 : 2 + gaps])
            confidence = torch.cat((confidence, outer * trust.repeat_interleave(2, 1)), 1)
        weights = path_weights(adjacent, t)[..., None, None] * confidence
        residual = (t * (t - 1) * adjacent.valid[:, :2].any(1)).view(-1, 1, 1, 1) * d[:, 2:4]
        offset = (weights[:, :, None] * differences[:, :gaps]).sum(1) + residual
        parts = estimate.flow_t0 - offset, estimate.flow_t1 - offset, estimate.state[:, 4:]
        return FlowEstimate(torch.cat(parts, 1), estimate.scale)

    def _warp(self, motions: torch.Tensor, flows: torch.Tensor) -> torch.Tensor:
        return kernels.warp(motions, flows, backend=self.backend)


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
