"""LIFT: the five stages together."""

import math
from dataclasses import fields, replace

import torch
import torch.nn as nn
import torch.nn.functional as F

from lift.config import PRESETS, ModelConfig, TrainConfig, old_names
from lift.data.clip import Clip, SharedClips
from lift.model.blocks import area
from lift.model.encoder import Encoder
from lift.model.features import FrameFeatures, Motion, Neighbours, Pair, difference, expand
from lift.model.flow import FlowCascade
from lift.model.prediction import Prediction
from lift.model.refine import Refinement, change_between
from lift.model.synthesis import CoarseSynthesis
from lift.model.transformer import TemporalTransformer

MULTIPLE = 16  # frames are padded to it; the coarsest scale is 1/16
BESIDE = 2  # gaps: a frame farther away says little about the path between the references


def pad(frames: torch.Tensor) -> torch.Tensor:
    """(..., 3, H, W) -> right and bottom edge repeated up to the model's multiple."""
    h, w = frames.shape[-2:]
    right, bottom = -w % MULTIPLE, -h % MULTIPLE
    return F.pad(frames, (0, right, 0, bottom), mode="replicate") if right or bottom else frames


class LIFT(nn.Module):
    """Interpolates the frame at time t from a clip of 2 to 15 frames (or more) of any size.

    Args:
        config: sizes; see `lift.config`.
        kernels: "auto", "fused" (an error where they cannot serve) or "reference".
    """

    def __init__(self, config: ModelConfig, kernels: str = "auto"):
        super().__init__()
        self.config = config
        self.freeze_epochs = TrainConfig.freeze_epochs
        self.frozen = False
        self.encoder = Encoder(config)
        self.transformer = TemporalTransformer(config, kernels)
        self.flow = FlowCascade(config, kernels)
        self.synthesis = CoarseSynthesis(config, kernels)
        self.refine = Refinement(config, kernels)

    def forward(self, clip: Clip | SharedClips, t: torch.Tensor) -> Prediction:
        """The frame at time t.

        Args:
            clip: (B, T, 3, H, W) in [0, 1]; what masked frames hold changes nothing. Or B clips
                that share frames, each encoded once.
            t: (B,), in (0, 1).

        Raises:
            ValueError: t has another shape or lies outside (0, 1).
        """
        if t.shape != clip.times.shape[:1]:
            raise ValueError(f"LIFT: t must be (B,) = ({len(clip.times)},), got {tuple(t.shape)}")
        shared = isinstance(clip, SharedClips)
        frames = (
            clip.frames if shared else torch.where(clip.mask[..., None, None, None], clip.frames, 0)
        ).flatten(0, 1)
        features = self.encode(frames)
        left, right = clip.at[:, clip.left], clip.at[:, clip.left + 1]
        pair = self.pair(frames[left], frames[right], features[left], features[right])
        motion = self.motion(pair, t)
        neighbours = self._neighbours(frames, features, clip, pair, motion)
        context = features.context_only()[clip.at.flatten()] if shared else features
        keys, values = (x.unflatten(0, clip.times.shape) for x in (context.keys, context.values))
        return self.at(pair, motion, neighbours, keys, values, clip.times, clip.mask, t)

    def encode(self, frames: torch.Tensor) -> FrameFeatures:
        """Features of (N, 3, H, W) frames in [0, 1]; each depends on its own frame alone and may be
        cached.
        """
        frames = pad(frames)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            s4, s8, s16 = self.encoder(frames)
        return FrameFeatures(s4, s8, s16, *self.transformer.key_values(s16))

    def pair(
        self, image0: torch.Tensor, image1: torch.Tensor, left: FrameFeatures, right: FrameFeatures
    ) -> Pair:
        """All that does not depend on the target's time: (B, 3, H, W) references in [0, 1] and
        their features, B frames each.
        """
        size = tuple(image0.shape[-2:])
        image0, image1 = pad(image0), pad(image1)
        return Pair(
            size,
            image0,
            image1,
            area(image0, 4),
            area(image1, 4),
            change_between(image0, image1),
            left.reference_only(),
            right.reference_only(),
            self.flow.compare(left, right),
        )

    def motion(self, pair: Pair, t: torch.Tensor) -> Motion:
        """The motion between the references of B pairs, or of one for several targets, as seen at t
        (B,) in (0, 1).

        Seen half way it is also what the pairs beside this one need of it; see `Neighbours`.
        """
        pair = expand(pair, len(t))
        return self.flow(pair.left, pair.right, pair.matches, t)

    def at(
        self,
        pair: Pair,
        motion: Motion,
        neighbours: Neighbours | None,
        keys: torch.Tensor,
        values: torch.Tensor,
        times: torch.Tensor,
        mask: torch.Tensor,
        t: torch.Tensor,
    ) -> Prediction:
        """The frames at the times t between references.

        Args:
            pair: what `pair` gave for B references or, for several targets between the same two,
                for one.
            motion: what `motion` gave at t.
            neighbours: the motion beside the references, of B or of one; None where no frame lies
                beside them.
            keys, values: (B or 1, T, layers, H/16, W/16, heads, d), of the context frames in any
                order, read where they lie.
            times, mask: (B or 1, T), of the context frames; the references are among them.
            t: (B,), in (0, 1).
        """
        if (
            not torch.compiler.is_compiling()
            and t.device.type == "cpu"
            and not bool(((t > 0) & (t < 1)).all())
        ):
            raise ValueError(
                f"LIFT: t must lie between the references, in (0, 1), got {t.tolist()}"
            )
        pair, neighbours, keys, values, times, mask = expand(
            (pair, neighbours, keys, values, times, mask), len(t)
        )
        gathered, attention = self.transformer(
            pair.left.s16, pair.right.s16, keys, values, times, mask, t
        )
        estimate = (
            motion.cascade[-1]
            if neighbours is None
            else self.flow.bend(motion, neighbours, gathered, t)
        )
        coarse = self.synthesis(pair.small0, pair.small1, estimate, motion.hidden, gathered)
        frame = self.refine(pair.image0, pair.image1, pair.change, estimate, motion.hidden, coarse)
        h, w = pair.size
        small = slice((h + 3) // 4), slice((w + 3) // 4)
        crop = (
            x[(..., *small)]
            for x in (coarse, estimate.flow_t0, estimate.flow_t1, estimate.occ_t0, estimate.occ_t1)
        )
        return Prediction(frame[..., :h, :w], *crop, attention, motion.cascade[:-1])

    def _neighbours(
        self,
        frames: torch.Tensor,
        features: FrameFeatures,
        clip: Clip | SharedClips,
        pair: Pair,
        motion: Motion,
    ) -> Neighbours | None:
        """The motion beside the references of a clip's B targets. Not learned here: what is wrong
        with it, targets in these gaps teach.
        """
        if (
            clip.times.shape[1] == 2
        ):  # for training the bend takes part all the same: every step has all gradients
            return Neighbours.none(motion) if torch.is_grad_enabled() else None
        times = torch.stack(
            (clip.times, 1 - clip.times), 1
        )  # (B, 2, T): the frame after, time running backwards
        beside = clip.mask[:, None] & (times < 0) & (times >= -BESIDE)
        times, place = torch.where(beside, times, -math.inf).max(2)
        known = beside.any(2)
        times = torch.where(known, times, -1.0)
        reference = clip.at[:, clip.left : clip.left + 2]
        there = torch.where(known, clip.at.gather(1, place), reference)  # an unknown one: any frame
        left, right = (
            torch.cat((there[:, 0], reference[:, 1])),
            torch.cat((reference[:, 0], there[:, 1])),
        )
        with torch.no_grad():
            half = times.new_full((len(left),), 0.5)
            one, other = features[left].reference_only(), features[right].reference_only()
            before, after = self.flow(one, other, self.flow.compare(one, other), half).across.chunk(
                2
            )
            changes = (
                difference(area(pad(frames[left]), 4), area(pad(frames[right]), 4)).view(2, -1).T
            )
            known = known & Neighbours.moved(changes, pair.difference[:, None])
        return Neighbours(before, after, torch.stack((times[:, 0], 1 - times[:, 1]), 1), known)

    def set_epoch(self, epoch: int) -> None:
        """Freeze the encoder during the first `freeze_epochs` epochs (counted from 0), free it
        afterwards.
        """
        self.frozen = epoch < self.freeze_epochs
        self.encoder.requires_grad_(not self.frozen)

    def count_parameters(self) -> dict[str, int]:
        """Parameters in all, trainable ones, and by stage."""
        count = {
            "total": sum(p.numel() for p in self.parameters()),
            "trainable": sum(p.numel() for p in self.parameters() if p.requires_grad),
        }
        return count | {
            name: sum(p.numel() for p in stage.parameters())
            for name, stage in self.named_children()
        }


def create_lift_model(
    preset: str = "base", pretrained: bool = False, kernels: str = "auto", **overrides
) -> LIFT:
    """A LIFT model of a preset.

    Args:
        preset: "base", "small" or "tiny".
        pretrained: load the weights that ship with the package.
        kernels: "auto", "fused" or "reference".
        overrides: fields of `ModelConfig` to change, e.g. window=4.

    Raises:
        ValueError: an unknown preset or field.
        LiftError: no weights ship for this preset, or the overrides do not fit them.
    """
    if preset not in PRESETS:
        raise ValueError(
            f"create_lift_model: preset must be one of {', '.join(PRESETS)}, got {preset!r}"
        )
    unknown = set(overrides) - {f.name for f in fields(ModelConfig)}
    if renamed := unknown & old_names.RENAMED["model"].keys():
        name = min(renamed)
        raise ValueError(f"create_lift_model: {name} is now {old_names.RENAMED['model'][name]}")
    if unknown:
        raise ValueError(
            f"create_lift_model: unknown field(s) {', '.join(sorted(unknown))}; ModelConfig has no such size"
        )
    model = LIFT(replace(PRESETS[preset](), **overrides), kernels)
    if pretrained:
        from lift.model.weights import load_into, pretrained_path

        load_into(model, pretrained_path(preset))
    return model


if __name__ == "__main__":
    from lift.model.__main__ import main

    main()
