"""Types that the stages exchange, and the model's prediction."""

from dataclasses import dataclass

import torch

from lift.data.clip import map_tensors


@dataclass(frozen=True)
class FlowEstimate:
    """Flows and visibilities at one scale of the cascade.

    Attributes:
        state: (B, 6, h, w), the flows and visibilities below in this order.
        scale: full-resolution pixels per pixel of this scale (16, 8, 4).
        flow_t0, flow_t1: (B, 2, h, w), dx then dy, from the target to the left / right reference,
            pixels of this scale.
        occ_t0, occ_t1: (B, 1, h, w), visibility logits in the left / right reference.
    """

    state: torch.Tensor
    scale: int

    flow_t0 = property(lambda self: self.state[:, 0:2])
    flow_t1 = property(lambda self: self.state[:, 2:4])
    occ_t0 = property(lambda self: self.state[:, 4:5])
    occ_t1 = property(lambda self: self.state[:, 5:6])

    @staticmethod
    def from_parts(flow_t0, flow_t1, occ_t0, occ_t1, scale: int) -> "FlowEstimate":
        """An estimate of separate flows (B, 2, h, w) and visibilities (B, 1, h, w)."""
        return FlowEstimate(torch.cat((flow_t0, flow_t1, occ_t0, occ_t1), 1), scale)


@dataclass(frozen=True)
class Prediction:
    """Model output: the interpolated frame and intermediate results.

    h, w are H / 4, W / 4 rounded up.

    Attributes:
        frame: (B, 3, H, W), RGB, nominally in [0, 1], not clamped.
        coarse: (B, 3, h, w), the frame synthesised at quarter resolution.
        state: (B, 6, h, w), the flows and visibilities below in this order.
        flow_t0, flow_t1: (B, 2, h, w), from target to reference, quarter-resolution pixels.
        occ_t0, occ_t1: (B, 1, h, w), visibility logits.
        attention: (B, T), attention weight per frame; sums to 1, 0 where masked.
        cascade: the estimates at the coarser scales, coarsest first, of the padded size.
    """

    frame: torch.Tensor
    coarse: torch.Tensor
    state: torch.Tensor
    attention: torch.Tensor
    cascade: tuple[FlowEstimate, ...] = ()

    flow_t0, flow_t1 = FlowEstimate.flow_t0, FlowEstimate.flow_t1
    occ_t0, occ_t1 = FlowEstimate.occ_t0, FlowEstimate.occ_t1


@dataclass(frozen=True)
class FrameFeatures:
    """Features of N frames, each computed from its own frame alone.

    H and W are the frame's size padded to the model's multiple.

    Attributes:
        s4, s8, s16: (N, c4, H/4, W/4), (N, c8, H/8, W/8) and (N, c16, H/16, W/16), used for
            references only; None in `context_only()`.
        luma2: (N, 1, H/2, W/2), luma of the frames average-pooled; None in `context_only()`.
        quarter: (N, 3, H/4, W/4), the frames average-pooled; None in `context_only()`.
        keys, values: (N, layers, H/16, W/16, heads, d), input of the temporal transformer; None in
            `reference_only()`.
    """

    s4: torch.Tensor | None
    s8: torch.Tensor | None
    s16: torch.Tensor | None
    luma2: torch.Tensor | None
    quarter: torch.Tensor | None
    keys: torch.Tensor | None
    values: torch.Tensor | None

    def __len__(self) -> int:
        return len(self.s16 if self.keys is None else self.keys)

    def __getitem__(self, index) -> "FrameFeatures":
        """Features of some of the frames; an int keeps the leading axis."""
        if isinstance(index, int):
            index = slice(index, index + 1 or None)
        return map_tensors(lambda part: part[index], self)

    def context_only(self) -> "FrameFeatures":
        """Keys and values only."""
        return FrameFeatures(None, None, None, None, None, self.keys, self.values)

    def reference_only(self) -> "FrameFeatures":
        """Everything but keys and values."""
        return FrameFeatures(self.s4, self.s8, self.s16, self.luma2, self.quarter, None, None)


@dataclass(frozen=True)
class CostVolumes:
    """Feature correlations between two references, B pairs.

    Attributes:
        correlation: (B, M, H/16, W/16), for M displacements from the left to the right reference.
        zero_motion8, zero_motion4: (B, 1, H/8, W/8) and (B, 1, H/4, W/4), for no displacement.
    """

    correlation: torch.Tensor
    zero_motion8: torch.Tensor
    zero_motion4: torch.Tensor


@dataclass(frozen=True)
class ReferenceImages:
    """What the full-resolution stage needs of two references, B pairs.

    Attributes:
        image0, image1: (B, 3, H, W), in [0, 1].
        luma0, luma1: (B, 1, H/2, W/2), of the images average-pooled.
        change: (B, 1, H/2, W/2), see `refine.change_map`.
    """

    image0: torch.Tensor
    image1: torch.Tensor
    luma0: torch.Tensor
    luma1: torch.Tensor
    change: torch.Tensor


@dataclass(frozen=True)
class ReferencePair:
    """Two references and everything that does not depend on the target's time, B pairs.

    All targets between the two references share it.

    Attributes:
        size: H and W of the frames before padding; the tensors have the padded size.
        images: at full and at half resolution.
        left, right: features, `reference_only`.
        cost_volumes: correlations between the two.
    """

    size: tuple[int, int]
    images: ReferenceImages
    left: FrameFeatures
    right: FrameFeatures
    cost_volumes: CostVolumes

    @property
    def difference(self) -> torch.Tensor:
        """(B,), the mean absolute difference of the references."""
        return mean_difference(self.left.quarter, self.right.quarter)


def mean_difference(image0: torch.Tensor, image1: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of images, (B, 3, h, w) twice -> (B,)."""
    return (image0 - image1).abs().mean((1, 2, 3))


@dataclass(frozen=True)
class Motion:
    """Flows of a target along straight paths, from its two references alone.

    Attributes:
        cascade: the estimates of all scales, coarsest first, the last at 1/4.
        hidden: (B, hidden4, H/4, W/4), features of the last.
    """

    cascade: tuple[FlowEstimate, ...]
    hidden: torch.Tensor

    @property
    def flow_01(self) -> torch.Tensor:
        """(B, 2, H/4, W/4), motion from the left to the right reference, pixels of 1/4."""
        return self.cascade[-1].flow_t1 - self.cascade[-1].flow_t0


def expand(value, n: int):
    """Expand tensors with batch size 1 to n without a copy; those with batch size n stay."""
    return map_tensors(lambda x: x.expand(n, *x.shape[1:]), value)
