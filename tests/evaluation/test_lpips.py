"""LPIPS never downloads; what it lacks is one sentence."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
import torchmetrics.functional.image as image

from lift.errors import LiftError
from lift.evaluation import lpips


def test_without_torchvision_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(LiftError, match="LPIPS needs torchvision.*pip install torchvision"):
        lpips.check_lpips()


def test_without_weights_the_error_says_where_they_belong(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(LiftError, match=f"{tmp_path}.*does not exist; download.*curl"):
        lpips.check_lpips()


def test_frames_are_scaled_to_what_the_weights_expect(monkeypatch):
    seen = []

    def recorded(x, y, net_type):
        seen.extend((x, y))
        return (x - y).abs().mean()

    monkeypatch.setattr(lpips, "check_lpips", lambda: None)
    monkeypatch.setattr(image, "learned_perceptual_image_patch_similarity", recorded)
    black, white = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
    assert lpips.lpips(black, white) == 2
    assert [x.shape for x in seen] == [(1, 3, 64, 64)] * 2
