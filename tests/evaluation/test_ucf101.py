"""Protocol `ucf101` reads the field's layout and scores rounded and unrounded frames."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from lift.commands import evaluate as command
from lift.errors import LiftError
from lift.evaluation import report
from lift.evaluation.metrics import psnr, ssim
from lift.evaluation.protocols import triplets, ucf101

NUMBERS = ("1", "11", "101", "21")  # written in another order than that of their numbers


def frame(number: int, k: int, size: int = 256) -> np.ndarray:
    """Frame k of a triplet: grey levels that no other frame has."""
    y, x = np.mgrid[:size, :size]
    wave = 100 * np.sin((x + 3 * k + number) / 9) * np.cos(y / 7)
    return np.stack([127 + wave, 120 + wave, 90 + wave / 2], -1).round().astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    for number in NUMBERS:
        (tmp_path / number).mkdir()
        for k, name in enumerate(ucf101.FILES):
            assert cv2.imwrite(str(tmp_path / number / name), frame(int(number), k)[..., ::-1])
    (tmp_path / "notes").mkdir()  # not a number: no triplet
    return tmp_path


def score(folder, methods, limit=None):
    return triplets.score(ucf101.PROTOCOL, folder, methods, limit)


def offset_from_truth(shift: float):
    """A method whose frame is the truth plus `shift`, found from the left reference."""
    numbers = {frame(int(n), 0).tobytes(): int(n) for n in NUMBERS}
    return lambda frame0, frame1: frame(numbers[frame0.tobytes()], 1) + np.float32(shift)


def test_triplets_are_in_the_order_of_their_numbers(folder):
    assert score(folder, {})["samples"] == ["1", "11", "21", "101"]
    assert score(folder, {}, limit=2)["samples"] == ["1", "11"]


def test_rounding_counts_in_one_psnr_and_not_in_the_other(folder):
    scores = score(folder, {"near": offset_from_truth(0.25)}, limit=1)["scores"]["near"]
    assert scores["psnr"] == pytest.approx(68.13, abs=0.01)  # the floor: rounded, it is the truth
    assert scores["psnr_unrounded"] == pytest.approx(10 * np.log10(255**2 / 0.25**2))
    assert scores["ssim"] == pytest.approx(1)


def test_means_are_over_the_scores_of_the_triplets(folder):
    result = score(folder, {"average": triplets.baseline_method("average")})
    expected = []
    for name in result["samples"]:
        first, truth, last = (frame(int(name), k).astype(float) for k in range(3))
        averaged = np.floor((first + last) / 2 + 0.5).astype(np.uint8)
        expected.append(
            (psnr(averaged, truth.astype(np.uint8)), ssim(averaged, frame(int(name), 1)))
        )
    found = result["scores"]["average"]
    assert found["psnr_each"] == pytest.approx([p for p, _ in expected], abs=1e-3)
    assert [found["psnr"], found["ssim"]] == pytest.approx(np.mean(expected, 0).tolist())


def test_a_model_gets_both_frames_and_answers_at_half_time(folder):
    class Left(torch.nn.Module):
        def forward(self, clip, t):
            assert t.tolist() == [0.5] and clip.times.tolist() == [[0, 1]] and clip.left == 0
            return SimpleNamespace(frame=clip.references[0] + 2)  # beyond 1: clamped

    method = triplets.model_method(Left())
    generated = method(frame(1, 0), frame(1, 2))
    assert generated.shape == (256, 256, 3) and (generated == 255).all()


def test_published_scores_are_marked_in_the_table(folder):
    text = report.triplet_table(score(folder, {"dis": triplets.baseline_method("dis")}))
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    assert rows["RIFE (Huang et al., ECCV 2022)"].endswith("  35.28 / 0.969")
    assert text.splitlines()[0].endswith("  published") and "mean of 4 triplets of 379" in text
    assert "UPR-Net LARGE" in text and " / " not in rows["dis"]


def test_the_command_prints_the_protocol_and_writes_each_score(folder, capsys):
    output = folder / "scores.json"
    flags = ["--protocol", "ucf101", "--data_root", str(folder), "--limit", "3"]
    command.main([*flags, "--output", str(output)])
    shown = capsys.readouterr().out
    assert "protocol ucf101" in shown and ucf101.DESCRIPTION in shown
    result = json.loads(output.read_text())
    assert list(result["scores"]) == ["average", "dis"]
    assert len(result["scores"]["dis"]["psnr_each"]) == 3


# -- what is refused -------------------------------------------------------------------------------


def test_a_missing_frame_is_named(folder):
    (folder / "21" / "frame_02.png").unlink()
    with pytest.raises(LiftError, match="21 has no frame_02.png; copy"):
        score(folder, {})


def test_a_frame_of_another_size_is_named_with_both_sizes(folder):
    cv2.imwrite(str(folder / "11" / "frame_01_gt.png"), np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(LiftError, match="frame_01_gt.png is 96x64 .* needs 256x256"):
        score(folder, {})


def test_an_empty_folder_is_one_sentence(tmp_path):
    with pytest.raises(LiftError, match="has no triplet; protocol ucf101 needs folders"):
        score(tmp_path, {})


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(LiftError, match="none cannot be read .*; give the folder of the test set"):
        score(tmp_path / "none", {})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--split", "val"], "ucf101 takes no --split"),
        (["--context_frames", "4"], "ucf101 takes no --context_frames"),
        (["--reversal"], "ucf101 takes no --reversal"),
        (["--methods", "dis_cubic"], "ucf101 has no method dis_cubic; it has lift, copy"),
        (["--protocol", "real16", "--limit", "3"], "real16 takes no --limit"),
    ],
)
def test_flags_of_other_protocols_are_refused(folder, flags, message):
    with pytest.raises(LiftError, match=message):
        command.main(["--protocol", "ucf101", "--data_root", str(folder), *flags])


def test_a_limit_below_one_is_refused(folder, capsys):
    with pytest.raises(SystemExit):
        command.main(["--protocol", "ucf101", "--data_root", str(folder), "--limit", "0"])
    assert "at least 1" in capsys.readouterr().err
