"""The demo drops frames, re-creates them and scores the result."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch

from lift.commands import demo
from lift.config import Config, tiny
from lift.errors import LiftError
from lift.evaluation.metrics import psnr
from lift.model.lift import LIFT
from lift.model.weights import save_weights

pytestmark = [pytest.mark.native, pytest.mark.videos]

pytest.importorskip("av", reason="PyAV is not installed")


def _scene(k: int) -> np.ndarray:
    y, x = np.mgrid[:64, :96]
    return (
        np.stack([127 + 100 * np.sin((x - 2 * k) / 7 + c) * np.cos(y / 9) for c in range(3)], -1)
        .round()
        .astype(np.uint8)
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    save_weights(path, LIFT(tiny()), Config(model=tiny()))
    return path


@pytest.fixture
def short_clip(monkeypatch):
    frames = np.stack([_scene(k) for k in range(7)])
    monkeypatch.setattr(demo, "read_clip", lambda: (frames, Fraction(24)))
    return frames


def test_the_bundled_clip_is_small_has_an_odd_length_and_moves():
    frames, rate = demo.read_clip()
    assert rate == 24 and len(frames) % 2 == 1 and 60 <= len(frames) <= 90
    assert demo.CLIP.stat().st_size <= 1.5e6
    k = demo.PICTURE_TARGET
    assert k % 2 == 1
    ghost = ((frames[k - 1].astype(int) + frames[k + 1] + 1) // 2).astype(np.uint8)
    assert (
        psnr(ghost, frames[k]) < 30
    )  # averaging fails there, so the picture has something to show


def test_the_bundled_clip_has_its_attribution():
    text = (demo.CLIP.parent / "ATTRIBUTION.md").read_text()
    for part in (
        demo.CLIP.name,
        "Blender Foundation",
        "https://creativecommons.org/licenses/by/3.0/",
        "Changes:",
        "training data",
    ):
        assert part in text


@pytest.mark.slow
def test_the_demo_writes_everything_it_names_in_place_of_an_earlier_run(
    short_clip, weights, tmp_path, capsys
):
    folder = tmp_path / "out"
    flags = ["--output", str(folder), "--checkpoint", str(weights), "--threads", "1"]
    demo.main([*flags, "--context_frames", "2"])
    capsys.readouterr()
    demo.main(flags)
    shown = capsys.readouterr().out
    assert sorted(p.name for p in folder.iterdir()) == [
        "demo.mp4",
        "demo.png",
        "scores.json",
        "side_by_side.mp4",
    ]
    assert all(str(p) in shown for p in folder.iterdir())
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["protocol"].startswith("demo") and "trained on" in scores["seen_in_training"]
    assert set(scores["mean"]) == {"lift", "average", "dis"} and [
        row["index"] for row in scores["frames"]
    ] == [1, 3, 5]
    assert scores["weights"]["file"] == weights.name and len(scores["weights"]["sha256"]) == 64
    from lift.io.decode import open_frames

    videos = [open_frames(folder / name) for name in ("demo.mp4", "side_by_side.mp4")]
    assert [(v.width, v.height, v.fps, v.count) for v in videos] == [
        (96, 64, 24, 7),
        (288, 86, 12, 7),
    ]


def test_dropped_frames_are_never_inputs(short_clip, weights):
    altered = short_clip.copy()
    altered[1::2] = 0
    model = demo.load(weights, device="cpu")
    first, second = demo.recreate(short_clip, model), demo.recreate(altered, model)
    for method in first:
        assert len(first[method]) == 3
        assert (first[method] == second[method]).all(), method


def test_scores_are_those_of_the_dropped_frames(short_clip):
    truth = {"lift": short_clip[1::2], "average": short_clip[:-1:2]}
    scores = demo.score(short_clip, truth)
    assert (
        scores["mean"]["lift"]["psnr"] == pytest.approx(68.13, abs=0.01)
        and scores["mean"]["average"]["psnr"] < 40
    )


def test_the_picture_shows_the_frame_the_videos_show(short_clip, weights):
    model = demo.load(weights, device="cpu")
    prediction, times = demo.predict(short_clip, 3, model)
    assert times == [-1, 0, 1, 2] and prediction.attention.sum().item() == pytest.approx(
        1, abs=1e-4
    )
    streamed = demo.recreate(short_clip, model)["lift"][1]
    assert np.abs(demo.to_uint8(prediction.frame[0]).astype(int) - streamed).max() <= 1


def test_missing_weights_are_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "lift.model.pretrained.pretrained_path", lambda preset: tmp_path / f"{preset}.safetensors"
    )
    with pytest.raises(LiftError, match="give the path of a .safetensors file$"):
        demo.main(["--output", str(tmp_path / "out")])
    with pytest.raises(LiftError, match="nothing.safetensors"):
        demo.main(
            [
                "--output",
                str(tmp_path / "out"),
                "--checkpoint",
                str(tmp_path / "nothing.safetensors"),
            ]
        )
    assert not (tmp_path / "out").exists()
