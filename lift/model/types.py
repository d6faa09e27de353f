"""Types that the stages exchange, and the model's prediction."""

from dataclasses import dataclass, replace

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
        attention: (B, T), attention weight per frame; sums to 1, 0 where masked; all 0 where the
            context mode is none; None where it was not asked for.
        cascade: the estimates at the coarser scales, coarsest first, of the padded size.
    """

    frame: torch.Tensor
    coarse: torch.Tensor
    state: torch.Tensor
    attention: torch.Tensor | None
    cascade: tuple[FlowEstimate, ...] = ()

    flow_t0, flow_t1 = FlowEstimate.flow_t0, FlowEstimate.flow_t1
    occ_t0, occ_t1 = FlowEstimate.occ_t0, FlowEstimate.occ_t1


@dataclass(frozen=True)
class FrameFeatures:
    """Features of N frames, each computed from its own frame alone.

    H and W are the frame's size padded to the model's multiple. Everything but keys and values is
    used for references only, and None in `context_only()`.

    Attributes:
        s4, s8, s16: (N, c4, H/4, W/4), (N, c8, H/8, W/8) and (N, c16, H/16, W/16); s16 is None
            where no stage reads it.
        image: (N, 3, H, W), the padded frames; None in `low_resolution_only()`.
        luma2: (N, 1, H/2, W/2), luma of the frames average-pooled.
        quarter: (N, 3, H/4, W/4), the frames average-pooled.
        luma4, luma8: (N, 1, H/4, W/4) and (N, 1, H/8, W/8), luma of the frames average-pooled.
        keys, values: (N, layers, H/16, W/16, heads, d), input of the temporal transformer, or what
            another context mode puts in their place (see `lift.model.context`); None in
            `reference_only()`.
        size: height and width of the frames before padding.
        projected4, projected8, projected16: (N, corr_channels, H/4, W/4) and so on, what is
            correlated of s4, s8 and s16; None in `context_only()` and before `FlowCascade.project`;
            the last one is None without a global motion estimate.
    """

    s4: torch.Tensor | None
    s8: torch.Tensor | None
    s16: torch.Tensor | None
    image: torch.Tensor | None
    luma2: torch.Tensor | None
    quarter: torch.Tensor | None
    luma4: torch.Tensor | None
    luma8: torch.Tensor | None
    keys: torch.Tensor | None
    values: torch.Tensor | None
    size: tuple[int, int]
    projected4: torch.Tensor | None = None
    projected8: torch.Tensor | None = None
    projected16: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.s4 if self.keys is None else self.keys)

    def __getitem__(self, index) -> "FrameFeatures":
        """Features of some of the frames; an int keeps the leading axis."""
        if isinstance(index, int):
            index = slice(index, index + 1 or None)
        if isinstance(index, torch.Tensor) and torch.compiler.is_exporting():
            return map_tensors(lambda part: _index_select(part, index), self)
        return map_tensors(lambda part: part[index], self)

    def context_only(self) -> "FrameFeatures":
        """Keys and values only."""
        return FrameFeatures(*[None] * 8, self.keys, self.values, self.size)

    def reference_only(self) -> "FrameFeatures":
        """Everything but keys and values."""
        return replace(self, keys=None, values=None)

    def low_resolution_only(self) -> "FrameFeatures":
        """What of `reference_only` is at 1/2 or coarser."""
        return replace(self, keys=None, values=None, image=None)

    def halves(self) -> tuple["FrameFeatures", "FrameFeatures"]:
        """Features of the first and of the second half of the frames, as views."""
        second = []

        def first_half(part: torch.Tensor) -> torch.Tensor:
            first, other = part.chunk(2)  # unlike two slices, they have one gradient together
            second.append(other)
            return first

        first = map_tensors(first_half, self)
        others = iter(second)
        return first, map_tensors(lambda part: next(others), self)


@dataclass(frozen=True)
class CostVolumes:
    """Feature correlations between two references, B pairs.

    Attributes:
        correlation: (B, M, H/16, W/16), for M displacements from the left to the right reference;
            None without a global motion estimate.
        zero_motion8, zero_motion4: (B, 1, H/8, W/8) and (B, 1, H/4, W/4), for no displacement.
    """

    correlation: torch.Tensor | None
    zero_motion8: torch.Tensor
    zero_motion4: torch.Tensor


@dataclass(frozen=True)
class ReferenceImages:
    """What the full-resolution stage needs of two references, B pairs.

    Attributes:
        image0, image1: (B, 3, H, W), in [0, 1].
        luma0, luma1: (B, 1, H/2, W/2), of the images average-pooled.
        change: (B, 1, H/2, W/2), see `kernels.change_map`.
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
        images: at full and at half resolution; None where `LIFT.with_images` will add them, or
            where nothing is blended at full resolution.
        left, right: features, `low_resolution_only`.
        cost_volumes: correlations between the two.
        quarters: (B, 3, H/4, W/4) of each reference, average-pooled, where the features are those
            of reduced frames; None where they are in the features.
    """

    size: tuple[int, int]
    images: ReferenceImages | None
    left: FrameFeatures
    right: FrameFeatures
    cost_volumes: CostVolumes
    quarters: tuple[torch.Tensor, torch.Tensor] | None = None

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


def _index_select(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """x[index] in the layout of x, for `torch.export`.

    It could not prove the strides of what `x[index]` returns for all heights and widths.
    """
    if x.ndim != 4 or x.is_contiguous():
        return x.index_select(0, index)
    return x.movedim(1, -1).index_select(0, index).movedim(-1, 1)
