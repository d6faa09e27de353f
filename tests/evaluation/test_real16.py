"""Protocol `real16` chooses, prepares and scores as its description says."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from lift.commands import evaluate as command
from lift.errors import LiftError
from lift.evaluation import baselines, report
from lift.evaluation.protocols import real16
from lift.io.manifest import ManifestClip
from lift.model.types import Prediction

pytestmark = [pytest.mark.native, pytest.mark.videos]

FRAMES = 60


# -- preparation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "prepared"),
    [
        ((720, 1280), (256, 448)),
        ((480, 854), (256, 448)),
        ((480, 368), (448, 256)),  # tall
        ((360, 480), (256, 448)),
        ((240, 432), (224, 416)),  # smaller than the target: never enlarged
        ((240, 426), (224, 416)),
        ((256, 340), (256, 320)),
        ((32, 32), (32, 32)),
    ],
)
def test_frames_are_covered_and_cropped_to_multiples_of_32(size, prepared):
    assert real16.prepare(np.zeros((*size, 3), np.uint8)).shape == (*prepared, 3)


def test_the_crop_is_the_centre():
    frame = np.zeros((64, 70, 3), np.uint8)
    frame[:, 3:67] = 9
    assert (real16.prepare(frame) == 9).all()


def test_frames_smaller_than_the_multiple_are_refused():
    with pytest.raises(LiftError, match="at least 32"):
        real16.prepare(np.zeros((31, 64, 3), np.uint8))
    with pytest.raises(LiftError, match="^cannot be prepared: protocol real16"):  # after a path
        real16.REAL16.prepare(np.zeros((31, 64, 3), np.uint8))


# -- targets and context ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "cuts", "duplicates", "targets"),
    [  # lists recorded with the protocol's baselines
        (
            66,
            (),
            (),
            [5, 8, 11, 14, 17, 19, 22, 25, 28, 31, 34, 37, 40, 43, 46, 48, 51, 54, 57, 60],
        ),
        (
            292,
            (271, 272),
            (),
            [
                15,
                29,
                42,
                56,
                69,
                83,
                96,
                109,
                123,
                136,
                150,
                163,
                177,
                190,
                203,
                217,
                230,
                244,
                257,
                276,
            ],
        ),
        (
            552,
            (285, 378),
            (1, 2, 3, 282, 283, 284, 384, 459, 460, 533, 534, 535, *range(544, 552)),
            [
                29,
                54,
                78,
                102,
                126,
                151,
                175,
                199,
                224,
                248,
                272,
                303,
                328,
                352,
                380,
                409,
                433,
                462,
                486,
                511,
            ],
        ),
    ],
)
def test_targets_are_those_recorded(frames, cuts, duplicates, targets):
    assert real16.choose_targets(frames, cuts, duplicates) == targets


def test_no_target_lies_beside_a_cut_or_a_duplicate():
    targets = real16.choose_targets(FRAMES, (20,), (40,))
    assert len(set(targets)) == real16.TARGETS
    assert not {18, 19, 20, 21, 38, 39, 40, 41} & set(targets)


def test_a_clip_too_short_for_the_targets_is_refused():
    with pytest.raises(ValueError, match="only 16 of 20"):
        real16.choose_targets(20)


def test_context_is_every_second_frame_with_eight_on_the_left():
    indices, times, left = real16.context_indices(30, FRAMES)
    assert indices == [15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43]
    assert times == list(range(-7, 8)) and left == 7


@pytest.mark.parametrize(
    ("target", "cuts", "context", "indices", "left"),
    [
        (30, (), 2, [29, 31], 0),
        (30, (), 3, [27, 29, 31], 1),
        (1, (), 15, [0, 2, 4, 6, 8, 10, 12, 14], 0),  # the start of the clip: nothing is repeated
        (58, (), 4, [55, 57, 59], 1),
        (30, (27, 36), 15, [27, 29, 31, 33, 35], 1),  # the shot is 27 ... 35
    ],
)
def test_context_ends_where_the_shot_does(target, cuts, context, indices, left):
    got, times, place = real16.context_indices(target, FRAMES, cuts, context)
    assert (got, place) == (indices, left)
    assert times[place : place + 2] == [0, 1]


@pytest.mark.parametrize("target", [0, FRAMES - 1])
def test_a_target_without_both_neighbours_is_refused(target):
    with pytest.raises(ValueError, match="no neighbour"):
        real16.context_indices(target, FRAMES)


# -- scoring a folder ------------------------------------------------------------------------------


def _scene(k: int) -> np.ndarray:
    y, x = np.mgrid[:32, :64]
    return (
        np.stack([127 + 100 * np.sin((x - 1.5 * k) / 6 + c) * np.cos(y / 9) for c in range(3)], -1)
        .round()
        .astype(np.uint8)
    )


def replace_decoding(monkeypatch, count: int) -> None:
    source = SimpleNamespace(frames=lambda: (_scene(k) for k in range(count)))
    monkeypatch.setattr(real16, "open_frames", lambda path: source)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A manifest of two clips; decoding is replaced, so that no codec stands between the claim and
    the number.
    """
    entries = [
        {
            "name": name,
            "file": f"{name}.mp4",
            "frames": FRAMES,
            "split": split,
            "cuts": [],
            "duplicate_frames": [],
        }
        for name, split in (("one", "train"), ("two", "val"))
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({"clips": entries}))
    replace_decoding(monkeypatch, FRAMES)
    return tmp_path


class Oracle(torch.nn.Module):
    """Answers with the true frame, found from the left reference, and notes the clips it was asked
    about.
    """

    def __init__(self):
        super().__init__()
        self.clips = []

    def forward(self, clip, t):
        self.clips.append(clip)
        assert t.tolist() == [0.5]
        reference = (clip.references[0][0] * 255).round().permute(1, 2, 0).numpy()
        k = next(k for k in range(FRAMES) if (_scene(k) == reference).all())
        frame = torch.from_numpy(_scene(k + 1)).permute(2, 0, 1)[None] / 255
        return Prediction(frame, *[None] * 3)


def test_an_oracle_scores_perfectly_and_sees_the_context(folder):
    oracle = Oracle()
    result = real16.score(folder, {"lift_15": real16.model_candidate(oracle, 15)}, split="val")
    assert list(result["clips"]) == ["two"]
    assert result["clips"]["two"]["scores"]["lift_15"]["psnr"] == pytest.approx(68.13, abs=0.01)
    assert result["clips"]["two"]["scores"]["lift_15"]["ssim"] == pytest.approx(1)
    assert max(clip.frames.shape[1] for clip in oracle.clips) == 15
    for clip in oracle.clips:
        assert clip.mask.all() and clip.times[0, clip.left : clip.left + 2].tolist() == [0, 1]


def test_means_are_over_clips_and_by_split(folder):
    result = real16.score(
        folder,
        {
            "average": real16.two_frame_candidate(baselines.average),
            "copy": real16.two_frame_candidate(baselines.copy),
        },
    )
    clips = [entry["scores"]["average"]["psnr"] for entry in result["clips"].values()]
    assert result["mean"]["all"]["average"]["psnr"] == pytest.approx(np.mean(clips))
    assert result["mean"]["val"]["average"]["clips"] == 1
    assert result["mean"]["all"]["average"]["psnr"] > result["mean"]["all"]["copy"]["psnr"]
    json.dumps(result)


def test_a_clip_shorter_than_its_manifest_says_is_refused(folder, monkeypatch):
    replace_decoding(monkeypatch, 20)
    with pytest.raises(LiftError, match="one.mp4 ends before frame"):
        real16.score(folder, {"copy": real16.two_frame_candidate(baselines.copy)})


def test_an_unknown_clip_is_refused_by_name(folder):
    with pytest.raises(LiftError, match="no clip named three in the manifest; it has one, two"):
        real16.score(folder, {}, names=["three"])


def test_an_unreadable_video_is_refused(tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed")
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(LiftError, match="broken.mp4: not a readable video"):
        clip = ManifestClip("a", "broken.mp4", tmp_path / "broken.mp4", 9, "val")
        real16.read_frames(clip, [4], 2)


def test_a_manifest_need_not_state_frames_split_or_name(folder, monkeypatch):
    """And a clip may be a folder of frames."""
    monkeypatch.undo()
    (folder / "scene").mkdir()
    for k in range(FRAMES):
        cv2.imwrite(str(folder / "scene" / f"{k}.png"), _scene(k)[..., ::-1])
    (folder / "manifest.json").write_text(json.dumps({"clips": [{"file": "scene"}]}))
    result = real16.score(folder, {"lift_2": real16.model_candidate(Oracle(), 2)})
    assert list(result["clips"]) == ["scene"] and set(result["mean"]) == {"all"}
    assert result["clips"]["scene"]["scores"]["lift_2"]["psnr"] == pytest.approx(68.13, abs=0.01)


def test_a_clip_too_short_for_its_targets_is_one_sentence(folder):
    entry = {"file": "short.mp4", "frames": 15}
    (folder / "manifest.json").write_text(json.dumps({"clips": [entry]}))
    with pytest.raises(LiftError, match="short.mp4 is too short for protocol real16"):
        real16.score(folder, {"copy": real16.two_frame_candidate(baselines.copy)})


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def frame_folders(folder, monkeypatch):
    """The same clips, and frames of them on the disk."""
    monkeypatch.undo()
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["clips"]:
        entry["file"] = entry["name"]
        (folder / entry["name"]).mkdir()
        for k in range(FRAMES):
            cv2.imwrite(str(folder / entry["name"] / f"{k}.png"), _scene(k)[..., ::-1])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_the_command_scores_as_the_protocol_does(frame_folders, tmp_path):
    output = tmp_path / "scores.json"
    flags = ["--data_root", str(frame_folders), "--output", str(output)]
    command.main([*flags, "--methods", "average,dis_cubic"])
    candidates = {name: real16.baseline_candidate(name) for name in ("average", "dis_cubic")}
    expected = real16.score(frame_folders, candidates)
    result = json.loads(output.read_text())
    for name in ("clips", "mean", "protocol", "description"):  # to the last digit
        assert result[name] == json.loads(json.dumps(expected[name]))
    rows = output.with_suffix(".csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 20 * 2 and rows[1].startswith("one/000005,one,average,")


def test_the_command_prints_the_protocol_and_writes_json(frame_folders, capsys):
    folder = frame_folders
    output = folder / "out" / "scores.json"
    command.main(["--data_root", str(folder), "--output", str(output), "--clips", "two"])
    shown = capsys.readouterr().out
    assert "protocol real16" in shown and "mean of 1" in shown
    result = json.loads(output.read_text())
    assert result["protocol"] == "real16" and list(result["clips"]["two"]["scores"]) == [
        "average",
        "dis",
        "dis_cubic",
    ]


def test_the_former_name_of_the_protocol_is_accepted_with_a_warning(frame_folders, capsys):
    command.main(["--data_root", str(frame_folders), "--protocol", "small", "--methods", "copy"])
    shown = capsys.readouterr()
    assert "protocol real16" in shown.out and "small is now real16" in shown.err


def test_the_table_has_clips_of_any_split_or_none():
    scores = {"copy": {"psnr": 30.0, "ssim": 0.9}}
    splits = {"one": None, "two": "test", "three": "test"}
    clips = {
        name: {"split": split, "targets": [7], "scores": scores} for name, split in splits.items()
    }
    lines = report.table({"protocol": "real16", "clips": clips}).splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["one", "30.00"],
        ["two", "test"],
        ["three", "test"],
    ]
    assert lines[4].startswith("mean of 2  ") and "test" in lines[4]
    assert lines[5].startswith("mean of 3  ") and "all" in lines[5]


def test_recorded_baselines_stand_in_for_methods_that_were_not_run(folder):
    result = real16.score(folder, {"lift_2": real16.model_candidate(Oracle(), 2)})
    recorded = {
        "clips": {
            name: {
                "targets": entry["targets"],
                "psnr_ssim": {"avg": [30.0, 0.9], "dis": [31.0, 0.91]},
            }
            for name, entry in result["clips"].items()
        }
    }
    gains = report.differences(report.with_recorded(result, recorded), "lift_2")
    assert gains["one"]["dis"] == pytest.approx(68.13 - 31, abs=0.01)
    assert "average (recorded)" in report.table(result, recorded)
    assert "dis" not in report.table(result)  # nothing is invented where nothing was recorded
    recorded["clips"]["one"]["targets"] = recorded["clips"]["one"]["targets"][:2]
    assert "recorded" not in report.table(result, recorded)  # scores of other targets


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--methods", "lift"], LiftError),
        (["--methods", "average", "--checkpoint", "weights.safetensors"], LiftError),
        (["--reversal"], LiftError),
        (["--methods", "magic"], SystemExit),
        (["--context_frames", "1"], SystemExit),
        (["--protocol", "large"], SystemExit),
    ],
)
def test_arguments_that_make_no_sense_are_refused(folder, arguments, error):
    with pytest.raises(error):
        command.main(["--data_root", str(folder), *arguments])
