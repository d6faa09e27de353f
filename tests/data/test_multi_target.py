"""Several targets of one window: each has the clip it would have alone, with equal gradients."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from lift.config import DataConfig, TrainConfig
from lift.data import multi_target
from lift.data.augmentation import Augmentation
from lift.data.clip import Batch, Clip
from lift.data.dataset import ClipDataset
from lift.data.sample import collate
from lift.kernels import warp
from lift.model.lift import LIFT
from lift.training.losses import total_loss
from tests.support.models import TINY

MODEL = replace(TINY, layers=1)

CONFIG = DataConfig(
    crop_height=32, crop_width=32, targets=3, full_context_prob=0.5, synthetic_size=40
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two sequences, one too short for fifteen frames; the red channel of a frame is its number."""
    folder = tmp_path_factory.mktemp("clips")
    for name, count in (("a", 64), ("b", 9)):
        place = folder / "sequences" / "train" / name
        place.mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(
                str(place / f"im{i:02d}.png"), np.full((40, 40, 3), (90, 40, 4 * i), np.uint8)
            )
    return folder


def samples(root=None, **changes):
    config = replace(CONFIG, data_root=str(root or ""), **changes)
    return ClipDataset(config, "train", batch_size=1, seed=3, train=True)


# -- the data --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", ["skip", "dense"])
def test_every_target_has_the_clip_it_would_have_alone(root, monkeypatch, sampling):
    monkeypatch.setattr(
        Augmentation, "draw", lambda rng, *_: Augmentation(reverse=bool(rng.random() < 0.5))
    )
    data, most, full = (
        samples(root, data_source="folder", sampling=sampling, strides=(2, 3)),
        set(),
        0,
    )
    for g in range(24):
        s = data[g]
        assert (
            s.frame_index.shape == s.times.shape == s.mask.shape
            and len(s.t) == 3
            and s.mask[:, :2].all()
            and s.times.shape[1] <= 15
        )
        numbers = (s.frames[:, 0].mean((1, 2)) * 255 / 4).round()[s.frame_index]
        targets = (s.target[:, 0].mean((1, 2)) * 255 / 4).round()
        start, gap = numbers[:, :1], numbers[:, 1:2] - numbers[:, :1]
        assert torch.allclose(s.times[s.mask], ((numbers - start) / gap)[s.mask], atol=1e-6)
        assert (
            torch.allclose(s.t[:, None], (targets[:, None] - start) / gap)
            and ((s.t > 0) & (s.t < 1)).all()
        )
        for k in range(3):
            own = numbers[k][s.mask[k]].tolist()
            assert len(set(own)) == len(own) and targets[k].item() not in own
        if sampling == "dense":
            assert (s.t == 0.5).all()
        most.add(len(s.frames))
        full += int((s.mask.sum(1) == 15).all())
    assert max(most) == 15 + 3 - (sampling == "skip") and len(most) > 3 and full > 2


def test_targets_of_a_window_differ(root):
    data = samples(root, data_source="folder", strides=(2,))
    picks = [data[g] for g in range(16)]
    assert sum(len({target.mean().item() for target in s.target}) == 3 for s in picks) > 12


@pytest.mark.parametrize("sampling", ["skip", "dense"])
def test_the_true_flow_of_each_target_leads_to_its_own_references(sampling):
    data = samples(data_source="synthetic", sampling=sampling, crop_height=64, crop_width=64)
    right, wrong = [], []
    for g in range(6):
        batch = collate([data[g]])
        for side, image in enumerate(batch.clip.references):
            seen = batch.visible[:, side : side + 1]
            for k in range(3):
                for flow, errors in ((batch.flow[k], right), (batch.flow[(k + 1) % 3], wrong)):
                    made = warp(image[k : k + 1], flow[None, 2 * side : 2 * side + 2].contiguous())
                    errors.append(
                        ((made - batch.target[k]).abs() * seen[k]).sum().item()
                        / max(seen[k].sum().item(), 1)
                    )
    assert np.mean(right) < 0.06 and np.mean(right) < 0.8 * np.mean(wrong)


def test_a_gap_over_a_cut_is_replaced():
    rng = np.random.default_rng(0)
    allowed = {4, 6, 12}
    for _ in range(20):
        found = multi_target.reference_intervals(6, 3, 2, allowed, rng)
        assert len(found) == 3 and 6 in found and set(found) <= allowed


def test_samples_follow_from_their_number(root):
    one, other = (samples(root, data_source="mixed")[5] for _ in range(2))
    assert all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ("frames", "frame_index", "times", "mask", "t", "target", "flow")
    )


def test_clips_know_their_frames():
    with pytest.raises(ValueError, match="a multiple of B"):
        Clip(
            torch.rand(2, 4, 3, 8, 8),
            torch.zeros(3, 2),
            torch.ones(3, 2, dtype=torch.bool),
            frame_index=torch.zeros(3, 2, dtype=torch.long),
        )


# -- the model -------------------------------------------------------------------------------------


def learnt(
    passes, batch: Batch, nudged: bool = False
) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """Frames, and gradients of the mean loss; `nudged` moves each weight by its rounding."""
    torch.manual_seed(0)
    model = LIFT(MODEL)
    with torch.no_grad():
        for p in model.parameters():
            if not p.any():
                p.copy_(0.02 * torch.randn(p.shape))
            if nudged:
                p.mul_(1 + 2.0**-23 * (2.0 * torch.randint(2, p.shape) - 1))
    frames = passes(model, batch)
    return frames, {name: p.grad for name, p in model.named_parameters()}


def together(model: LIFT, batch: Batch) -> list[torch.Tensor]:
    prediction = model(batch.clip, batch.t)
    total_loss(prediction, batch, TrainConfig(flow_weight=0.0))[0].backward()
    return list(prediction.frame.detach())


def apart(model: LIFT, batch: Batch) -> list[torch.Tensor]:
    frames, clips = [], batch.clip.separate()
    for i in range(len(batch.t)):
        one = slice(i, i + 1)
        single = Batch(
            replace(clips, frames=clips.frames[one], times=clips.times[one], mask=clips.mask[one]),
            *(
                getattr(batch, name)[one]
                for name in ("t", "target", "flow", "visible", "flow_known")
            ),
        )
        prediction = model(single.clip, single.t)
        (total_loss(prediction, single, TrainConfig(flow_weight=0.0))[0] / len(batch.t)).backward()
        frames.append(prediction.frame[0].detach())
    return frames


@pytest.mark.slow
def test_gradients_are_those_of_separate_passes(root):
    data = samples(root, data_source="folder", strides=(3,))
    sample = next(
        data[g]
        for g in range(60)
        if not data[g].mask.all() and len(data[g].frames) < 9 and len(set(data[g].t.tolist())) > 1
    )
    batch = collate([sample, sample])
    (frames, gradients), (expected, exact) = learnt(together, batch), learnt(apart, batch)
    _, rounded = learnt(apart, batch, nudged=True)
    for found, wanted in zip(frames, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    faint = 1e-6 * max(g.norm() for g in exact.values())
    assert gradients["encoder.stem.weight"].any()
    for name, g in exact.items():
        rounding = (rounded[name] - g).norm()  # differs from processor to processor
        assert (gradients[name] - g).norm() <= 1e-4 * g.norm() + 2 * rounding + faint, name


def test_each_frame_is_encoded_once(root, monkeypatch):
    batch = collate([samples(root, data_source="folder", full_context_prob=1.0, strides=(2,))[0]])
    model, encoded = LIFT(MODEL), []
    original = model.encoder.forward
    monkeypatch.setattr(
        model.encoder, "forward", lambda x, **kind: encoded.append(len(x)) or original(x, **kind)
    )
    model(batch.clip, batch.t)
    assert encoded == [17] and batch.clip.mask.shape == (3, 15)
