"""Stage 3, flow: global motion at 1/16, a cascade 1/8 -> 1/4 of residual flows and visibilities,
and the bend of the paths.

Up to the bend two references and the target's time decide everything, so that a stream computes the
motion in each gap once, although
three pairs look at it: those of its own references as their motion, those beside them as the motion
before or after.
"""

import torch
import torch.nn as nn

from lift import kernels
from lift.config import ModelConfig
from lift.kernels.ops.correlation.reference import displacements
from lift.model.blocks import (
    SLOPE,
    ResidualBlock,
    activate,
    conv,
    resize,
    without_autocast,
    zero_conv,
)
from lift.model.features import FrameFeatures, Matches, Motion, Neighbours
from lift.model.prediction import FlowEstimate
from lift.model.trajectory import Trajectory


def plane(t: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(B,) -> (B, 1, h, w), constant over the size of `like`."""
    return t.view(-1, 1, 1, 1).to(like.dtype).expand(-1, 1, *like.shape[-2:])


class GlobalMotion(nn.Module):
    """Motion at 1/16 read out of a correlation between the references, as seen from the target.

    A straight path through target location x moves by m from the left to the right reference: it
    starts at x - t*m and ends at x + (1 - t)*m. The references' correlation, which does not depend
    on t, is read at x - t*m for every m; a softmax over m gives the expected motion, and
    convolutions correct it. (Bilateral cost volumes: Park et al., "BMBC", ECCV 2020.)
    """

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.radius, self.backend = config.radius16, backend
        n = (2 * config.radius16 + 1) ** 2
        self.match = nn.Conv2d(config.c16, config.corr_channels, 1)
        self.register_buffer("moves", displacements(config.radius16), persistent=False)
        self.sharpness = nn.Parameter(torch.tensor(10.0))
        self.prior = nn.Parameter(
            -0.5 * self.moves.norm(dim=1)
        )  # of equal matches the shorter motion is likelier
        self.read = nn.Sequential(
            conv(n + 2 * config.c16 + 3, config.hidden16, 1),
            nn.LeakyReLU(SLOPE, inplace=True),
            conv(config.hidden16, config.hidden16),
            nn.LeakyReLU(SLOPE, inplace=True),
            ResidualBlock(config.hidden16),
        )
        self.head = zero_conv(config.hidden16, 6)

    def correlation(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """(B, c16, h, w) twice -> (B, M, h, w), seen from the left reference; shared by all targets
        between the two.
        """
        return kernels.correlation(
            self.match(left), self.match(right), self.radius, unit=True, backend=self.backend
        )

    def forward(self, left, right, correlation, t) -> tuple[FlowEstimate, torch.Tensor]:
        """-> the estimate at 1/16 and its hidden features (B, hidden16, h, w)."""
        b, m, h, w = correlation.shape
        shift = (
            (-t.float().view(-1, 1, 1) * self.moves).reshape(b * m, 2, 1, 1).expand(-1, -1, h, w)
        )
        seen = kernels.warp(correlation.reshape(b * m, 1, h, w), shift, backend=self.backend).view(
            b, m, h, w
        )
        with without_autocast(seen.device):  # the product would round motion to half
            weight = (self.sharpness * seen.float() + self.prior.view(1, m, 1, 1)).softmax(1)
            motion = torch.einsum("bmhw,mc->bchw", weight, self.moves)
        at = plane(t, motion)
        hidden = self.read(torch.cat((seen, left, right, motion / self.radius, at), 1))
        d = self.head(hidden).float()
        estimate = FlowEstimate(
            d[:, 0:2] - at * motion, d[:, 2:4] + (1 - at) * motion, d[:, 4:5], d[:, 5:6], 16
        )
        return estimate, hidden


class FlowBlock(nn.Module):
    """Refines flows and visibilities at one scale by residuals, from warped features and their
    local correlation.
    """

    def __init__(
        self,
        c: int,
        c_hidden_in: int,
        hidden: int,
        radius: int,
        scale: int,
        config: ModelConfig,
        backend: str = "auto",
    ):
        super().__init__()
        self.radius, self.scale, self.backend = radius, scale, backend
        self.match = nn.Conv2d(c, config.corr_channels, 1)
        self.carry = nn.Conv2d(c_hidden_in, hidden, 1)
        self.gather = conv(2 * c + (2 * radius + 1) ** 2 + 8, hidden, 1)
        self.net = nn.Sequential(
            conv(hidden, hidden),
            nn.LeakyReLU(SLOPE, inplace=True),
            *(ResidualBlock(hidden) for _ in range(config.flow_blocks)),
        )
        self.head = zero_conv(hidden, 6)

    def still(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """(B, c, h, w) twice -> (B, 1, h, w): how well each place matches without any motion;
        shared by all targets between the two.
        """
        return kernels.correlation(
            self.match(left), self.match(right), 0, unit=True, backend=self.backend
        )

    def forward(
        self, left, right, still, coarser: FlowEstimate, carried, t
    ) -> tuple[FlowEstimate, torch.Tensor]:
        """left, right (B, c, h, w), still (B, 1, h, w) -> the estimate at this scale and its hidden
        features (B, hidden, h, w).
        """
        grow = coarser.scale // self.scale
        flow0, flow1 = (resize(f, grow) * grow for f in (coarser.flow_t0, coarser.flow_t1))
        occ0, occ1 = resize(coarser.occ_t0, grow), resize(coarser.occ_t1, grow)
        warped0 = kernels.warp(left, flow0, backend=self.backend)
        warped1 = kernels.warp(right, flow1, backend=self.backend)
        local = kernels.correlation(
            self.match(warped0), self.match(warped1), self.radius, unit=True, backend=self.backend
        )
        state = torch.cat((flow0, flow1), 1) * (
            self.scale / 32
        )  # of about unit size for usual motion
        x = self.gather(
            torch.cat((warped0, warped1, local, still, state, occ0, occ1, plane(t, flow0)), 1)
        )
        hidden = self.net(activate(x + resize(self.carry(carried), grow)))
        d = self.head(hidden).float()
        estimate = FlowEstimate(
            flow0 + d[:, 0:2], flow1 + d[:, 2:4], occ0 + d[:, 4:5], occ1 + d[:, 5:6], self.scale
        )
        return estimate, hidden


class FlowCascade(nn.Module):
    """Global motion at 1/16 -> 1/8 -> 1/4, then the bend."""

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.motion = GlobalMotion(config, backend)
        self.block8 = FlowBlock(
            config.c8, config.hidden16, config.hidden8, config.radius8, 8, config, backend
        )
        self.block4 = FlowBlock(
            config.c4, config.hidden8, config.hidden4, config.radius4, 4, config, backend
        )
        self.trajectory = Trajectory(config, backend)

    def compare(self, left: FrameFeatures, right: FrameFeatures) -> Matches:
        """How the references, B frames each, match; shared by all targets between the two."""
        return Matches(
            self.motion.correlation(left.s16, right.s16),
            self.block8.still(left.s8, right.s8),
            self.block4.still(left.s4, right.s4),
        )

    def forward(
        self, left: FrameFeatures, right: FrameFeatures, matches: Matches, t: torch.Tensor
    ) -> Motion:
        """The motion between the references as seen at t.

        Args:
            left, right: features of the references, B frames each.
            matches: what `compare` says of them.
            t: (B,).
        """
        estimate16, hidden = self.motion(left.s16, right.s16, matches.correlation, t)
        estimate8, hidden = self.block8(left.s8, right.s8, matches.still8, estimate16, hidden, t)
        estimate4, hidden = self.block4(left.s4, right.s4, matches.still4, estimate8, hidden, t)
        return Motion((estimate16, estimate8, estimate4), hidden)

    def bend(
        self, motion: Motion, neighbours: Neighbours, context: torch.Tensor, t: torch.Tensor
    ) -> FlowEstimate:
        """The estimate at 1/4 along bent paths, as `Trajectory` has it; context (B, C, H/16, W/16)."""
        return self.trajectory(motion.cascade[-1], motion.hidden, neighbours, context, t)


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line, random_features

    config = preset_from_command_line()
    left, right = random_features(config), random_features(config)
    stage = FlowCascade(config)
    describe(stage, left, right, stage.compare(left, right), torch.full((2,), 0.5))
