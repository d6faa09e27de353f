"""Stage 3, flow: global motion at 1/16, residual flows and visibilities at 1/8 and 1/4, curvature.

Everything before the curvature depends on two references and the target's time alone. A stream
therefore computes the motion in each gap once and uses it for three pairs: as the motion between
its own references, and as the motion before or after those of the two pairs beside it.
"""

import torch
import torch.nn as nn

from lift import kernels
from lift.config import ModelConfig
from lift.kernels.ops.correlation.reference import displacements
from lift.model.adjacent import AdjacentMotion
from lift.model.alignment import add_motion, luma, missing_motion
from lift.model.blocks import (
    SLOPE,
    ResidualBlock,
    avg_down,
    broadcast_map,
    conv,
    leaky_relu_,
    upsample,
    without_autocast,
    zero_conv,
)
from lift.model.trajectory import Trajectory
from lift.model.types import CostVolumes, FlowEstimate, FrameFeatures, Motion
from lift.model.upsampling import FlowUpsampling


class GlobalMotion(nn.Module):
    """Motion at 1/16 from a correlation of the references, on the target's grid.

    A straight path through target location x moves by m from the left to the right reference: it
    starts at x - t*m and ends at x + (1 - t)*m. The correlation of the references, which does not
    depend on t, is sampled at x - t*m for every m; a softmax over m gives the expected motion, and
    convolutions predict a residual. (Bilateral cost volumes: Park et al., "BMBC", ECCV 2020.)
    """

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.radius, self.backend = config.radius16, backend
        n = (2 * config.radius16 + 1) ** 2
        self.corr_proj = nn.Conv2d(config.c16, config.corr_channels, 1)
        self.register_buffer("displacements", displacements(config.radius16), persistent=False)
        self.inv_temperature = nn.Parameter(torch.tensor(10.0))
        # Among equal correlations the shorter motion is likelier.
        self.prior = nn.Parameter(-0.5 * self.displacements.norm(dim=1))
        self.decoder = nn.Sequential(
            conv(n + 2 * config.c16 + 3, config.hidden16, 1),
            nn.LeakyReLU(SLOPE, inplace=True),
            conv(config.hidden16, config.hidden16),
            nn.LeakyReLU(SLOPE, inplace=True),
            ResidualBlock(config.hidden16),
        )
        self.head = zero_conv(config.hidden16, 6)

    def correlation(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Correlation on the left reference's grid, (B, c16, h, w) twice -> (B, M, h, w).

        All targets between the two references share it.
        """
        left, right = self.corr_proj(left), self.corr_proj(right)
        return kernels.correlation(left, right, self.radius, normalize=True, backend=self.backend)

    def forward(self, left, right, correlation, t) -> tuple[FlowEstimate, torch.Tensor]:
        """The estimate at 1/16 and its hidden features (B, hidden16, h, w)."""
        b, m, h, w = correlation.shape
        shift = -t.float().view(-1, 1, 1) * self.displacements
        shift = shift.reshape(b * m, 2, 1, 1).expand(-1, -1, h, w)
        volume = correlation.reshape(b * m, 1, h, w)
        sampled = kernels.warp(volume, shift, backend=self.backend).view(b, m, h, w)
        with without_autocast(sampled.device):  # half precision would round the motion
            logits = self.inv_temperature * sampled.float() + self.prior.view(1, m, 1, 1)
            motion = torch.einsum("bmhw,mc->bchw", logits.softmax(1), self.displacements)
        t_map = broadcast_map(t, motion)
        inputs = (sampled, left, right, motion / self.radius, t_map)
        hidden = self.decoder(torch.cat(inputs, 1))
        d = self.head(hidden).float()
        flows = d[:, 0:2] - t_map * motion, d[:, 2:4] + (1 - t_map) * motion
        return FlowEstimate(torch.cat((*flows, d[:, 4:]), 1), 16), hidden


class FlowBlock(nn.Module):
    """Residual refinement of flows and visibilities at one scale.

    Inputs are the warped features and their local correlation.
    """

    def __init__(
        self,
        c: int,
        c_hidden_in: int,
        hidden: int,
        radius: int,
        scale: int,
        align: int,
        config: ModelConfig,
        backend: str = "auto",
    ):
        super().__init__()
        self.radius, self.scale, self.align, self.backend = radius, scale, align, backend
        self.corr_proj = nn.Conv2d(c, config.corr_channels, 1)
        self.hidden_proj = nn.Conv2d(c_hidden_in, hidden, 1)
        self.upsampling = FlowUpsampling(c_hidden_in, config)
        self.conv_in = conv(2 * c + (2 * radius + 1) ** 2 + 8 + 2 * bool(align), hidden, 1)
        self.body = nn.Sequential(
            conv(hidden, hidden),
            nn.LeakyReLU(SLOPE, inplace=True),
            *(ResidualBlock(hidden) for _ in range(config.flow_blocks)),
        )
        self.head = zero_conv(hidden, 6)

    def zero_motion_similarity(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Correlation at zero displacement, (B, c, h, w) twice -> (B, 1, h, w).

        All targets between the two references share it.
        """
        return self._correlation(left, right, 0)

    def forward(
        self, left, right, lumas, zero_motion, coarser: FlowEstimate, coarser_hidden, t
    ) -> tuple[FlowEstimate, torch.Tensor]:
        """The estimate at this scale and its hidden features (B, hidden, h, w).

        Args:
            left, right: (B, c, h, w), features of the references.
            lumas: (B, 1, h, w) of each.
            zero_motion: (B, 1, h, w), what `zero_motion_similarity` returned.
            coarser, coarser_hidden: the estimate at the next coarser scale and its features.
            t: (B,).
        """
        flow0, flow1, occ0, occ1 = self.upsampling(coarser, coarser_hidden)
        aligned = []
        if self.align:
            missing = missing_motion(*lumas, flow0, flow1, t, self.align, self.backend)
            flow0, flow1 = add_motion(flow0, flow1, missing, t)
            aligned = [missing]
        warped0 = kernels.warp(left, flow0, backend=self.backend)
        warped1 = kernels.warp(right, flow1, backend=self.backend)
        local = self._correlation(warped0, warped1, self.radius)
        # The factor gives usual motion about unit size.
        flows = torch.cat((flow0, flow1), 1) * (self.scale / 32)
        t_map = broadcast_map(t, flow0)
        x = self.conv_in(
            torch.cat((warped0, warped1, local, zero_motion, flows, occ0, occ1, t_map, *aligned), 1)
        )
        x = x + upsample(self.hidden_proj(coarser_hidden), 2)
        hidden = self.body(leaky_relu_(x))
        state = torch.cat((flow0, flow1, occ0, occ1), 1) + self.head(hidden).float()
        return FlowEstimate(state, self.scale), hidden

    def _correlation(self, left, right, radius: int) -> torch.Tensor:
        left, right = self.corr_proj(left), self.corr_proj(right)
        return kernels.correlation(left, right, radius, normalize=True, backend=self.backend)


class FlowCascade(nn.Module):
    """Global motion at 1/16 -> 1/8 -> 1/4, then curved trajectories."""

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.global_motion = GlobalMotion(config, backend)
        self.block8 = FlowBlock(
            config.c8,
            config.hidden16,
            config.hidden8,
            config.radius8,
            8,
            config.align8,
            config,
            backend,
        )
        self.block4 = FlowBlock(
            config.c4,
            config.hidden8,
            config.hidden4,
            config.radius4,
            4,
            config.align4,
            config,
            backend,
        )
        self.trajectory = Trajectory(config, backend)

    def correlate(self, left: FrameFeatures, right: FrameFeatures) -> CostVolumes:
        """Cost volumes of B pairs of references, shared by all targets between the two."""
        return CostVolumes(
            correlation=self.global_motion.correlation(left.s16, right.s16),
            zero_motion8=self.block8.zero_motion_similarity(left.s8, right.s8),
            zero_motion4=self.block4.zero_motion_similarity(left.s4, right.s4),
        )

    def forward(
        self,
        left: FrameFeatures,
        right: FrameFeatures,
        cost_volumes: CostVolumes,
        t: torch.Tensor,
    ) -> Motion:
        """The motion between the references on the grid of the target at t.

        Args:
            left, right: features of the references, B frames each.
            cost_volumes: what `correlate` returned for them.
            t: (B,).
        """
        volumes = cost_volumes
        lumas4 = luma(left.quarter), luma(right.quarter)
        lumas8 = [avg_down(x, 2) for x in lumas4]
        estimate16, hidden = self.global_motion(left.s16, right.s16, volumes.correlation, t)
        estimate8, hidden = self.block8(
            left.s8, right.s8, lumas8, volumes.zero_motion8, estimate16, hidden, t
        )
        estimate4, hidden = self.block4(
            left.s4, right.s4, lumas4, volumes.zero_motion4, estimate8, hidden, t
        )
        return Motion((estimate16, estimate8, estimate4), hidden)

    def curve(
        self, motion: Motion, adjacent: AdjacentMotion, context: torch.Tensor, t: torch.Tensor
    ) -> FlowEstimate:
        """The estimate at 1/4 along curved trajectories; context (B, C, H/16, W/16)."""
        return self.trajectory(motion.cascade[-1], motion.hidden, adjacent, context, t)


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line, random_features

    config = preset_from_command_line()
    left, right = random_features(config), random_features(config)
    stage = FlowCascade(config)
    describe(stage, left, right, stage.correlate(left, right), torch.full((2,), 0.5))
