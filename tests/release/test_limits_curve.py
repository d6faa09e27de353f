"""The fit of the validation curve, and what it projects."""

import json

import numpy as np
import pytest
import torch

from lift.config import PRESETS, Config, DataConfig
from lift.errors import LiftError
from lift.model.factory import create_lift_model
from lift.release.limits import curve
from lift.release.limits.curve import Point

FLAGS = {"validate_clips": "--validate_clips 4", "context_frames": "--context_frames 6"}


def points(values, samples=range(1000, 100_000, 8000)):
    return [Point("a", n, value) for n, value in zip(samples, values, strict=False)]


def law(n):
    return 34 - 40 * n**-0.4


def test_the_fit_finds_a_power_law():
    samples = np.arange(1000, 100_000, 8000)
    found = curve.gain(points(law(samples), samples), 97_000, 970_000)
    expected = law(970_000) - law(97_000)
    assert found["best"] == pytest.approx(expected, rel=0.05)
    assert found["low"] <= expected * 1.05 and found["high"] >= expected * 0.95
    assert found["scatter"] < 0.01
    assert found["exponents"][0] <= 0.42 and found["exponents"][1] >= 0.38


def test_noise_widens_the_range():
    samples, rng = np.arange(1000, 100_000, 8000), np.random.default_rng(0)
    exact = curve.gain(points(law(samples), samples), 97_000, 970_000)
    noisy = law(samples) + rng.normal(0, 0.1, len(samples))
    found = curve.gain(points(noisy, samples), 97_000, 970_000)
    assert found["high"] - found["low"] > 3 * (exact["high"] - exact["low"])
    assert found["low"] < found["best"] < found["high"]


def test_a_flat_curve_may_gain_nothing():
    flat = 34 + np.random.default_rng(1).normal(0, 0.05, 12)
    found = curve.gain(points(flat), 90_000, 900_000)
    assert found["low"] <= 0 <= found["high"]


def test_few_points_decide_nothing():
    assert curve.gain(points([30, 31, 32]), 20_000, 40_000) is None


def test_samples_are_counted_through_the_phases(tmp_path):
    path = tmp_path / "tiny_curve.csv"
    path.write_text("phase,step,val_psnr\na,100,\na,200,30\nb,10,31\nb,50,32\n")
    phases = [
        {"name": "a", "steps": 200, "samples": 800, "flags": {}},
        {"name": "b", "steps": 50, "samples": 100, "flags": FLAGS},
    ]
    found = curve.read(path, {"phases": phases})
    assert [(p.samples, p.psnr) for p in found] == [(800, 30), (820, 31), (900, 32)]
    assert [p.phase for p in curve.comparable(found, phases)] == ["b", "b"]
    phases[0]["flags"] = FLAGS | {"context_frames": "--context_frames 8", "lr": "--lr 1"}
    assert len(curve.comparable(found, phases)) == 3
    with pytest.raises(LiftError, match="phase b"):
        curve.read(path, {"phases": phases[:1]})
    with pytest.raises(LiftError, match="not the curve"):
        curve.read(tmp_path / "other.csv", {"phases": phases})


def test_the_slowest_part_limits_the_pace():
    quick, taught = curve.projected_pace(1e9, False), curve.projected_pace(1e9, True)
    assert quick["samples_per_second"] == min(quick["rates"].values())
    assert taught["rates"]["loading"] < quick["rates"]["loading"]
    assert curve.projected_pace(1e12, False)["limited_by"] == "arithmetic"


def test_a_measurement_is_json_and_leaves_the_model_as_it_was(tmp_path):
    torch.manual_seed(0)
    model = create_lift_model("tiny").eval().requires_grad_(False)
    data = DataConfig(context_frames=2, crop_height=64, crop_width=64)
    config = Config(model=PRESETS["tiny"](), data=data)
    path = tmp_path / "tiny_curve.csv"
    rows = "\n".join(f"a,{n},{law(n):.4f}" for n in range(1000, 9000, 1000))
    path.write_text(f"phase,step,val_psnr\n{rows}\n")
    record = {"phases": [{"name": "a", "steps": 8000, "samples": 32_000, "flags": FLAGS}]}
    found = json.loads(json.dumps(curve.measure(path, record, model, config)))
    assert found["samples"] == 32_000 and len(found["points"]) == 8
    assert found["pace"]["flops_per_sample"] > 1e8
    one, four = found["projections"]
    assert four["samples"] == 4 * one["samples"] and four["gain"]["best"] >= one["gain"]["best"]
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert all(p.grad is None for p in model.parameters())
