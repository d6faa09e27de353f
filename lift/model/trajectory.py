"""The path between the references, bent along the motion before and after them.

Two frames show where a point was and where it will be, not how it got there: half way along a
straight line is a guess. The frames before and after tell how its velocity changes. (Quadratic
motion: Xu et al., "Quadratic Video Interpolation", NeurIPS 2019; here cubic, for frames at any
times, and with weights that are learned.)
"""

import torch
import torch.nn as nn

from lift import kernels
from lift.config import ModelConfig
from lift.model.blocks import SLOPE, ResidualBlock, conv, resize, zero_conv
from lift.model.features import Neighbours
from lift.model.prediction import FlowEstimate

BELIEVED = 2.0  # logit of the share of a change of velocity that is believed before training
SIZE = 4.0  # quarter pixels: scales changes of velocity to about unit size


class Trajectory(nn.Module):
    """How each point's velocity changes, seen in the gaps beside the references, and how far each
    of the two is believed.

    With x(0) and x(1) where a point lies in the references, and the velocities v in the gaps
    before, between and after, the cubic through all four frames passes, at the target's time t,
    beside the straight line by

        t (t - 1) c,   c = (r - t) / (r - l) * (v - v_before) / (1 - l)  +  (t - l) / (r - l) *
        (v_after - v) / r

    for neighbours at times l < 0 and r > 1: Newton's form, written as a mean of the two second
    differences. Where one neighbour is missing the other's difference stands alone (a parabola
    through three frames); without both the line stays straight.
    """

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.backend = backend
        self.context = nn.Conv2d(config.attn_channels, config.trajectory_channels, 1)
        self.gather = conv(config.hidden4 + 6, config.trajectory_channels)
        self.net = nn.Sequential(
            nn.LeakyReLU(SLOPE, inplace=True), ResidualBlock(config.trajectory_channels)
        )
        self.head = zero_conv(config.trajectory_channels, 4)

    def forward(
        self,
        estimate: FlowEstimate,
        hidden: torch.Tensor,
        neighbours: Neighbours,
        context: torch.Tensor,
        t: torch.Tensor,
    ) -> FlowEstimate:
        """The estimate with both flows bent.

        Args:
            estimate: at 1/4, of straight paths; hidden: (B, hidden4, H/4, W/4), its features.
            neighbours: the motion in the gaps before and after.
            context: (B, C, H/16, W/16).
            t: (B,), in (0, 1).
        """
        before, after = self.changes(estimate, neighbours)
        motion = estimate.flow_t1 - estimate.flow_t0
        x = self.gather(
            torch.cat((hidden, before / SIZE, after / SIZE, motion * (4 / 32)), 1)
        ) + resize(self.context(context), 4)
        d = self.head(self.net(x)).float()
        share = torch.sigmoid(BELIEVED + d[:, :2]) * self.weights(neighbours, t)
        known = neighbours.known.any(1).view(-1, 1, 1, 1)
        curvature = share[:, :1] * before + share[:, 1:] * after + d[:, 2:] * known
        off = (t * (t - 1)).view(-1, 1, 1, 1) * curvature
        return FlowEstimate(
            estimate.flow_t0 - off,
            estimate.flow_t1 - off,
            estimate.occ_t0,
            estimate.occ_t1,
            estimate.scale,
        )

    def changes(
        self, estimate: FlowEstimate, neighbours: Neighbours
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Second differences of each point's place over the frames up to and from the references,
        (B, 2, h, w) each, 0 where unknown.
        """
        motion = estimate.flow_t1 - estimate.flow_t0
        left, right = neighbours.times.view(-1, 2, 1, 1, 1).unbind(1)
        # A neighbour's motion is known where its points are half way through its gap; at this speed
        # they get there in half the gap's time.
        seen = kernels.warp(
            neighbours.before, estimate.flow_t0 + left / 2 * motion, backend=self.backend
        )
        before = (motion - seen / -left) / (1 - left)
        seen = kernels.warp(
            neighbours.after, estimate.flow_t1 + (right - 1) / 2 * motion, backend=self.backend
        )
        after = (seen / (right - 1) - motion) / right
        known = neighbours.known.view(-1, 2, 1, 1, 1)
        return torch.where(known[:, 0], before, 0), torch.where(known[:, 1], after, 0)

    @staticmethod
    def weights(neighbours: Neighbours, t: torch.Tensor) -> torch.Tensor:
        """(B, 2, 1, 1): the weights of the two second differences, 0 where unknown; they sum to 1
        where any is known.
        """
        left, right = neighbours.times.unbind(1)
        both = torch.stack((right - t, t - left), 1) / (right - left)[:, None]
        weights = torch.where(neighbours.known.all(1, keepdim=True), both, 1.0)
        return torch.where(neighbours.known, weights, 0.0).view(-1, 2, 1, 1)


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line, random_estimate

    config = preset_from_command_line()
    neighbours = Neighbours(
        *torch.randn(2, 2, 2, 64, 64),
        torch.tensor([[-1.0, 2.0]]).expand(2, 2),
        torch.ones(2, 2, dtype=torch.bool),
    )
    describe(
        Trajectory(config),
        random_estimate(),
        torch.rand(2, config.hidden4, 64, 64),
        neighbours,
        torch.rand(2, config.attn_channels, 16, 16),
        torch.full((2,), 0.5),
    )
