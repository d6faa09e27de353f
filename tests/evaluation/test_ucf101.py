"""Protocol `ucf101` reads the field's layout and scores rounded and unrounded frames."""

import json

import cv2
import numpy as np
import pytest

from lift.commands import evaluate as command
from lift.errors import LiftError
from lift.evaluation.protocols.ucf101 import DESCRIPTION, UCF101, find
from tests.support.published_folders import UCF101_FILES, ucf101_folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "notes").mkdir()  # not a number: no triplet
    return ucf101_folder(tmp_path, (1, 11, 101, 21))


def run(folder, *flags: str):
    return command.main(["--protocol", "ucf101", "--data_root", str(folder), *flags])


def test_triplets_are_in_the_order_of_their_numbers(folder):
    samples = find(folder, 2)
    assert [sample.name for sample in samples] == ["1", "11", "21", "101"]
    assert [frame.path.name for frame in samples[0].inputs] == [UCF101_FILES[0], UCF101_FILES[2]]
    assert samples[0].truth.path.name == UCF101_FILES[1] and samples[0].t == 0.5


def test_published_scores_are_marked_in_the_table(folder, capsys):
    run(folder, "--limit", "3")
    shown = capsys.readouterr().out
    rife = next(line for line in shown.splitlines() if "RIFE (published" in line)
    assert "Huang et al., ECCV 2022" in rife and "35.28" in rife and "0.969" in rife
    assert "protocol ucf101" in shown and DESCRIPTION in shown
    assert "means of 3 of the 379 samples" in shown


def test_the_command_writes_each_score(folder, capsys):
    output = folder / "scores.json"
    run(folder, "--limit", "3", "--output", str(output))
    result = json.loads(output.read_text())
    assert list(result["scores"]) == ["average", "dis"] and result["count"] == 379
    assert len(result["scores"]["dis"]["psnr_each"]) == 3
    rows = (folder / "scores.csv").read_text().splitlines()
    assert rows[0] == "sample,group,method,psnr,psnr_float,ssim,ssim_rife,ie"
    assert len(rows) == 7 and rows[2].startswith("1,,dis,")


# -- what is refused -------------------------------------------------------------------------------


def test_a_missing_frame_is_named(folder):
    (folder / "21" / "frame_02.png").unlink()
    with pytest.raises(LiftError, match="21/frame_02.png does not exist; copy"):
        find(folder, 2)


def test_a_frame_of_another_size_is_named_with_both_sizes(folder):
    cv2.imwrite(str(folder / "11" / "frame_01_gt.png"), np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(LiftError, match="frame_01_gt.png is 96x64 .* needs 256x256"):
        run(folder)


def test_an_empty_folder_is_one_sentence(tmp_path):
    with pytest.raises(LiftError, match="protocol ucf101 reads folders"):
        find(tmp_path, 2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--split", "val"], "has no clip of split val"),
        (["--clips", "1"], "there is no clip or group 1 in protocol ucf101"),
        (["--context_frames", "4"], "ucf101 takes no --context_frames above 2"),
        (["--reversal"], "ucf101 takes no --reversal"),
        (["--methods", "dis_cubic"], "ucf101 has 2 input frames, and dis_cubic reads 4"),
        (["--protocol", "long_context", "--limit", "3"], "long_context takes no --limit"),
    ],
)
def test_flags_of_other_protocols_are_refused(folder, flags, message):
    with pytest.raises(LiftError, match=message):
        run(folder, *flags)


def test_a_limit_below_one_is_refused(folder, capsys):
    with pytest.raises(SystemExit):
        run(folder, "--limit", "0")
    assert "at least 1" in capsys.readouterr().err


def test_the_whole_set_has_379_samples():
    assert UCF101.count == 379
