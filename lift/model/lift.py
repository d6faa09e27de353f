"""LIFT: the five stages together."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from lift.config import ModelConfig, TrainConfig
from lift.data.clip import Clip
from lift.model.adjacent import AdjacentMotion, adjacent_frames, gaps_per_side, has_motion
from lift.model.alignment import luma
from lift.model.blocks import avg_down
from lift.model.encoder import Encoder
from lift.model.flow import FlowCascade
from lift.model.refine import Refinement, reference_images
from lift.model.synthesis import CoarseSynthesis
from lift.model.transformer import TemporalTransformer
from lift.model.types import (
    FrameFeatures,
    Motion,
    Prediction,
    ReferencePair,
    expand,
    mean_difference,
)

MULTIPLE = 16  # frames are padded to it; the coarsest scale is 1/16


def pad(frames: torch.Tensor) -> torch.Tensor:
    """Replicate the right and bottom edge of (..., 3, H, W) up to the model's multiple."""
    h, w = frames.shape[-2:]
    right, bottom = -w % MULTIPLE, -h % MULTIPLE
    return F.pad(frames, (0, right, 0, bottom), mode="replicate") if right or bottom else frames


class LIFT(nn.Module):
    """Interpolates the frame at time t from a clip of 2 to 15 frames (or more) of any size.

    Args:
        config: sizes; see `lift.config`.
        kernels: "auto", "fused" (an error where they are not supported) or "reference".
    """

    def __init__(self, config: ModelConfig, kernels: str = "auto"):
        super().__init__()
        self.config = config
        self.freeze_epochs = TrainConfig.freeze_epochs
        self.trained_stages = TrainConfig.stages
        self.frozen = False
        self.encoder = Encoder(config)
        self.transformer = TemporalTransformer(config, kernels)
        self.flow = FlowCascade(config, kernels)
        self.synthesis = CoarseSynthesis(config, kernels)
        self.refine = Refinement(config, kernels)

    def forward(self, clip: Clip, t: torch.Tensor) -> Prediction:
        """The frame at time t.

        Args:
            clip: the input frames of B targets, in [0, 1]; the content of masked frames has no
                effect. Frames that several targets share are encoded once.
            t: (B,), in (0, 1).

        Raises:
            ValueError: t has another shape or is outside (0, 1).
        """
        if t.shape != clip.times.shape[:1]:
            raise ValueError(f"LIFT: t must be (B,) = ({len(clip.times)},), got {tuple(t.shape)}")
        shared, indices = clip.frame_index is not None, clip.indices
        frames = clip.frames
        if not shared:
            frames = torch.where(clip.mask[..., None, None, None], frames, 0)
        frames = frames.flatten(0, 1)
        features = self.encode(frames)
        left, right = indices[:, clip.left], indices[:, clip.left + 1]
        pair = self.prepare_pair(frames[left], frames[right], features[left], features[right])
        motion = self.estimate_motion(pair, t)
        adjacent = self._adjacent_motion(frames, features, clip, pair, motion)
        context = features.context_only()[indices.flatten()] if shared else features
        keys, values = (x.unflatten(0, clip.times.shape) for x in (context.keys, context.values))
        return self.synthesize(pair, motion, adjacent, keys, values, clip.times, clip.mask, t)

    def encode(self, frames: torch.Tensor) -> FrameFeatures:
        """Features of (N, 3, H, W) frames in [0, 1].

        Each depends on its own frame alone and may be cached.
        """
        frames = pad(frames)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            s4, s8, s16 = self.encoder(frames)
        half = avg_down(frames, 2)
        quarter = avg_down(half, 2)
        return FrameFeatures(s4, s8, s16, luma(half), quarter, *self.transformer.key_values(s16))

    def prepare_pair(
        self, image0: torch.Tensor, image1: torch.Tensor, left: FrameFeatures, right: FrameFeatures
    ) -> ReferencePair:
        """Everything about B pairs of references that does not depend on the target's time.

        Args:
            image0, image1: (B, 3, H, W), in [0, 1].
            left, right: their features.
        """
        size = tuple(image0.shape[-2:])
        image0, image1 = pad(image0), pad(image1)
        return ReferencePair(
            size=size,
            images=reference_images(image0, image1, left.luma2, right.luma2),
            left=left.reference_only(),
            right=right.reference_only(),
            cost_volumes=self.flow.correlate(left, right),
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
    ) -> Prediction:
        """Frames at the times t between references.

        Args:
            pair: what `prepare_pair` returned for B pairs or, for several targets between the same
                two references, for one.
            motion: what `estimate_motion` returned for t.
            adjacent: the motion beside the references, of B pairs or of one; None where there is no
                frame beside them.
            keys, values: (B or 1, T, layers, H/16, W/16, heads, d), of the context frames in any
                order, with any strides.
            times, mask: (B or 1, T), of the context frames, the references included.
            t: (B,), in (0, 1).
        """
        _check_time(t)
        pair, adjacent, keys, values, times, mask = expand(
            (pair, adjacent, keys, values, times, mask), len(t)
        )
        context, attention = self.transformer(
            pair.left.s16, pair.right.s16, keys, values, times, mask, t
        )
        estimate = motion.cascade[-1]
        if adjacent is not None:
            estimate = self.flow.curve(motion, adjacent, context, t)
        coarse = self.synthesis(
            pair.left.quarter, pair.right.quarter, estimate, motion.hidden, context
        )
        frame = self.refine(pair.images, estimate, motion.hidden, coarse, t)
        h, w = pair.size
        quarter = (..., slice((h + 3) // 4), slice((w + 3) // 4))
        return Prediction(
            frame=frame[..., :h, :w],
            coarse=coarse[quarter],
            state=estimate.state[quarter],
            attention=attention,
            cascade=motion.cascade[:-1],
        )

    def _adjacent_motion(
        self,
        frames: torch.Tensor,
        features: FrameFeatures,
        clip: Clip,
        pair: ReferencePair,
        motion: Motion,
    ) -> AdjacentMotion | None:
        """The motion beside the references of a clip's B targets.

        No gradient: these flows are trained where the gap is itself the target interval.
        """
        if clip.times.shape[1] == 2:
            # In training the trajectory takes part all the same: every step has all gradients.
            return AdjacentMotion.none(motion) if torch.is_grad_enabled() else None
        per_side = gaps_per_side(clip.times.shape[1], self.config.path_frames)
        position, times, exists = adjacent_frames(clip.times, clip.mask, per_side)
        reference = clip.indices[:, clip.left : clip.left + 2]
        inner, outer = [], []
        for frame, there in zip(position.split(2, 1), exists.split(2, 1), strict=True):
            inner.append(outer[-1] if outer else reference)
            # Where no frame exists, any one: the result is not valid.
            outer.append(torch.where(there, clip.indices.gather(1, frame), inner[-1]))
        inner, outer = torch.cat(inner, 1), torch.cat(outer, 1)  # (B, G)
        before = torch.arange(inner.shape[1], device=inner.device) % 2 == 0
        left = torch.where(before, outer, inner).flatten()
        right = torch.where(before, inner, outer).flatten()
        with torch.no_grad():
            half = times.new_full((len(left),), 0.5)
            features0, features1 = features[left].reference_only(), features[right].reference_only()
            volumes = self.flow.correlate(features0, features1)
            motions = self.flow(features0, features1, volumes, half).flow_01
            quarters = features[left].quarter, features[right].quarter
            differences = mean_difference(*quarters).view(times.shape)
            valid = exists & has_motion(differences, pair.difference[:, None])
        return AdjacentMotion(motions.unflatten(0, times.shape), times, valid)

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


def _check_time(t: torch.Tensor) -> None:
    """Raise a ValueError where t is outside (0, 1); not on a GPU, which would have to wait."""
    if torch.compiler.is_compiling() or t.device.type != "cpu":
        return
    if not bool(((t > 0) & (t < 1)).all()):
        raise ValueError(f"LIFT: t must be between the references, in (0, 1), got {t.tolist()}")


if __name__ == "__main__":
    import runpy

    runpy.run_module("lift.model", run_name="__main__")
