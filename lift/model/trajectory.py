"""Curved trajectories: acceleration of each point, from the motion before and after the references.

(Quadratic motion: Xu et al., "Quadratic Video Interpolation", NeurIPS 2019; here cubic, for frames
at any times, and weighted by a learned confidence. The formula is in `adjacent`.)
"""

import torch
import torch.nn as nn

from lift import kernels
from lift.config import ModelConfig
from lift.model.adjacent import (
    AdjacentMotion,
    acceleration_after,
    acceleration_before,
    acceleration_weights,
)
from lift.model.blocks import SLOPE, ResidualBlock, conv, upsample, zero_conv
from lift.model.types import FlowEstimate

CONFIDENCE_INIT_LOGIT = 2.0  # confidence in both accelerations before training: sigmoid(2) = 0.88
ACCEL_SCALE = 4.0  # quarter-resolution pixels; scales accelerations to about unit size


class Trajectory(nn.Module):
    """Accelerations from the gaps beside the references, weighted by a learned confidence.

    Convolutions predict the confidence in each of the two accelerations and a residual.
    """

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.backend = backend
        channels = config.trajectory_channels
        self.context_proj = nn.Conv2d(config.attn_channels, channels, 1)
        self.conv_in = conv(config.hidden4 + 6, channels)
        self.body = nn.Sequential(nn.LeakyReLU(SLOPE, inplace=True), ResidualBlock(channels))
        self.head = zero_conv(channels, 4)

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
            adjacent: the motion in the gaps before and after.
            context: (B, C, H/16, W/16).
            t: (B,), in (0, 1).
        """
        before, after = self.accelerations(estimate, adjacent)
        velocity = estimate.flow_t1 - estimate.flow_t0
        inputs = (hidden, before / ACCEL_SCALE, after / ACCEL_SCALE, velocity * (4 / 32))
        x = self.conv_in(torch.cat(inputs, 1)) + upsample(self.context_proj(context), 4)
        d = self.head(self.body(x)).float()
        confidence = torch.sigmoid(CONFIDENCE_INIT_LOGIT + d[:, :2])
        weights = confidence * self.weights(adjacent, t)
        valid = adjacent.valid.any(1).view(-1, 1, 1, 1)
        acceleration = weights[:, :1] * before + weights[:, 1:] * after + d[:, 2:] * valid
        offset = (t * (t - 1)).view(-1, 1, 1, 1) * acceleration
        return FlowEstimate(
            flow_t0=estimate.flow_t0 - offset,
            flow_t1=estimate.flow_t1 - offset,
            occ_t0=estimate.occ_t0,
            occ_t1=estimate.occ_t1,
            scale=estimate.scale,
        )

    def accelerations(
        self, estimate: FlowEstimate, adjacent: AdjacentMotion
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Second differences over the frames up to and from the references.

        Returns:
            (B, 2, h, w) each, in pixels of 1/4 per squared reference interval, 0 where not valid.
        """
        velocity = estimate.flow_t1 - estimate.flow_t0
        left, right = adjacent.times.view(-1, 2, 1, 1, 1).unbind(1)
        # Adjacent motion is given where points are half way through the gap beside; at this
        # velocity they get there in half the gap's time.
        flow_before = estimate.flow_t0 + left / 2 * velocity
        before = kernels.warp(adjacent.before, flow_before, backend=self.backend)
        flow_after = estimate.flow_t1 + (right - 1) / 2 * velocity
        after = kernels.warp(adjacent.after, flow_after, backend=self.backend)
        valid = adjacent.valid.view(-1, 2, 1, 1, 1)
        return (
            torch.where(valid[:, 0], acceleration_before(velocity, before, left), 0),
            torch.where(valid[:, 1], acceleration_after(velocity, after, right), 0),
        )

    @staticmethod
    def weights(adjacent: AdjacentMotion, t: torch.Tensor) -> torch.Tensor:
        """Weights of the two accelerations, (B, 2, 1, 1).

        0 where not valid; they sum to 1 where any is valid.
        """
        both = torch.stack(acceleration_weights(*adjacent.times.unbind(1), t), 1)
        weights = torch.where(adjacent.valid.all(1, keepdim=True), both, 1.0)
        return torch.where(adjacent.valid, weights, 0.0).view(-1, 2, 1, 1)


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line, random_estimate

    config = preset_from_command_line()
    adjacent = AdjacentMotion(
        *torch.randn(2, 2, 2, 64, 64),
        times=torch.tensor([[-1.0, 2.0]]).expand(2, 2),
        valid=torch.ones(2, 2, dtype=torch.bool),
    )
    describe(
        Trajectory(config),
        random_estimate(),
        torch.rand(2, config.hidden4, 64, 64),
        adjacent,
        torch.rand(2, config.attn_channels, 16, 16),
        torch.full((2,), 0.5),
    )
