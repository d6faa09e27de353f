"""Which worst frames are drawn, and that their picture is small."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from lift.errors import LiftError
from lift.evaluation.target import ScoredFrame
from lift.model.factory import create_lift_model
from lift.release.limits import worst_frames
from tests.support.video_samples import moving_frames, write_folder


def test_frames_are_drawn_once():
    frames = [ScoredFrame(f"c{i}", 5, 20.0 + i, 30.0 - i) for i in range(8)]
    found = worst_frames.choose(frames)
    assert [f.clip for f in found["gain"]] == ["c0", "c1", "c2", "c3", "c4"]
    assert found["psnr"] == []
    frames.append(ScoredFrame("hard", 5, 10.0, 5.0))  # better than DIS, and the lowest PSNR
    assert [f.clip for f in worst_frames.choose(frames)["psnr"]] == ["hard"]


def test_the_picture_has_a_row_per_frame(tmp_path):
    write_folder(tmp_path / "slide", moving_frames(30))
    clip = {"file": "slide", "frames": 30, "split": "val"}
    (tmp_path / "manifest.json").write_text(json.dumps({"clips": [clip]}))
    torch.manual_seed(0)
    frames = [ScoredFrame("slide", 15, 20.0, 25.0)]
    path = tmp_path / "worst.jpg"
    found = worst_frames.draw(path, frames, str(tmp_path), create_lift_model("tiny"))
    assert found["gain"] == [{"clip": "slide", "frame": 15, "psnr": 20.0, "baseline": 25.0}]
    assert path.stat().st_size <= worst_frames.LARGEST
    with Image.open(path) as picture:
        assert picture.format == "JPEG" and picture.width <= worst_frames.WIDTHS[0]


def test_a_picture_is_narrowed_until_it_fits(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (100, 400, 3), dtype=np.uint8)
    path = tmp_path / "noise.jpg"
    monkeypatch.setattr(worst_frames, "WIDTHS", (400, 100))
    monkeypatch.setattr(worst_frames, "LARGEST", 8000)
    worst_frames.write_small(Image.fromarray(noise), path)
    assert Image.open(path).width == 100 and path.stat().st_size <= 8000
    monkeypatch.setattr(worst_frames, "LARGEST", 100)
    with pytest.raises(LiftError, match="larger than 100 bytes"):
        worst_frames.write_small(Image.fromarray(noise), path)
