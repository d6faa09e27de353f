"""What one frame and what a pair of references contribute, computed once and kept."""

from dataclasses import dataclass, fields, is_dataclass

import torch

from lift.model.prediction import FlowEstimate

REPEATED = 0.1  # of the difference between the references: compression changes a repetition too


@dataclass(frozen=True)
class FrameFeatures:
    """Features of N frames, each depending on its own frame alone.

    Attributes:
        s4, s8, s16: (N, c4, H/4, W/4), (N, c8, H/8, W/8) and (N, c16, H/16, W/16), needed of
            references only; None in `context_only()`.
        keys, values: (N, layers, H/16, W/16, heads, d), what the temporal transformer reads; None
            in `reference_only()`.

    H and W are the frame's size padded to the model's multiple.
    """

    s4: torch.Tensor | None
    s8: torch.Tensor | None
    s16: torch.Tensor | None
    keys: torch.Tensor | None
    values: torch.Tensor | None

    def __len__(self) -> int:
        return len(self.s16 if self.keys is None else self.keys)

    def __getitem__(self, index) -> "FrameFeatures":
        """Some of the frames; an int keeps the leading axis."""
        if isinstance(index, int):
            index = slice(index, index + 1 or None)
        return map_tensors(lambda part: part[index], self)

    def context_only(self) -> "FrameFeatures":
        """Without what only a reference needs."""
        return FrameFeatures(None, None, None, self.keys, self.values)

    def reference_only(self) -> "FrameFeatures":
        """Without keys and values, where these are kept elsewhere."""
        return FrameFeatures(self.s4, self.s8, self.s16, None, None)


@dataclass(frozen=True)
class Matches:
    """How well places of two references match, B pairs.

    Attributes:
        correlation: (B, M, H/16, W/16), for M motions from the left to the right reference.
        still8, still4: (B, 1, H/8, W/8) and (B, 1, H/4, W/4), for no motion.
    """

    correlation: torch.Tensor
    still8: torch.Tensor
    still4: torch.Tensor


@dataclass(frozen=True)
class Pair:
    """Two references with all that does not depend on the target's time, shared by every target
    between them; B pairs.

    Attributes:
        size: H and W of the frames as they came; the tensors are of the padded size.
        image0, image1: (B, 3, H, W), in [0, 1].
        small0, small1: (B, 3, H/4, W/4), their means over cells.
        change: (B, 1, H, W), what moves or changes at all; see `refine.change_between`.
        left, right: features, for references only.
        matches: how the two match.
    """

    size: tuple[int, int]
    image0: torch.Tensor
    image1: torch.Tensor
    small0: torch.Tensor
    small1: torch.Tensor
    change: torch.Tensor
    left: FrameFeatures
    right: FrameFeatures
    matches: Matches

    @property
    def difference(self) -> torch.Tensor:
        """(B,): how much the references differ; see `Neighbours.moved`."""
        return difference(self.small0, self.small1)


def difference(small0: torch.Tensor, small1: torch.Tensor) -> torch.Tensor:
    """(B, 3, H/4, W/4) twice -> (B,), the mean absolute difference."""
    return (small0 - small1).abs().mean((1, 2, 3))


@dataclass(frozen=True)
class Motion:
    """Where points that a target shows lie in its two references, for all that the references alone
    tell: on straight paths.

    Attributes:
        cascade: the estimates of all scales, coarsest first, the last at 1/4.
        hidden: (B, hidden4, H/4, W/4), features of the last.
    """

    cascade: tuple[FlowEstimate, ...]
    hidden: torch.Tensor

    @property
    def across(self) -> torch.Tensor:
        """(B, 2, H/4, W/4): the motion from the left to the right reference, pixels of 1/4."""
        return self.cascade[-1].flow_t1 - self.cascade[-1].flow_t0


@dataclass(frozen=True)
class Neighbours:
    """The motion in the gaps beside two references, B pairs.

    Attributes:
        before, after: (B, 2, H/4, W/4), from the frame before to the left reference and from the
            right one to the frame after, as seen half way, pixels of 1/4; finite where unknown.
        times: (B, 2), of the frame before, below 0, and of the frame after, above 1, in the unit of
            the gap between the references.
        known: (B, 2), bool, whether there is such a frame, and it is no repetition of the reference
            beside it.
    """

    before: torch.Tensor
    after: torch.Tensor
    times: torch.Tensor
    known: torch.Tensor

    @staticmethod
    def moved(beside: torch.Tensor, between: torch.Tensor) -> torch.Tensor:
        """Whether a gap holds motion, from how much its frames and those of the gap between the
        references differ: a repeated frame says nothing about velocity, however still it is, and
        would make what moves on seem to start or to stop."""
        return beside >= REPEATED * between

    @staticmethod
    def none(motion: Motion) -> "Neighbours":
        """Those of references with no frame beside them."""
        still = torch.zeros_like(motion.across)
        times = torch.stack(
            (still.new_full((len(still),), -1.0), still.new_full((len(still),), 2.0)), 1
        )
        return Neighbours(still, still, times, torch.zeros_like(times, dtype=torch.bool))


def expand(value, n: int):
    """What belongs to one pair, for n targets, without a copy; what belongs to n already as it is."""
    return map_tensors(lambda x: x.expand(n, *x.shape[1:]), value)


def map_tensors(change, value):
    """`value` with every tensor in it changed; dataclasses and tuples are looked into."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, tuple):
        return tuple([map_tensors(change, x) for x in value])
    if value is None or isinstance(
        value, (int, float)
    ):  # before what the compiler of torch 2.11 cannot ask of them
        return value
    if is_dataclass(value):
        return type(value)(
            **{f.name: map_tensors(change, getattr(value, f.name)) for f in fields(value)}
        )
    return value
