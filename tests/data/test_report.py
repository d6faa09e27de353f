import json

import cv2
import numpy as np
import pytest

from lift.config import DataConfig
from lift.data import report
from lift.data.dataset import ClipDataset


def write_clip(folder, count, size=(40, 56)):
    folder.mkdir(parents=True)
    for i in range(count):
        cv2.imwrite(str(folder / f"{i:03d}.png"), np.full((*size, 3), i, np.uint8))


@pytest.fixture
def datasets(tmp_path):
    for name in ("a", "b", "c"):
        write_clip(tmp_path / "train" / name, 20)
    write_clip(tmp_path / "train" / "tiny", 20, size=(24, 24))
    write_clip(tmp_path / "train" / "two", 2)
    write_clip(tmp_path / "val" / "d", 32)
    write_clip(tmp_path / "test" / "e", 9)
    config = DataConfig(data_root=str(tmp_path), crop_height=32, crop_width=32, enlarge=False)
    options = {"batch_size": 2, "seed": 0}
    return (
        ClipDataset(config, "train", train=True, **options),
        ClipDataset(config, "val", train=False, clips=4, **options),
    )


def test_sequences_frames_splits_and_what_was_left_out_are_recorded(datasets):
    found = report.to_dict(*datasets)
    assert json.loads(json.dumps(found)) == found
    train, val = found["train"], found["val"]
    assert (train["split"], train["sequences"], train["frames"]) == ("train", 3, 60)
    assert train["names"] == ["train/a", "train/b", "train/c"] and train["smallest"] == [56, 40]
    assert (val["split"], val["names"], val["clips"]) == ("val", ["val/d"], 4)
    assert train["left_out"] == {
        "without 3 consecutive frames free of cuts, duplicates and damage": ["train/two"],
        "smaller than the crop of 32x32": ["train/tiny"],
    }
    assert found["notes"] == ["the split 'test' (1 sequence) is not used"]


def test_the_lines_say_the_same(datasets):
    lines = report.describe(*datasets)
    assert "folders by split (folders test, train, val)" in lines[0]
    assert "train: 3 sequences of the split 'train', 60 frames of 56x40; " in lines[1]
    assert "val: 1 sequence of the split 'val', 32 frames of 56x40; 4 clips" in lines[2]
    assert any("left out, smaller than the crop of 32x32: 1 (train/tiny)" in x for x in lines)


def test_synthetic_data_are_said_to_be_synthetic():
    config = DataConfig(data_source="synthetic", synthetic_size=7)
    train, val = (
        ClipDataset(config, "train", batch_size=2, seed=0, train=t, clips=3) for t in (True, False)
    )
    assert report.describe(train, val) == ["data: synthetic, 7 clips an epoch, 3 for validation"]
    assert report.to_dict(train, val)["source"] == "synthetic"
