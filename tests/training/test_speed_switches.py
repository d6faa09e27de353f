"""All that makes training lean and fast at once teaches the model what the plain path does: one
step in full, and the losses of 32.
"""

from dataclasses import replace

import pytest
import torch

from lift import kernels
from lift.config import Config, DataConfig, TrainConfig
from lift.data.clip import Batch
from lift.data.dataset import ClipDataset
from lift.data.sample import collate
from lift.training.losses import total_loss
from lift.training.state import build_model
from tests.support.models import TINY

# Narrow and of small radius, so that rounding grows little within 32 steps.
MODEL = replace(
    TINY,
    layers=1,
    radius16=1,
    hidden16=8,
    hidden8=8,
    hidden4=8,
    trajectory_channels=24,
)

DATA = DataConfig(
    data_source="synthetic",
    crop_height=32,
    crop_width=32,
    context_frames=4,
    full_context_prob=1.0,
    targets=2,
)
PLAIN = TrainConfig(batch_size=1, channels_last=False, lr=2e-4)
LEAN = replace(PLAIN, channels_last=True, recompute_encoder=True, recompute_refine=True)
ULP = {None: 2.0**-23, torch.bfloat16: 2.0**-8}  # by the precision computed in
LEAST = {None: 1e-5, torch.bfloat16: 2e-3}  # relative, that is always allowed


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    data = ClipDataset(DATA, "train", batch_size=1, seed=0, train=True)
    return [collate([data[g]]) for g in range(32)]


class Learner:
    """A model that learns, its targets out of shared windows where it is lean and out of windows of
    their own where it is plain.
    """

    def __init__(self, lean: bool, autocast: torch.dtype | None, nudged: int = 0):
        torch.manual_seed(0)
        self.lean, self.autocast = lean, autocast
        self.config = Config(MODEL, DATA, LEAN if lean else PLAIN, "auto" if lean else "reference")
        self.model = build_model(self.config)
        self.model.set_epoch(self.config.train.freeze_epochs)
        generator = torch.Generator().manual_seed(nudged)
        with torch.no_grad():
            for p in self.model.parameters():
                if not p.any():  # corrections that start at zero say something
                    p.copy_(0.02 * torch.randn(p.shape))
                if nudged:
                    p.mul_(
                        1
                        + ULP[autocast] * (2.0 * torch.randint(2, p.shape, generator=generator) - 1)
                    )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.config.train.lr)

    def gradients(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The frames, the loss, and the gradient of every parameter."""
        batch = batch if self.lean else replace(batch, clip=batch.clip.separate())
        self.optimizer.zero_grad(set_to_none=True)
        with kernels.use(self.config.kernels):
            with torch.autocast("cpu", dtype=self.autocast, enabled=self.autocast is not None):
                prediction = self.model(batch.clip, batch.t)
            loss, _ = total_loss(prediction, batch, self.config.train)
            loss.backward()
        return {
            "frame": prediction.frame.detach().float(),
            "loss": loss.detach(),
            **{n: p.grad for n, p in self.model.named_parameters()},
        }

    def losses(self, batches: list[Batch]) -> torch.Tensor:
        found = []
        for batch in batches:
            found.append(self.gradients(batch)["loss"])
            self.optimizer.step()
        return torch.stack(found)


@pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=["float32", "bfloat16"])
def test_outputs_and_gradients_are_those_of_the_plain_path(batches, autocast):
    exact = Learner(False, None).gradients(batches[0])
    # What the plain path itself is off by: in low precision, or, in full, when its weights are
    # rounded otherwise.
    low = Learner(False, autocast, nudged=0 if autocast else 1).gradients(batches[0])
    found = Learner(True, autocast).gradients(batches[0])
    assert found.keys() == exact.keys()
    faint = LEAST[autocast] * max(
        x.norm() for name, x in exact.items() if name not in ("frame", "loss")
    )
    for name, x in exact.items():  # what cancels has a gradient of rounding alone
        off, allowed = (found[name] - x).norm(), 4 * (low[name] - x).norm()
        assert off <= allowed + LEAST[autocast] * x.norm() + faint, (
            f"{name}: off by {off:.3g}, allowed {allowed:.3g}"
        )


@pytest.mark.slow
@pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=["float32", "bfloat16"])
def test_32_steps_have_the_losses_of_the_plain_path(batches, autocast):
    plain = Learner(False, autocast).losses(batches)
    spread = torch.stack(
        [
            (Learner(False, autocast, nudged).losses(batches) - plain).abs() / plain
            for nudged in (1, 2)
        ]
    )
    bound = (4 * spread.amax(0).cummax(0).values).clamp(
        min=LEAST[autocast]
    )  # training makes differences grow
    off = (Learner(True, autocast).losses(batches) - plain).abs() / plain
    assert (off <= bound).all(), f"off by {off.tolist()}, allowed {bound.tolist()}"
    assert bound[0] < 0.1 and len(plain) == 32
