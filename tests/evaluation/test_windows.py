"""DAVIS, GoPro and Adobe240: windows of sorted listings."""

import numpy as np
import pytest

from lift.errors import LiftError
from lift.evaluation.protocols import windows
from tests.support.published_folders import names, write


def test_davis_takes_every_second_window_of_seven(tmp_path):
    root = tmp_path / "JPEGImages/480p"
    write(root / f"bear/{k:05d}.jpg" for k in range(10))
    write(root / f"camel/{k:05d}.jpg" for k in range(6))  # too short for a window
    samples = windows.find_davis(tmp_path, 4)
    assert [names(sample)[2] for sample in samples] == ["00003.jpg", "00005.jpg"]
    assert names(samples[1])[0] == ["00002.jpg", "00004.jpg", "00006.jpg", "00008.jpg"]
    assert samples[1].times == (-1, 0, 1, 2) and samples[1].group == "bear"
    assert [sample.name for sample in windows.find_davis(root, 2)] == ["bear/00003", "bear/00005"]


@pytest.mark.parametrize("inside", ["", "sharp/"])
def test_gopro_has_seven_targets_between_frames_eight_apart(tmp_path, inside):
    write(tmp_path / f"test/GOPR1/{inside}{k:06d}.png" for k in range(47, 47 + 26))
    if inside:
        write(tmp_path / f"test/GOPR1/blur/{k:06d}.png" for k in range(47, 47 + 26))
    samples = windows.find_gopro(tmp_path, 15)
    assert [sample.t for sample in samples] == [k / 8 for k in range(1, 8)]  # one interval
    assert names(samples[0])[0] == [f"{47 + 8 * k:06d}.png" for k in range(4)]
    assert samples[0].times == (-1, 0, 1, 2) and "blur" not in str(samples[0].inputs)
    assert samples[0].truth.path.name == "000056.png"


def test_adobe240_is_sorted_by_number_and_its_train_split_left_out(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"frame/{split}/IMG_{split}/{k}.png" for k in range(26))
    samples = windows.find_adobe240(tmp_path, 2)
    assert {sample.group for sample in samples} == {"IMG_test"}
    assert names(samples[0]) == (["8.png", "16.png"], [0, 1], "9.png")


@pytest.mark.parametrize("find", [windows.find_gopro, windows.find_adobe240])
def test_a_root_that_holds_other_splits_is_refused(tmp_path, find):
    write(tmp_path / f"train/IMG_1/{k}.png" for k in range(30))
    with pytest.raises(LiftError, match="protocol (gopro|adobe240) reads"):
        find(tmp_path, 2)


def test_a_missing_frame_is_named(tmp_path):
    write(tmp_path / f"test/GOPR1/{k:06d}.png" for k in range(30) if k != 9)
    with pytest.raises(LiftError, match="frame 9 is missing"):
        windows.find_gopro(tmp_path, 2)


def test_crops_are_the_centre():
    frame = np.zeros((480, 854, 3), np.uint8)
    frame[:, 3:851] = 7
    assert (windows.DAVIS.prepare(frame) == 7).all()
    assert windows.GOPRO.prepare(np.zeros((720, 1280, 3), np.uint8)).shape == (512, 512, 3)
