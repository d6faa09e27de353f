"""Stage 5, refinement: full-resolution residuals of flows, visibilities and colours.

A gate takes motion back where the references do not differ.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from lift import kernels
from lift.config import ModelConfig
from lift.kernels import dispatch, transforms
from lift.kernels.ops.refine_inputs.reference import FLOW_SCALE
from lift.kernels.ops.refine_output.reference import (
    GATE_SLOPE,
    RESIDUALS,
    SHARP_RESIDUALS,
    sharp_sample,
)
from lift.kernels.ops.warp_blend.reference import blend, coordinates
from lift.model.alignment import aligned, propagated
from lift.model.blocks import (
    PointwiseConv,
    ResidualBlock,
    append_image,
    avg_down,
    checkpointed,
    conv,
    conv_act,
    kaiming,
    leaky_relu_,
    upsample,
    zero_conv,
)
from lift.model.types import FlowEstimate, ReferenceImages
from lift.model.upsampling import FlowUpsampling

SHARPNESS_INIT = 0.5  # half way from bilinear to bicubic samples, before training
STATIC_THRESHOLD_INIT = 0.18  # the change at which the gate is half open, before training


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
        self.reduce = kaiming(PointwiseConv(config.hidden4 + 3, channels, backend))
        self.align, self.propagation = config.align2, config.propagation
        self.upsampling = FlowUpsampling(config.hidden4, config, backend)
        self.conv_in = conv(9 * area + 6 + 2 * bool(self.align), channels)
        self.body = nn.Sequential(
            *(ResidualBlock(channels, norm=True, backend=backend) for _ in range(2))
        )
        self.middle = None
        if config.refine_unet:
            self.middle = CoarserScale(channels, config.hidden4 + 3, self.stride, backend)
        self.log_static_threshold = nn.Parameter(torch.tensor(STATIC_THRESHOLD_INIT).log())
        self.occlusion = config.occlusion
        self.sharpness = config.sharpness
        residuals = SHARP_RESIDUALS if self.sharpness else RESIDUALS
        self.head = zero_conv(channels, (residuals if config.occlusion else residuals - 2) * area)
        if self.sharpness:
            with torch.no_grad():
                self.head.bias[-area:] = SHARPNESS_INIT

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
        state = propagated(luma0, luma1, state, self.propagation, self.backend)
        state = self.upsampling(FlowEstimate(state, 4), hidden)
        state, missing = aligned(luma0, luma1, state, t, self.align, self.backend)
        hidden = append_image(hidden, coarse)
        features = self.reduce(hidden)
        inputs = image0, image1, state, missing, self.stride, features.dtype
        if not dispatch.select("refine_inputs", self.backend, *inputs).fused:
            return self._separate_passes(image0, image1, change, state, missing, features, hidden)
        x = kernels.refine_inputs(*inputs, backend=self.backend)
        x = conv_act(self.conv_in, x, skip=features, backend=self.backend)
        x = self._body(x, hidden)
        weight, bias = self._head_parameters()
        return kernels.refine_output(
            F.conv2d(x, weight, padding=1),
            bias,
            image0,
            image1,
            state,
            change,
            self.log_static_threshold,
            self.stride,
            backend=self.backend,
        )

    def _body(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        first, second = self.body
        x = first(x)
        if self.middle is not None:
            x = self.middle(x, hidden)
        return second(x)

    def _head_parameters(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of all residuals; zeros for visibilities that are not predicted."""
        weight, bias = self.head.weight, self.head.bias
        if self.occlusion:
            return weight, bias
        flows, logits = 4 * self.stride**2, 2 * self.stride**2
        return tuple(
            torch.cat((x[:flows], x.new_zeros(logits, *x.shape[1:]), x[flows:]))
            for x in (weight, bias)
        )

    def _separate_passes(
        self, image0, image1, change, state, missing, features, hidden
    ) -> torch.Tensor:
        """What `refine_inputs` and `refine_output` fuse, for where no fused backend is selected.

        It warps with the fused kernels that there are: on a CPU those with gradients.

        Args:
            image0, image1: (B, 3, H, W).
            change, state, missing: (B, 1, H/2, W/2), (B, 6, H/2, W/2) and (B, 2, H/2, W/2) or None.
            features: (B, C, H/4, W/4), added to those of the first convolution.
        """
        s = self.stride
        flow0, flow1, occ0, occ1 = upsample(state, 2).split((2, 2, 1, 1), 1)
        flow0, flow1 = flow0 * 2, flow1 * 2
        warped0 = kernels.warp(image0, flow0, backend=self.backend)
        warped1 = kernels.warp(image1, flow1, backend=self.backend)
        # The difference shows whether anything moved here at all.
        images = torch.cat((warped0, warped1, image0 - image1), 1)
        images = F.pixel_unshuffle(images, s) if s > 1 else images
        maps = [state[:, :4] * FLOW_SCALE, state[:, 4:], *([] if missing is None else [missing])]
        maps = torch.cat(maps, 1)
        if s != 2:
            maps = upsample(maps, 2) if s == 1 else avg_down(maps, 2)
        x = self.conv_in(torch.cat((images, maps), 1)) + upsample(features, 4 // s)
        x = self._body(leaky_relu_(x), hidden)
        d = F.conv2d(x, *self._head_parameters(), padding=1)
        d = F.pixel_shuffle(d, s) if s > 1 else d
        df0, df1, do0, do1, detail, d_gate, *sharp = d.float().split(
            (2, 2, 1, 1, 3, 1) + ((1,) if self.sharpness else ()), 1
        )
        change = upsample(change, 2)
        gate = torch.sigmoid(GATE_SLOPE * (change - self.log_static_threshold) + d_gate)
        flow0, flow1 = gate * (flow0 + df0), gate * (flow1 + df1)
        inputs = image0, image1, flow0, flow1, occ0 + do0, occ1 + do1
        frame = kernels.warp_blend(*inputs, backend=self.backend)
        if sharp:
            frame = frame + sharp[0] * (bicubic_blend(*inputs) - frame)
        return frame + detail


def bicubic_blend(image0, image1, flow0, flow1, occ0, occ1) -> torch.Tensor:
    """As `kernels.warp_blend`, with bicubic samples."""
    if transforms.in_transform():  # the definition has tangents, which `grid_sample` has not
        samples = [sharp_sample(*x, 1.0) for x in ((image0, flow0), (image1, flow1))]
        return blend(*samples, occ0, occ1)
    H, W = image0.shape[-2:]
    samples = []
    for image, flow in ((image0, flow0), (image1, flow1)):
        x, y = coordinates(flow)
        grid = torch.stack((x * (2 / max(W - 1, 1)) - 1, y * (2 / max(H - 1, 1)) - 1), 3)
        samples.append(F.grid_sample(image, grid, "bicubic", "border", align_corners=True))
    return blend(*samples, occ0, occ1)


class CoarserScale(nn.Module):
    """A residual that is computed at half the resolution of its input; it starts at zero.

    Without norms, which would tie each pixel to the whole frame.

    Args:
        channels: C of the input; the coarser scale has 2 C.
        c_hidden: channels of the features at 1/4 that it reads.
        stride: full-resolution pixels per pixel of the input: 1, 2 or 4.
        backend: of the kernels.
    """

    def __init__(self, channels: int, c_hidden: int, stride: int, backend: str = "auto"):
        super().__init__()
        self.stride, self.backend = stride, backend
        self.down = conv(channels, 2 * channels, stride=2)
        self.hidden_proj = kaiming(PointwiseConv(c_hidden, 2 * channels, backend))
        self.block = ResidualBlock(2 * channels, backend=backend)
        self.up = zero_conv(2 * channels, channels, 1)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, H/stride, W/stride) and (B, c_hidden, H/4, W/4) -> (B, C, H/stride, W/stride)."""
        hidden = self.hidden_proj(hidden if self.stride < 4 else avg_down(hidden, 2))
        y = self.block(conv_act(self.down, x, hidden, backend=self.backend))
        return x + upsample(self.up(y), 2)


if __name__ == "__main__":
    from lift.model.describe import describe, preset_from_command_line, random_estimate
    from lift.model.images import reference_images

    config = preset_from_command_line()
    describe(
        Refinement(config),
        reference_images(*torch.rand(2, 2, 3, 256, 256), *torch.rand(2, 2, 1, 128, 128)),
        random_estimate(),
        torch.rand(2, config.hidden4, 64, 64),
        torch.rand(2, 3, 64, 64),
        torch.full((2,), 0.5),
    )
