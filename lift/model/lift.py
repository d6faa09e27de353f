"""LIFT: the five stages together."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn as nn

from lift import kernels
from lift.config import ModelConfig, TrainConfig
from lift.data.clip import Clip, map_tensors
from lift.model.adjacent import AdjacentMotion, gaps_per_side, has_motion
from lift.model.autocast_weights import autocast_weights
from lift.model.context import context_stage
from lift.model.encoder import Encoder
from lift.model.flow import FlowCascade
from lift.model.images import frame_images, reference_images
from lift.model.refine import Refinement
from lift.model.refine_coarse import CoarseRefinement
from lift.model.synthesis import CoarseSynthesis
from lift.model.types import (
    FrameFeatures,
    Motion,
    Prediction,
    ReferencePair,
    expand,
    mean_difference,
)
from lift.model.upsampling import enlarged


class LIFT(nn.Module):
    """Interpolates the frame at time t from a clip of 2 to 15 frames (or more) of any size.

    Args:
        config: sizes; see `lift.config`.
        kernels: "auto", "fused" (an error where they are not supported) or "reference".
    """

    def __init__(self, config: ModelConfig, kernels: str = "auto"):
        super().__init__()
        self.config, self.backend = config, kernels
        self.freeze_epochs = TrainConfig.freeze_epochs
        self.trained_stages = TrainConfig.stages
        self.frozen = False
        self.encoder = Encoder(config, kernels)
        self.transformer = context_stage(config, kernels)
        self.flow = FlowCascade(config, kernels)
        self.synthesis = CoarseSynthesis(config, kernels)
        refinement = Refinement if config.full_resolution_blend else CoarseRefinement
        self.refine = refinement(config, kernels)

    if TYPE_CHECKING:  # to a type checker a module returns Any

        def __call__(
            self, clip: Clip, t: torch.Tensor, with_attention: bool = True
        ) -> Prediction: ...

    def forward(self, clip: Clip, t: torch.Tensor, with_attention: bool = True) -> Prediction:
        """The frame at time t.

        Args:
            clip: the input frames of B targets, in [0, 1]; the content of masked frames has no
                effect. Frames that several targets share are encoded once.
            t: (B,), in (0, 1).
            with_attention: whether the prediction has the attention weights.

        Raises:
            ValueError: t has another shape or is outside (0, 1).
        """
        if t.shape != clip.times.shape[:1]:
            raise ValueError(f"LIFT: t must be (B,) = ({len(clip.times)},), got {tuple(t.shape)}")
        if torch.compiler.is_compiling():
            return self._predict(clip, t, with_attention)
        with autocast_weights(self):
            return self._predict(clip, t, with_attention)

    def _predict(self, clip: Clip, t: torch.Tensor, with_attention: bool) -> Prediction:
        B, T = clip.times.shape
        if clip.frame_index is None:
            # Ordered by time, the left references of all clips are a slice, and so are the right.
            mask = clip.mask.T.contiguous()[..., None, None, None]
            frames = torch.where(mask, clip.frames.transpose(0, 1), 0).flatten(0, 1)
            indices = torch.arange(T * B, device=frames.device).view(T, B).T
            references = slice(clip.left * B, (clip.left + 2) * B)
            features = self._features(frames)
            context = features
        else:
            indices = clip.frame_index
            references = indices[:, clip.left : clip.left + 2].T.flatten()
            features = self._features(clip.frames.flatten(0, 1))
            context = features.context_only()[indices.T.flatten()]
        both = features.reference_only()[references]
        if torch.is_grad_enabled():
            # Saved for backward, a view would keep all frames; the encoder may save features too.
            if self.frozen or self.encoder.recompute:
                both = map_tensors(torch.clone, both)
            else:
                both = replace(both, image=both.image.clone())
        pair = self.prepare_pair(*self.flow.project(both).halves())
        motion = self.estimate_motion(pair, t)
        adjacent = self._adjacent_motion(features, indices, clip, pair, motion)
        keys, values = (
            x.unflatten(0, (T, B)).transpose(0, 1) for x in (context.keys, context.values)
        )
        return self.synthesize(
            pair, motion, adjacent, keys, values, clip.times, clip.mask, t, with_attention
        )

    def encode(self, frames: torch.Tensor) -> FrameFeatures:
        """Features of (N, 3, H, W) frames in [0, 1].

        Each depends on its own frame alone and may be cached.
        """
        return self.flow.project(self._features(frames))

    def _features(self, frames: torch.Tensor) -> FrameFeatures:
        normalized, *images = frame_images(frames, self.backend)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            s4, s8, s16 = self.encoder(normalized, normalized=True)
        keys, values = self.transformer.key_values(s8 if s16 is None else s16)
        return FrameFeatures(s4, s8, s16, *images, keys, values, tuple(frames.shape[-2:]))

    def prepare_pair(self, left: FrameFeatures, right: FrameFeatures) -> ReferencePair:
        """Everything about B pairs of references that does not depend on the target's time.

        Args:
            left, right: features of B frames each; where they are `low_resolution_only`, so is the
                pair.
        """
        images = None
        if left.image is not None and self.config.full_resolution_blend:
            images = left.image, right.image, left.luma2, right.luma2
        return ReferencePair(
            size=left.size,
            images=None if images is None else reference_images(*images, self.backend),
            left=left.low_resolution_only(),
            right=right.low_resolution_only(),
            cost_volumes=self.flow.correlate(left, right),
        )

    def with_images(
        self, pair: ReferencePair, left: torch.Tensor, right: torch.Tensor
    ) -> ReferencePair:
        """A pair with the images of its references, at the resolution that the target shall have.

        Where the features are those of reduced frames, motion and context have their resolution;
        they are enlarged for the synthesis and the refinement.

        Args:
            pair: what `prepare_pair` returned, of any features of the references.
            left, right: the references, (B, 3, H, W) in [0, 1].
        """
        _, image0, luma0, quarter0, *_ = frame_images(left, self.backend)
        _, image1, luma1, quarter1, *_ = frame_images(right, self.backend)
        is_reduced = quarter0.shape != pair.left.quarter.shape
        images = None
        if self.config.full_resolution_blend:
            images = reference_images(image0, image1, luma0, luma1, self.backend)
        return replace(
            pair,
            size=tuple(left.shape[-2:]),
            images=images,
            quarters=(quarter0, quarter1) if is_reduced else None,
        )

    def estimate_motion(self, pair: ReferencePair, t: torch.Tensor) -> Motion:
        """Motion between the references of B pairs, or of one pair for B targets.

        At t = 0.5 it is also what the neighbouring pairs need; see `AdjacentMotion`.

        Args:
            pair: what `prepare_pair` returned, for B pairs or one.
            t: (B,), in (0, 1).
        """
        pair = expand(pair, len(t))
        return self.flow(pair.left, pair.right, pair.cost_volumes, t)

    def synthesize(
        self,
        pair: ReferencePair,
        motion: Motion,
        adjacent: AdjacentMotion | None,
        keys: torch.Tensor,
        values: torch.Tensor,
        times: torch.Tensor,
        mask: torch.Tensor,
        t: torch.Tensor,
        with_attention: bool = True,
    ) -> Prediction:
        """Frames at the times t between references.

        Args:
            pair: what `prepare_pair` returned for B pairs or, for several targets between the same
                two references, for one.
            motion: what `estimate_motion` returned for t.
            adjacent: the motion beside the references, of B pairs or of one; None where there is no
                frame beside them. Straight paths do not depend on it.
            keys, values: (B or 1, T, layers, H/16, W/16, heads, d), of the context frames in any
                order, with any strides.
            times, mask: (B or 1, T), of the context frames, the references included.
            t: (B,), in (0, 1).
            with_attention: whether the prediction has the attention weights.
        """
        _check_time(t)
        pair, adjacent, keys, values, times, mask = expand(
            (pair, adjacent, keys, values, times, mask), len(t)
        )
        context, attention = self.transformer(
            pair.left.s16, pair.right.s16, keys, values, times, mask, t, with_attention
        )
        estimate, hidden = motion.cascade[-1], motion.hidden
        if adjacent is not None and self.flow.trajectory is not None:
            estimate = self.flow.curve(motion, adjacent, context, t)
        quarters = pair.left.quarter, pair.right.quarter
        if pair.quarters is not None:
            quarters = pair.quarters
            size = quarters[0].shape[-2:]
            estimate, hidden, context = enlarged(estimate, hidden, context, size)
        coarse = self.synthesis(*quarters, estimate, hidden, context)
        frame = self.refine(pair.images, estimate, hidden, coarse, t)
        h, w = pair.size
        quarter = (h + 3) // 4, (w + 3) // 4
        return Prediction(
            frame=_crop(frame, h, w),
            coarse=_crop(coarse, *quarter),
            state=_crop(estimate.state, *quarter),
            attention=attention,
            cascade=motion.cascade[:-1],
        )

    def _adjacent_motion(
        self,
        features: FrameFeatures,
        indices: torch.Tensor,
        clip: Clip,
        pair: ReferencePair,
        motion: Motion,
    ) -> AdjacentMotion | None:
        """The motion beside the references of a clip's B targets.

        `indices` (B, T) says which of the features are each input's.

        No gradient: these flows are trained where the gap is itself the target interval.
        """
        if self.flow.trajectory is None:
            return None
        if clip.times.shape[1] == 2:
            # In training the trajectory takes part all the same: every step has all gradients.
            return AdjacentMotion.none(motion) if torch.is_grad_enabled() else None
        per_side = gaps_per_side(clip.times.shape[1], self.config.path_frames)
        inputs = (clip.times, clip.mask, indices, clip.left, per_side)
        ends, times, exists = kernels.adjacent_frames(*inputs, backend=self.backend)
        with torch.no_grad():
            found = features.low_resolution_only()[ends.flatten()]
            left, right = self.flow.project(found).halves()
            half = times.new_full((len(left),), 0.5)
            motions = self.flow(left, right, self.flow.correlate(left, right), half).flow_01
            differences = mean_difference(left.quarter, right.quarter).view(times.shape)
            valid = exists & has_motion(differences, pair.difference[:, None])
        # detached, since tangents pass through no_grad
        return AdjacentMotion(motions.unflatten(0, times.shape).detach(), times, valid)

    def set_epoch(self, epoch: int) -> None:
        """Freeze the encoder in the first `freeze_epochs` epochs, counted from 0.

        Where only the synthesis or the trajectory is trained, everything else stays frozen.
        """
        trained = self.trained_stages
        self.frozen = trained != "all" or epoch < self.freeze_epochs
        self.requires_grad_(trained == "all")
        self.encoder.requires_grad_(not self.frozen)
        if trained == "synthesis":
            self.synthesis.requires_grad_(True)
            self.refine.requires_grad_(True)
        elif trained == "trajectory":
            self.flow.trajectory.requires_grad_(True)

    def count_parameters(self) -> dict[str, int]:
        """Number of parameters: "total", "trainable", and of each stage by name."""
        count = {
            "total": sum(p.numel() for p in self.parameters()),
            "trainable": sum(p.numel() for p in self.parameters() if p.requires_grad),
        }
        for name, stage in self.named_children():
            count[name] = sum(p.numel() for p in stage.parameters())
        return count


def _crop(x: torch.Tensor, h: int, w: int) -> torch.Tensor:
    """The first h rows and w columns of (B, C, H, W)."""
    if not torch.compiler.is_exporting():
        return x[..., :h, :w]
    # A slice would bind the program to sizes that are, or are not, multiples of the padding.
    rows, columns = (torch.arange(size, device=x.device) for size in (h, w))
    return x.index_select(-2, rows).index_select(-1, columns)


def _check_time(t: torch.Tensor) -> None:
    """Raise a ValueError where t is outside (0, 1); not on a GPU, which would have to wait."""
    if torch.compiler.is_compiling() or t.device.type != "cpu":
        return
    if not bool(((t > 0) & (t < 1)).all()):
        raise ValueError(f"LIFT: t must be between the references, in (0, 1), got {t.tolist()}")


if __name__ == "__main__":
    import runpy

    runpy.run_module("lift.model", run_name="__main__")
