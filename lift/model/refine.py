"""Stage 5, refinement: full-resolution residuals of flows, visibilities and colours.

A gate takes motion back where the references do not differ.
"""

from collections.abc import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F

from lift import kernels
from lift.config import ModelConfig
from lift.model.alignment import add_motion, missing_motion
from lift.model.blocks import (
    ResidualBlock,
    avg_down,
    checkpointed,
    conv,
    conv_unshuffled,
    leaky_relu_,
    upsample,
    zero_conv,
)
from lift.model.types import FlowEstimate, ReferenceImages
from lift.model.upsampling import FlowUpsampling

STATIC_THRESHOLD_INIT = 0.18  # the change at which the gate is half open, before training
GATE_SLOPE = 4.0  # of the gate's sigmoid over the logarithm of the change
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
        self.align = config.align2
        self.upsampling = FlowUpsampling(config.hidden4, config)
        self.conv_in = conv(9 * area + 6 + 2 * bool(self.align), channels)
        self.body = nn.Sequential(
            ResidualBlock(channels, norm=True), ResidualBlock(channels, norm=True)
        )
        self.log_static_threshold = nn.Parameter(torch.tensor(STATIC_THRESHOLD_INIT).log())
        self.head = zero_conv(channels, 10 * area)

    def forward(
        self,
        images: ReferenceImages,
        estimate: FlowEstimate,
        hidden: torch.Tensor,
        coarse: torch.Tensor,
        t: torch.Tensor,
    ) -> torch.Tensor:
        """Frame (B, 3, H, W).

        Args:
            images: the references, B pairs.
            estimate: flows (1/4 pixels) and visibilities at 1/4.
            hidden: (B, hidden4, H/4, W/4).
            coarse: (B, 3, H/4, W/4).
            t: (B,), in (0, 1).
        """
        inputs = (
            images.image0,
            images.image1,
            images.luma0,
            images.luma1,
            images.change,
            estimate.state,
            hidden,
            coarse,
            t,
        )
        if not (self.recompute and torch.is_grad_enabled()):
            return self._frame(*inputs)
        clips = zip(*(x.split(1) for x in inputs), strict=True)
        return torch.cat([checkpointed(self._frame, *clip) for clip in clips])

    def _frame(
        self,
        image0,
        image1,
        luma0,
        luma1,
        change,
        state,
        hidden,
        coarse,
        t,
    ) -> torch.Tensor:
        s = self.stride
        flow0, flow1, occ0, occ1 = self.upsampling(FlowEstimate(state, 4), hidden)
        aligned = []
        if self.align:
            missing = missing_motion(luma0, luma1, flow0, flow1, t, self.align, self.backend)
            flow0, flow1 = add_motion(flow0, flow1, missing, t)
            aligned = [missing]
        half = torch.cat((flow0, flow1, occ0, occ1), 1)
        flow0, flow1, occ0, occ1 = upsample(half, 2).split((2, 2, 1, 1), 1)
        flow0, flow1 = flow0 * 2, flow1 * 2
        warped0 = kernels.warp(image0, flow0, backend=self.backend)
        warped1 = kernels.warp(image1, flow1, backend=self.backend)
        # The difference shows whether anything moved here at all.
        images = [torch.cat((warped0, warped1), 1), image0 - image1]
        # The factor gives usual motion about unit size.
        state = torch.cat((half[:, :4] * (2 / 32), half[:, 4:], *aligned), 1)
        if s != 2:
            state = upsample(state, 2) if s == 1 else avg_down(state, 2)
        coarse_features = self.reduce(torch.cat((hidden, coarse), 1))
        x = conv_unshuffled(self.conv_in, images, state, s) + upsample(coarse_features, 4 // s)
        d = self.head(self.body(leaky_relu_(x)))
        d = F.pixel_shuffle(d, s) if s > 1 else d
        df0, df1, do0, do1, detail, d_gate = d.float().split((2, 2, 1, 1, 3, 1), 1)
        change = upsample(change, 2)
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


def reference_images(
    image0: torch.Tensor, image1: torch.Tensor, luma0: torch.Tensor, luma1: torch.Tensor
) -> ReferenceImages:
    """What `Refinement` needs of the references.

    Args:
        image0, image1: (B, 3, H, W), in [0, 1]; even H and W.
        luma0, luma1: (B, 1, H/2, W/2), of the images average-pooled.
    """
    return ReferenceImages(image0, image1, luma0, luma1, change_map(image0, image1))


def change_map(image0: torch.Tensor, image1: torch.Tensor) -> torch.Tensor:
    """Log change relative to contrast, (B, 3, H, W) twice -> (B, 1, H/2, W/2).

    The largest difference within two or three pixels, as a fraction of the contrast there. Motion
    changes a texture by a large fraction of its contrast; compression and lighting change static
    textures by a small one.
    """
    both = torch.cat((image0, image1), 1).float()
    difference = (both[:, :3] - both[:, 3:]).abs().amax(1, keepdim=True)
    contrast = _dilate(both, torch.maximum) - _dilate(both, torch.minimum)
    contrast = (contrast[:, :3].amax(1, keepdim=True) + contrast[:, 3:].amax(1, keepdim=True)) / 2
    difference = _dilate(difference, torch.maximum)
    return (difference.clamp(min=1e-3) / (contrast + NOISE_CONTRAST)).log()


def _dilate(x: torch.Tensor, pick: Callable) -> torch.Tensor:
    """`pick` over each 2 x 2 block and the eight around it, (B, C, H, W) -> (B, C, H/2, W/2).

    Pairs of values, in rows, then in columns: on a CPU much faster than pooling.
    """
    for dim in (-1, -2):
        x = pick(*x.unflatten(dim, (-1, 2)).unbind(dim))
        first, last = x.narrow(dim, 0, 1), x.narrow(dim, -1, 1)
        x = torch.cat((first, x, last), dim)  # replicated edges add no new values
        n = x.shape[dim] - 1
        x = pick(x.narrow(dim, 0, n), x.narrow(dim, 1, n))
        x = pick(x.narrow(dim, 0, n - 1), x.narrow(dim, 1, n - 1))
    return x


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line, random_estimate

    config = preset_from_command_line()
    describe(
        Refinement(config),
        reference_images(*torch.rand(2, 2, 3, 256, 256), *torch.rand(2, 2, 1, 128, 128)),
        random_estimate(),
        torch.rand(2, config.hidden4, 64, 64),
        torch.rand(2, 3, 64, 64),
        torch.full((2,), 0.5),
    )
