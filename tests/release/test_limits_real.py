"""Real clips by class of motion and with noise."""

import json

import numpy as np
import pytest
import torch

from lift.errors import LiftError
from lift.evaluation.protocols import real16
from lift.model.factory import create_lift_model
from lift.release.limits import real
from tests.support.video_samples import moving_frames, write_folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A clip of 30 frames, the validation split."""
    folder = tmp_path_factory.mktemp("clips")
    write_folder(folder / "slide", moving_frames(30))
    clip = {"file": "slide", "frames": 30, "split": "val"}
    (folder / "manifest.json").write_text(json.dumps({"clips": [clip]}))
    return folder


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_lift_model("tiny")


def test_scores_are_those_of_the_protocol(root, model):
    found = real.by_motion(model, root, "val", 2)
    candidates = {name: real16.baseline_candidate(name) for name in ("dis", "dis_cubic")}
    candidates[real.LIFT] = real16.model_candidate(model, 15)
    scores = real16.score(root, candidates, "val")["clips"]["slide"]
    assert len(found["targets"]) == 2
    for row in found["targets"]:
        i = scores["targets"].index(row["frame"])
        for method, psnr in row["psnr"].items():
            assert psnr == pytest.approx(scores["scores"][method]["psnr_each"][i], abs=2e-3)
    assert found["classes"][real.ALL]["targets"] == 2
    assert found["classes"]["slow"]["clips"] == 1  # a pixel a frame
    frames = real.scored_frames(found["targets"])
    assert frames[0].gain == pytest.approx(frames[0].psnr - frames[0].baseline)


def test_classes_overlap_and_count_targets_without_any():
    def row(clip, classes, lift):
        return {
            "clip": clip,
            "classes": classes,
            "psnr": {real.LIFT: lift, "dis": 1, "dis_cubic": 2},
        }

    means = real.class_means([row("a", ["slow", "pan"], 3), row("b", ["pan"], 5), row("b", [], 7)])
    assert {name: each["targets"] for name, each in means.items()} == {
        "slow": 1,
        "pan": 2,
        real.NONE: 1,
        real.ALL: 3,
    }
    assert means["pan"]["psnr"][real.LIFT] == 4 and means["pan"]["clips"] == 2


def test_noise_lowers_the_score_and_repeats(root, model, monkeypatch):
    monkeypatch.setattr(real, "NOISE_LEVELS", (0, 10))
    found = real.by_noise(model, root, "val", 1)
    clean, noisy = (each["psnr"] for each in found["levels"])
    assert found["targets"] == 1 and set(clean) == set(real.NOISE_METHODS)
    assert all(noisy[name] < clean[name] - 1 for name in clean)


def test_noise_has_its_standard_deviation_and_is_rounded():
    frames = np.full((2, 64, 64, 3), 128, np.uint8)
    noisy = real.noisy(frames, 5, (1, 2))
    assert noisy.dtype == np.uint8
    assert noisy.astype(float).std() == pytest.approx(5, rel=0.03)
    assert (noisy[0] != noisy[1]).any() and (noisy == real.noisy(frames, 5, (1, 2))).all()
    assert real.noisy(frames, 0, (1, 2)) is frames


def test_a_split_without_clips_is_an_error(root, model):
    with pytest.raises(LiftError, match="no clip is left"):
        real.by_motion(model, root, "train", 1)


@pytest.mark.parametrize(("count", "expected"), [(1, [5]), (2, [2, 7]), (20, list(range(10)))])
def test_targets_are_spread(count, expected):
    assert real.thinned(list(range(10)), count) == expected
