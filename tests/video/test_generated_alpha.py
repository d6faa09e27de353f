"""Alpha of generated frames: that of their references, moved as they are."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch

from lift.model.bundled import pretrained_path
from lift.model.weights import load_weights
from lift.video.engine import Engine
from lift.video.schedule import MultiplierSchedule
from tests.support.streams import interpolator

H, W = 70, 100


@dataclass(frozen=True)
class WithAlpha:
    """What `DecodedFrame` is to the stream."""

    rgb: np.ndarray
    alpha: np.ndarray | None


@pytest.fixture(scope="module")
def trained():
    return load_weights(pretrained_path("tiny"))[0]


def disc(x, dtype=np.uint8):
    """A textured disc, opaque where it is, and the frame's alpha."""
    v, u = np.mgrid[:H, :W]
    inside = np.hypot(u - x, v - 35) < 22
    texture = 128 + 60 * np.sin((u - x) / 4) * np.cos(v / 5)
    rgb = np.where(inside, texture, 20)[..., None].repeat(3, 2).astype(np.uint8)
    return WithAlpha(rgb, (inside * np.iinfo(dtype).max).astype(dtype))


def stream(model, frames, monkeypatch, multi=2, **options):
    monkeypatch.setattr("lift.video.cache.rgb_of", lambda frame: getattr(frame, "rgb", frame))
    monkeypatch.setattr(
        "lift.video.interpolator.rgb_of", lambda frame: getattr(frame, "rgb", frame)
    )
    timed = [(frame, Fraction(k)) for k, frame in enumerate(frames)]
    monkeypatch.setattr("lift.video.interpolator.number_shots", _one_shot)
    return list(interpolator(model, **options).stream(timed, MultiplierSchedule(multi)))


def _one_shot(items, rgb, detector):
    return ((item, 0) for item in items)


@pytest.mark.parametrize(
    "options",
    ({}, {"tile": 64}, {"scale": 0.5}, {"reverse_average": True}, {"batch": 2, "multi": 3}),
    ids=str,
)
@pytest.mark.parametrize("dtype", (np.uint8, np.uint16))
def test_alpha_moves_with_the_frame(trained, monkeypatch, options, dtype):
    options = dict(options)
    multi = options.pop("multi", 2)
    shown = stream(trained, [disc(40, dtype), disc(46, dtype)], monkeypatch, multi, **options)
    assert shown[0].alpha is shown[-1].alpha is None
    for k in range(1, multi):
        alpha = shown[k].alpha
        truth = torch.from_numpy(disc(40 + 6 * k / multi).alpha / 255.0)
        assert alpha.shape == (1, H, W) and 0 <= alpha.min() and alpha.max() <= 1
        assert shown[k].frame.shape == (3, H, W)
        blended = torch.from_numpy(disc(40).alpha / 510.0 + disc(46).alpha / 510.0)
        assert (alpha[0] - truth).abs().mean() < 0.6 * (blended - truth).abs().mean()


def test_alpha_changes_nothing_else(trained, monkeypatch):
    opaque = [WithAlpha(disc(x).rgb, None) for x in (40, 46, 52)]
    plain = stream(trained, opaque, monkeypatch)
    both = stream(trained, [disc(x) for x in (40, 46, 52)], monkeypatch)
    for a, b in zip(plain[1::2], both[1::2], strict=True):
        assert torch.equal(a.frame, b.frame) and a.alpha is None


def test_frames_without_alpha_make_the_calls_that_they_made(trained, monkeypatch):
    synthesize, states = Engine.synthesize, []

    def watched(self, *arguments, with_state=False, **keywords):
        states.append(with_state)
        return synthesize(self, *arguments, with_state=with_state, **keywords)

    monkeypatch.setattr(Engine, "synthesize", watched)
    frames = [disc(40), WithAlpha(disc(46).rgb, None)]  # one alone is not enough either
    assert stream(trained, frames, monkeypatch)[1].alpha is None
    assert states == [False]
