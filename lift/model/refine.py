"""Stage 5, refinement: full-resolution residuals of flows, visibilities and colours.

A gate takes motion back where the references do not differ.
"""

from collections.abc import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F

from lift import kernels
from lift.config import ModelConfig
from lift.model.blocks import ResidualBlock, checkpointed, conv, leaky_relu_, upsample, zero_conv
from lift.model.types import FlowEstimate

STATIC_THRESHOLD_INIT = 0.18  # the change at which the gate is half open, before training
GATE_SLOPE = 4.0  # of the gate's sigmoid over the logarithm of the change
DILATION_RADIUS = 2  # pixels around each one in which the largest change counts
NOISE_CONTRAST = 0.05  # contrast, of 1, below which noise counts as change less and less


class Refinement(nn.Module):
    """Two residual blocks with GroupNorm predict residuals that start at zero.

    A gate multiplies the flows. Where the references agree all around a pixel, what both show is
    the answer, and whatever motion was found is taken back: residuals do not bring small wrong
    flows to zero, and on static fine patterns (grids, fences, text) they are visible.

    Full-resolution inputs pass through a space-to-depth view of factor `refine_stride`: nothing is
    lost, and small presets spend less on convolutions.

    Attributes:
        recompute: use activation checkpointing: save only the inputs for backward, and hold the
            activations of one clip at a time there.
    """

    recompute = False

    def __init__(self, config: ModelConfig, backend: str = "auto"):
        super().__init__()
        self.stride, self.backend = config.refine_stride, backend
        area, channels = config.refine_stride**2, config.refine_channels
        self.reduce = conv(config.hidden4 + 3, channels, 1)
        self.conv_in = conv(9 * area + 6, channels)
        self.body = nn.Sequential(
            ResidualBlock(channels, norm=True), ResidualBlock(channels, norm=True)
        )
        self.log_static_threshold = nn.Parameter(torch.tensor(STATIC_THRESHOLD_INIT).log())
        self.head = zero_conv(channels, 10 * area)

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
            change: (B, 1, H, W), what `change_map` returned for the two.
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
        clips = zip(*(x.split(1) for x in inputs), strict=True)
        return torch.cat([checkpointed(self._frame, *clip) for clip in clips])

    def _frame(
        self, image0, image1, change, flow_t0, flow_t1, occ_t0, occ_t1, hidden, coarse
    ) -> torch.Tensor:
        s = self.stride
        state = torch.cat((flow_t0 * (4 / s), flow_t1 * (4 / s), occ_t0, occ_t1), 1)
        state = upsample(state, 4 // s)  # flows in pixels of 1/s
        full = upsample(state, s) if s > 1 else state
        flow0, flow1, occ0, occ1 = full.split((2, 2, 1, 1), 1)
        flow0, flow1 = flow0 * s, flow1 * s
        warped0 = kernels.warp(image0, flow0, backend=self.backend)
        warped1 = kernels.warp(image1, flow1, backend=self.backend)
        # The difference shows whether anything moved here at all.
        images = torch.cat((torch.cat((warped0, warped1), 1), image0 - image1), 1)
        images = F.pixel_unshuffle(images, s) if s > 1 else images
        state = torch.cat((state[:, :4] * (s / 32), state[:, 4:]), 1)
        coarse_features = self.reduce(torch.cat((hidden, coarse), 1))
        x = self.conv_in(torch.cat((images, state), 1)) + upsample(coarse_features, 4 // s)
        d = self.head(self.body(leaky_relu_(x)))
        d = F.pixel_shuffle(d, s) if s > 1 else d
        df0, df1, do0, do1, detail, d_gate = d.float().split((2, 2, 1, 1, 3, 1), 1)
        gate = torch.sigmoid(GATE_SLOPE * (change - self.log_static_threshold) + d_gate)
        blend = kernels.warp_blend(
            image0,
            image1,
            gate * (flow0 + df0),
            gate * (flow1 + df1),
            occ0 + do0,
            occ1 + do1,
            backend=self.backend,
        )
        return blend + detail


def change_map(image0: torch.Tensor, image1: torch.Tensor) -> torch.Tensor:
    """Log change relative to contrast, (B, 3, H, W) twice -> (B, 1, H, W).

    The largest difference within two pixels, as a fraction of the contrast there. Motion changes a
    texture by a large fraction of its contrast; compression and lighting change static textures by
    a small one.
    """
    # Replicated edges add no new values.
    both = F.pad(torch.cat((image0, image1), 1).float(), [DILATION_RADIUS] * 4, mode="replicate")
    contrast = _max_filter(both) - _min_filter(both)
    contrast = (contrast[:, :3].amax(1, keepdim=True) + contrast[:, 3:].amax(1, keepdim=True)) / 2
    difference = _max_filter((both[:, :3] - both[:, 3:]).abs().amax(1, keepdim=True))
    return (difference.clamp(min=1e-3) / (contrast + NOISE_CONTRAST)).log()


def _max_filter(x: torch.Tensor) -> torch.Tensor:
    """The largest value within DILATION_RADIUS, per channel; x is padded by as much."""
    if x.is_cuda:
        return F.max_pool2d(x, 2 * DILATION_RADIUS + 1, 1)
    return _separable_filter(x, torch.maximum)


def _min_filter(x: torch.Tensor) -> torch.Tensor:
    if x.is_cuda:
        return -F.max_pool2d(-x, 2 * DILATION_RADIUS + 1, 1)
    return _separable_filter(x, torch.minimum)


def _separable_filter(x: torch.Tensor, pick: Callable) -> torch.Tensor:
    """`pick` over five values in rows, then in columns, in pairs.

    On a CPU it takes a tenth of the time of max pooling.
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
        change_map(image0, image1),
        random_estimate(),
        torch.rand(2, config.hidden4, 64, 64),
        torch.rand(2, 3, 64, 64),
    )
