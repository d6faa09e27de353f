"""The comparison of a model with itself on a clip played backwards."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lift.evaluation.protocols import real16
from lift.evaluation.reversal import reversal
from lift.io.manifest import ManifestClip
from lift.model.types import Prediction

CLIP = ManifestClip("clip", "clip.mp4", Path("clip.mp4"), 40, "val")


class Mixture(torch.nn.Module):
    """The left reference's part is `share(t)`; it notes what it was asked."""

    def __init__(self, share):
        super().__init__()
        self.share, self.asked = share, []

    def forward(self, clip, t):
        self.asked.append((clip.frames, clip.times[0].tolist(), float(t)))
        left, right = clip.references
        return Prediction(self.share(t) * left + (1 - self.share(t)) * right, *[None] * 3)


@pytest.fixture(autouse=True)
def levels(monkeypatch):
    """Frame k is of grey level 2 k everywhere."""
    frames = [np.full((32, 32, 3), 2 * k, np.uint8) for k in range(CLIP.frames)]
    source = SimpleNamespace(frames=lambda: iter(frames))
    monkeypatch.setattr(real16, "open_frames", lambda path: source)


def test_a_symmetric_model_agrees_and_is_asked_backwards():
    model = Mixture(lambda t: 1 - t)
    assert reversal(CLIP, model, 4)["largest"] == 0
    (frames, times, t), (backwards, mirrored, s) = model.asked[:2]
    assert (t, s) == (0.25, 0.75) and times == [-1, 0, 1, 2] and mirrored == times
    assert torch.equal(frames.flip(1), backwards)


def test_a_model_that_prefers_the_left_is_found_out():
    found = reversal(CLIP, Mixture(lambda t: torch.ones_like(t)), 2)
    assert found["largest"] == 4 and found["psnr"] == pytest.approx(
        20 * np.log10(255 / 4)
    )  # neighbours of a target: 4 levels apart
