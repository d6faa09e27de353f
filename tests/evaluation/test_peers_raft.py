"""RAFT's flow moves both references, which are then blended by time."""

import argparse
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from lift.errors import LiftError
from lift.evaluation.peers import add_flags, method

SHIFT = 4  # pixels to the right, from one frame to the next


class _Net(nn.Module):
    """Its weight to the right if the second image is brighter, else to the left; 8 too much."""

    def __init__(self, count):
        super().__init__()
        self.dx = nn.Parameter(torch.zeros(count))

    def forward(self, image0, image1):
        assert image0.shape[-2] % 8 == 0 and min(image0.shape[-2:]) >= 128
        assert image0.min() >= -1 and image0.max() <= 1
        sign = (image1 - image0).mean((1, 2, 3)).sign()
        flow = torch.zeros(len(image0), 2, *image0.shape[-2:])
        flow[:, 0] = self.dx[0] * sign[:, None, None] + 8  # cancels in the difference of both
        return [flow * 9, flow]  # one of each iteration


@pytest.fixture
def torchvision(monkeypatch):
    networks = ModuleType("torchvision.models.optical_flow")
    networks.raft_large = lambda weights: _Net(2)
    networks.raft_small = lambda weights: _Net(1)
    for name in ("torchvision", "torchvision.models"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, networks.__name__, networks)


def _method(*flags):
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return method("raft", parser.parse_args([str(flag) for flag in flags]), torch.device("cpu"))


@pytest.mark.parametrize("count, variant", [(1, "raft_small"), (2, "raft_large")])
def test_a_moving_texture_is_put_where_it_is_at_t(tmp_path, torchvision, count, variant):
    torch.save({"dx": torch.full((count,), float(SHIFT))}, tmp_path / "raft.pth")
    found = _method("--raft_weights", tmp_path / "raft.pth")
    assert f" {variant}, weights raft.pth (SHA-256 " in found.about and found.context_frames == 2
    y, x = np.mgrid[:37, :61]

    def texture(shift, brightness=100):
        return np.repeat((brightness + 50 * np.sin((x - shift) / 5 + y / 9))[..., None], 3, -1)

    frames = np.stack([texture(0), texture(SHIFT, 102)]).round().astype(np.uint8)
    for t in (0.25, 0.5):
        frame = found.interpolate(frames, [0.0, 1.0], 0, t)
        assert frame.dtype == np.float32 and frame.shape == frames.shape[1:]
        difference = np.abs(frame - texture(SHIFT * t, 100 + 2 * t))
        assert difference[:, SHIFT:-SHIFT].max() < 2  # the border is clamped


def test_weights_of_another_raft_are_refused(tmp_path, torchvision):
    torch.save({"module.fnet.weight": torch.zeros(1)}, tmp_path / "raft-things.pth")
    with pytest.raises(LiftError, match="--raft_weights: .*raft_large: dx is missing; raft_small"):
        _method("--raft_weights", tmp_path / "raft-things.pth")


def test_missing_weights_and_torchvision_are_named(torchvision, monkeypatch):
    with pytest.raises(LiftError, match="--raft_weights is missing; give weights of torchvision"):
        _method()
    monkeypatch.delitem(sys.modules, "torchvision.models.optical_flow")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(LiftError, match="raft needs torchvision, which cannot be imported"):
        _method()
