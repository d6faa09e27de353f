"""Stage 5, refinement: flows and visibilities corrected at full resolution, stopped where nothing
moves, the references blended there, details mended."""

from collections.abc import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F

from lift import kernels
from lift.config import ModelConfig
from lift.model.blocks import ResidualBlock, activate, conv, recomputed, resize, zero_conv
from lift.model.prediction import FlowEstimate

STILL = 0.18  # at the start: the change at which half the motion is believed
STEEP = 4.0  # how fast belief rises with the logarithm of the change
REACH = 2  # pixels around one, in which a change is looked for
FAINT = 0.05  # contrast (of 1) below which noise is taken for a change less and less


class Refinement(nn.Module):
    """Features reduced (hidden4 -> refine channels), two residual blocks with GroupNorm, then
    corrections that start at zero.

    A gate multiplies the flows. Where the references agree all around a pixel, what both show is
    the answer, and whatever motion was
    found is taken back: residuals do not bring small wrong flows to zero, and on still fine
    patterns (grids, fences, text) they show.

    Full-resolution inputs are seen through a space-to-depth view of factor `refine_stride`: nothing
    is lost, and small presets spend less on convolutions.

    `recompute`: keep the stage's inputs alone for backward, which then holds the intermediate
    results of one clip at a time.
    """

    recompute = False

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.stride, self.backend = config.refine_stride, backend
        area = config.refine_stride**2
        self.reduce = conv(config.hidden4 + 3, config.refine_channels, 1)
        self.gather = conv(9 * area + 6, config.refine_channels)
        self.blocks = nn.Sequential(
            ResidualBlock(config.refine_channels, norm=True),
            ResidualBlock(config.refine_channels, norm=True),
        )
        self.still = nn.Parameter(torch.tensor(STILL).log())
        self.head = zero_conv(config.refine_channels, 10 * area)

    def forward(
        self,
        image0: torch.Tensor,
        image1: torch.Tensor,
        change: torch.Tensor,
        estimate: FlowEstimate,
        hidden: torch.Tensor,
        coarse: torch.Tensor,
    ) -> torch.Tensor:
        """Frame (B, 3, H, W).

        Args:
            image0, image1: (B, 3, H, W), the references, [0, 1].
            change: (B, 1, H, W), what `change_between` says of the two.
            estimate: flows (1/4 pixels) and visibilities at 1/4.
            hidden: (B, hidden4, H/4, W/4).
            coarse: (B, 3, H/4, W/4).
        """
        inputs = (
            image0,
            image1,
            change,
            estimate.flow_t0,
            estimate.flow_t1,
            estimate.occ_t0,
            estimate.occ_t1,
            hidden,
            coarse,
        )
        if not (self.recompute and torch.is_grad_enabled()):
            return self._frame(*inputs)
        return torch.cat(
            [
                recomputed(self._frame, *clip)
                for clip in zip(*(x.split(1) for x in inputs), strict=True)
            ]
        )

    def _frame(
        self, image0, image1, change, flow_t0, flow_t1, occ_t0, occ_t1, hidden, coarse
    ) -> torch.Tensor:
        s = self.stride
        parts = torch.cat((flow_t0 * (4 / s), flow_t1 * (4 / s), occ_t0, occ_t1), 1)
        parts = resize(parts, 4 // s)  # pixels of 1/s
        full = resize(parts, s) if s > 1 else parts
        flow0, flow1, occ0, occ1 = full.split((2, 2, 1, 1), 1)
        flow0, flow1 = flow0 * s, flow1 * s
        warped = torch.cat(
            (
                kernels.warp(image0, flow0, backend=self.backend),
                kernels.warp(image1, flow1, backend=self.backend),
            ),
            1,
        )
        seen = torch.cat(
            (warped, image0 - image1), 1
        )  # the last: whether anything moved here at all
        seen = F.pixel_unshuffle(seen, s) if s > 1 else seen
        state = torch.cat((parts[:, :4] * (s / 32), parts[:, 4:]), 1)
        x = self.gather(torch.cat((seen, state), 1)) + resize(
            self.reduce(torch.cat((hidden, coarse), 1)), 4 // s
        )
        d = self.head(self.blocks(activate(x)))
        d = F.pixel_shuffle(d, s) if s > 1 else d
        df0, df1, do0, do1, detail, moving = d.float().split((2, 2, 1, 1, 3, 1), 1)
        moves = torch.sigmoid(STEEP * (change - self.still) + moving)
        blend = kernels.warp_blend(
            image0,
            image1,
            moves * (flow0 + df0),
            moves * (flow1 + df1),
            occ0 + do0,
            occ1 + do1,
            backend=self.backend,
        )
        return blend + detail


def change_between(image0: torch.Tensor, image1: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) twice -> (B, 1, H, W): logarithm of the largest difference within two pixels as
    a share of the contrast there.

    Motion changes a texture by a share of its contrast; what compression and lighting change in
    still textures is a small share.
    """
    both = F.pad(
        torch.cat((image0, image1), 1).float(), [REACH] * 4, mode="replicate"
    )  # repeated edges add no new values
    contrast = _highest(both) - _lowest(both)
    contrast = (contrast[:, :3].amax(1, keepdim=True) + contrast[:, 3:].amax(1, keepdim=True)) / 2
    away = _highest((both[:, :3] - both[:, 3:]).abs().amax(1, keepdim=True))
    return (away.clamp(min=1e-3) / (contrast + FAINT)).log()


def _highest(x: torch.Tensor) -> torch.Tensor:
    """The largest value within REACH pixels, in every channel; x is padded by REACH."""
    return F.max_pool2d(x, 2 * REACH + 1, 1) if x.is_cuda else _within(x, torch.maximum)


def _lowest(x: torch.Tensor) -> torch.Tensor:
    return -F.max_pool2d(-x, 2 * REACH + 1, 1) if x.is_cuda else _within(x, torch.minimum)


def _within(x: torch.Tensor, pick: Callable) -> torch.Tensor:
    """`pick` of five neighbours in rows, then in columns, by twos: on a CPU a tenth of the
    pooling's time.
    """
    for dim in (-1, -2):
        n = x.shape[dim]
        two = pick(x.narrow(dim, 0, n - 1), x.narrow(dim, 1, n - 1))
        four = pick(two.narrow(dim, 0, n - 3), two.narrow(dim, 2, n - 3))
        x = pick(four.narrow(dim, 0, n - 4), x.narrow(dim, 4, n - 4))
    return x


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line, random_estimate

    config = preset_from_command_line()
    image0, image1 = torch.rand(2, 2, 3, 256, 256)
    describe(
        Refinement(config),
        image0,
        image1,
        change_between(image0, image1),
        random_estimate(),
        torch.rand(2, config.hidden4, 64, 64),
        torch.rand(2, 3, 64, 64),
    )
