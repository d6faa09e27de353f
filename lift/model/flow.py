"""Stage 3, flow: global motion at 1/16, residual flows and visibilities at 1/8 and 1/4, curvature.

Everything before the curvature depends on two references and the target's time alone. A stream
therefore computes the motion in each gap once and uses it for three pairs: as the motion between
its own references, and as the motion before or after those of the two pairs beside it.
"""

from dataclasses import replace

import torch
import torch.nn as nn

from lift import kernels
from lift.config import ModelConfig
from lift.kernels.checks import accumulate_dtype, autocast_dtype
from lift.kernels.ops.correlation.reference import displacements
from lift.model.adjacent import AdjacentMotion
from lift.model.alignment import aligned, propagated
from lift.model.blocks import (
    SLOPE,
    PointwiseConv,
    ResidualBlock,
    checkpointed,
    conv,
    conv_act,
)
from lift.model.trajectory import Trajectory
from lift.model.types import CostVolumes, FlowEstimate, FrameFeatures, Motion
from lift.model.upsampling import FlowUpsampling
from lift.model.visibility import corrected, state_head, with_time_logits


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
        self.corr_proj = PointwiseConv(config.c16, config.corr_channels, backend)
        self.inv_temperature = nn.Parameter(torch.tensor(10.0))
        # Among equal correlations the shorter motion is likelier.
        self.prior = nn.Parameter(-0.5 * displacements(config.radius16).norm(dim=1))
        self.decoder = nn.Sequential(
            conv(n + 2 * config.c16 + 3, config.hidden16, 1),
            nn.LeakyReLU(SLOPE, inplace=True),
            conv(config.hidden16, config.hidden16),
            nn.LeakyReLU(SLOPE, inplace=True),
            ResidualBlock(config.hidden16, backend=backend),
        )
        self.occlusion = config.occlusion
        self.head = state_head(config.hidden16, config)

    def correlation(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Correlation on the left reference's grid, for all targets between the two.

        Projected features (B, corr_channels, h, w) twice -> (B, M, h, w).
        """
        return kernels.correlation(left, right, self.radius, normalize=True, backend=self.backend)

    def forward(self, left, right, correlation, t) -> tuple[FlowEstimate, torch.Tensor]:
        """The estimate at 1/16 and its hidden features (B, hidden16, h, w)."""
        x, state = kernels.global_motion(
            correlation,
            left,
            right,
            self.inv_temperature,
            self.prior,
            t,
            self.radius,
            autocast_dtype(left),
            backend=self.backend,
        )
        conv1, _, conv2, _, block = self.decoder
        hidden = conv_act(conv1, x, backend=self.backend)
        hidden = block(conv_act(conv2, hidden, backend=self.backend))
        if not self.occlusion:
            state = with_time_logits(state, t)
        return FlowEstimate(corrected(self.head, hidden, state, self.backend), 16), hidden


class FlowBlock(nn.Module):
    """Residual refinement of flows and visibilities at one scale.

    Inputs are the warped features and their local correlation. Where no coarser scale comes before
    (`c_hidden_in` is 0), flows start at zero.
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
        self.propagation = config.propagation
        self.corr_proj = PointwiseConv(c, config.corr_channels, backend)
        self.hidden_proj = self.upsampling = None
        if c_hidden_in:
            self.hidden_proj = PointwiseConv(c_hidden_in, hidden, backend)
            self.upsampling = FlowUpsampling(c_hidden_in, config, backend)
        self.conv_in = conv(2 * c + (2 * radius + 1) ** 2 + 8 + 2 * bool(align), hidden, 1)
        self.body = nn.Sequential(
            conv(hidden, hidden),
            nn.LeakyReLU(SLOPE, inplace=True),
            *(ResidualBlock(hidden, backend=backend) for _ in range(config.flow_blocks)),
        )
        self.occlusion = config.occlusion
        self.head = state_head(hidden, config)

    def correlation(self, left: torch.Tensor, right: torch.Tensor, radius: int) -> torch.Tensor:
        """Projected features (B, corr_channels, h, w) twice -> (B, (2 radius + 1)^2, h, w)."""
        return kernels.correlation(left, right, radius, normalize=True, backend=self.backend)

    def forward(
        self,
        features: tuple[torch.Tensor, torch.Tensor],
        projected: tuple[torch.Tensor, torch.Tensor],
        lumas: tuple[torch.Tensor, torch.Tensor],
        finer_lumas: tuple[torch.Tensor, torch.Tensor],
        zero_motion: torch.Tensor,
        coarser: FlowEstimate | None,
        coarser_hidden: torch.Tensor | None,
        t: torch.Tensor,
    ) -> tuple[FlowEstimate, torch.Tensor]:
        """The estimate at this scale and its hidden features (B, hidden, h, w).

        Args:
            features: (B, c, h, w) of each reference.
            projected: (B, corr_channels, h, w) of each, by `corr_proj`.
            lumas, finer_lumas: (B, 1, h, w) and (B, 1, 2 h, 2 w) of each.
            zero_motion: (B, 1, h, w), their correlation with radius 0.
            coarser, coarser_hidden: the estimate at the next coarser scale and its features; None
                where this scale is the coarsest.
            t: (B,).
        """
        if coarser is None:
            state, skip = self._start(features[0], t), None
        else:
            state, skip = self.upsampling(coarser, coarser_hidden), self.hidden_proj(coarser_hidden)
            state = propagated(*finer_lumas, state, self.propagation, self.backend)
        state, missing = aligned(*lumas, state, t, self.align, self.backend)
        # Bilinear weights sum to 1, so a projection may come before or after a warp.
        warped = [
            kernels.warp(x, flow, backend=self.backend)
            for x, flow in zip(projected, state.split(2, 1)[:2], strict=True)
        ]
        local = self.correlation(*warped, self.radius)
        dtype = autocast_dtype(features[0])
        x = kernels.flow_inputs(
            *features,
            local,
            zero_motion,
            state,
            missing,
            t,
            self.scale,
            dtype,
            backend=self.backend,
        )
        hidden = conv_act(self.conv_in, x, skip, backend=self.backend)
        first, _, *blocks = self.body
        hidden = conv_act(first, hidden, backend=self.backend)
        for block in blocks:
            hidden = block(hidden)
        state = corrected(self.head, hidden, state, self.backend)
        return FlowEstimate(state, self.scale), hidden

    def _start(self, features: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """No motion, for features (B, c, h, w)."""
        B, _, h, w = features.shape
        state = features.new_zeros((B, 6, h, w), dtype=accumulate_dtype(features))
        return state if self.occlusion else with_time_logits(state, t)


class FlowCascade(nn.Module):
    """Global motion at 1/16 -> 1/8 -> 1/4, then curved trajectories.

    The first and the last are None where the configuration switches them off.

    Attributes:
        recompute: use activation checkpointing: save only the inputs of the blocks and of the
            trajectory for backward.
    """

    recompute = False

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.global_motion = GlobalMotion(config, backend) if config.global_motion else None
        self.block8 = FlowBlock(
            config.c8,
            config.hidden16 if config.global_motion else 0,
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
        self.trajectory = Trajectory(config, backend) if config.path_frames > 2 else None

    def project(self, features: FrameFeatures) -> FrameFeatures:
        """Features with what is correlated of them, which depends on the frame alone."""
        coarse = self.global_motion
        return replace(
            features,
            projected4=self.block4.corr_proj(features.s4),
            projected8=self.block8.corr_proj(features.s8),
            projected16=None if coarse is None else coarse.corr_proj(features.s16),
        )

    def correlate(self, left: FrameFeatures, right: FrameFeatures) -> CostVolumes:
        """Cost volumes of B pairs of references, shared by all targets between the two.

        Args:
            left, right: features of the references, after `project`.
        """
        volume = None
        if self.global_motion is not None:
            volume = self.global_motion.correlation(left.projected16, right.projected16)
        return CostVolumes(
            correlation=volume,
            zero_motion8=self.block8.correlation(left.projected8, right.projected8, 0),
            zero_motion4=self.block4.correlation(left.projected4, right.projected4, 0),
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
            left, right: features of the references, after `project`, B frames each.
            cost_volumes: what `correlate` returned for them.
            t: (B,).
        """
        volumes = cost_volumes
        lumas2, lumas4 = (left.luma2, right.luma2), (left.luma4, right.luma4)
        lumas8 = left.luma8, right.luma8
        estimate16 = hidden = None
        if self.global_motion is not None:
            inputs = left.s16, right.s16, volumes.correlation, t
            estimate16, hidden = self.global_motion(*inputs)
        estimate8, hidden = self._recomputed(
            self.block8,
            (left.s8, right.s8),
            (left.projected8, right.projected8),
            lumas8,
            lumas4,
            volumes.zero_motion8,
            estimate16,
            hidden,
            t,
        )
        estimate4, hidden = self._recomputed(
            self.block4,
            (left.s4, right.s4),
            (left.projected4, right.projected4),
            lumas4,
            lumas2,
            volumes.zero_motion4,
            estimate8,
            hidden,
            t,
        )
        cascade = (
            (estimate8, estimate4) if estimate16 is None else (estimate16, estimate8, estimate4)
        )
        return Motion(cascade, hidden)

    def curve(
        self,
        motion: Motion,
        adjacent: AdjacentMotion,
        context: torch.Tensor | None,
        t: torch.Tensor,
    ) -> FlowEstimate:
        """The estimate at 1/4 along curved trajectories; context (B, C, H/16, W/16) or None."""
        inputs = motion.cascade[-1], motion.hidden, adjacent, context, t
        return self._recomputed(self.trajectory, *inputs)

    def _recomputed(self, part: nn.Module, *inputs):
        if self.recompute and torch.is_grad_enabled():
            return checkpointed(part, *inputs)
        return part(*inputs)


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line, random_features

    config = preset_from_command_line()
    stage = FlowCascade(config)
    left, right = (stage.project(random_features(config)) for _ in range(2))
    describe(stage, left, right, stage.correlate(left, right), torch.full((2,), 0.5))
