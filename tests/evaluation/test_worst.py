"""The picture of the worst frames shows those that the scores say, one row each."""

import json

import cv2
import numpy as np
import pytest
import torch

from lift.commands import evaluate as command
from lift.commands import evaluate_samples
from lift.config import PRESETS, Config
from lift.errors import LiftError
from lift.evaluation import worst
from lift.evaluation.protocols import real16
from lift.evaluation.target import ScoredFrame
from lift.model.factory import create_lift_model
from lift.model.weights import save_weights
from tests.support.published_folders import UCF101_FILES
from tests.support.video_samples import moving_frames, write_folder

FRAMES = [
    ScoredFrame("a", 5, 20.0, 25.0),
    ScoredFrame("a", 9, 22.0, 26.0),
    ScoredFrame("b", 3, 30.0, 33.0),
    ScoredFrame("c", 7, 18.0, 17.0),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Weights of an untrained tiny model."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, create_lift_model("tiny"), Config(model=PRESETS["tiny"]()))
    return path


@pytest.fixture
def drawn(monkeypatch):
    """The rows of tiles of each picture that is drawn."""
    pictures = []
    panel = worst.panel

    def recorded(path, rows, **options):
        pictures.append(rows)
        panel(path, rows, **options)

    monkeypatch.setattr(worst, "panel", recorded)
    return pictures


# -- which frames ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "by", "expected"),
    [
        (2, "gain", [("a", 5), ("b", 3)]),  # (a, 9) is worse than (b, 3), but a has a row
        (3, "gain", [("a", 5), ("b", 3), ("c", 7)]),
        (4, "gain", [("a", 5), ("a", 9), ("b", 3), ("c", 7)]),  # fewer clips than rows
        (9, "gain", [("a", 5), ("a", 9), ("b", 3), ("c", 7)]),
        (2, "psnr", [("c", 7), ("a", 5)]),
    ],
)
def test_the_worst_frame_of_each_clip_comes_first(count, by, expected):
    chosen = worst.choose(reversed(FRAMES), count, by)
    assert [(frame.clip, frame.frame) for frame in chosen] == expected


def test_recorded_scores_of_clips_become_frames():
    def scores(*values):
        return {"psnr_each": list(values)}

    result = {
        "clips": {
            "x": {"targets": [4, 8], "scores": {"lift_2": scores(30, 31), "dis": scores(32, 29)}},
            "y": {"targets": [6], "scores": {"lift_2": scores(20), "dis": scores(20.5)}},
        }
    }
    frames = real16.scored_frames(result, "lift_2", "dis")
    assert [(f.clip, f.frame, f.psnr, f.gain) for f in frames] == [
        ("x", 4, 30, -2),
        ("x", 8, 31, 2),
        ("y", 6, 20, -0.5),
    ]


def test_a_triplet_has_one_frame_without_a_number():
    scores = {"lift_2": {"psnr_each": [30.0, 28.0]}, "dis": {"psnr_each": [31.0, 27.0]}}
    frames = evaluate_samples.scored_frames(
        {"samples": ["1", "11"], "scores": scores}, "lift_2", "dis"
    )
    assert [(f.title, f.gain) for f in frames] == [("triplet 1", -1), ("triplet 11", 1)]


# -- the picture -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.videos
def test_a_row_of_clips_names_the_clip_the_frame_and_both_scores(tmp_path, checkpoint, drawn):
    clips = [{"file": name, "split": "val"} for name in ("one", "two")]
    for k, clip in enumerate(clips):
        write_folder(tmp_path / clip["file"], moving_frames(26, 64, 96 - 32 * k))
    (tmp_path / "manifest.json").write_text(json.dumps({"clips": clips}))
    picture, output = tmp_path / "worst.png", tmp_path / "scores.json"
    flags = ["--data_root", tmp_path, "--checkpoint", checkpoint, "--context_frames", "2,4"]
    flags += [
        "--device",
        "cpu",
        "--methods",
        "lift,dis",
        "--worst",
        picture,
        "--worst_count",
        3,
        "--output",
        output,
    ]
    command.main([str(flag) for flag in flags])
    assert cv2.imread(str(picture)).shape[1] > 1000
    result = json.loads(output.read_text())
    expected = worst.choose(real16.scored_frames(result, "lift_4", "dis"), 3)
    assert {frame.clip for frame in expected} == {"one", "two"}
    for frame, row in zip(expected, drawn[0], strict=True):
        titles = " ".join(tile.title for tile in row)
        assert f"{frame.clip}, frame {frame.frame}\n" in titles
        assert f"LIFT: {frame.psnr:.2f} dB" in titles and f"DIS: {frame.baseline:.2f} dB" in titles
        frames = moving_frames(26, 64, 96 if frame.clip == "one" else 64)
        assert (row[1].image == frames[frame.frame]).all()  # the truth
        error = np.abs(row[2].image.astype(float) - row[1].image)
        assert 10 * np.log10(255**2 / (error**2).mean()) == pytest.approx(frame.psnr, abs=0.01)


@pytest.mark.slow
def test_a_row_of_triplets_names_the_folder(tmp_path, checkpoint, drawn):
    for number in (1, 11, 21):
        write_folder(tmp_path / str(number), moving_frames(3, 256, 256, (number, 90, 60)))
        for k, name in enumerate(UCF101_FILES):
            (tmp_path / str(number) / f"im{k + 1:03d}.png").rename(tmp_path / str(number) / name)
    flags = ["--protocol", "ucf101", "--data_root", tmp_path, "--device", "cpu"]
    flags += ["--checkpoint", checkpoint]
    command.main(
        [str(flag) for flag in (*flags, "--worst", tmp_path / "w.png", "--worst_count", 2)]
    )
    titles = {row[0].title.split("\n")[0] for row in drawn[0]}
    assert len(titles) == 2 and titles < {"triplet 1", "triplet 11", "triplet 21"}
    assert all(len(row) == 7 for row in drawn[0])


@pytest.mark.parametrize(
    ("flags", "error", "message"),
    [
        (["--worst", "a.png"], LiftError, "--worst compares lift with dis"),
        (["--worst", "a.xyz"], SystemExit, None),
        (["--worst", "a.png", "--worst_count", "0"], SystemExit, None),
        (["--worst", "a.png", "--worst_by", "luck"], SystemExit, None),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_scoring(tmp_path, flags, error, message):
    with pytest.raises(error, match=message):
        command.main(["--data_root", str(tmp_path), *flags])
