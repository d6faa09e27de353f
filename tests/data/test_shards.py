"""Claims about shards: the same sequences, splits, frames and samples as the folders."""

import tarfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from lift.config import DataConfig
from lift.data.dataset import ClipDataset
from lift.data.sequences import layout_of, open_sequences
from lift.data.shards import write_shards
from lift.errors import LiftError
from tests.support.numbered import write_video


@pytest.fixture
def folders(tmp_path):
    root = tmp_path / "folders"
    for split, name, suffix in (
        ("train", "a", "png"),
        ("train", "b b", "jpg"),
        ("val", "ä", "png"),
    ):
        folder = root / split / name
        folder.mkdir(parents=True)
        for i in range(24):
            image = np.random.default_rng(i).integers(0, 256, (40, 56, 3), np.uint8)
            cv2.imwrite(str(folder / f"im{i:02d}.{suffix}"), image)
    return root


def write(root, output, megabytes=1):
    return write_shards(layout_of(root), output, megabytes)


def test_sequences_splits_and_pixels_are_the_same(folders, tmp_path):
    assert len(write(folders, tmp_path / "shards", 0)) == 3  # a sequence each
    for split in ("train", "val"):
        before, after = (open_sequences(r, split) for r in (folders, tmp_path / "shards"))
        assert [s.name for s in before] == [s.name for s in after]
        for one, other in zip(before, after, strict=True):
            assert len(one) == len(other) and one.size == other.size
            assert np.array_equal(one.read([23, 0, 7]), other.read([23, 0, 7]))


def test_training_samples_are_the_same(folders, tmp_path):
    write(folders, tmp_path / "shards")
    config = DataConfig(crop_height=32, crop_width=32)
    one, other = (
        ClipDataset(replace(config, data_root=str(root)), "train", batch_size=2, seed=1, train=True)
        for root in (folders, tmp_path / "shards")
    )
    for g in range(4):
        assert torch.equal(one[g].frames, other[g].frames)
        assert torch.equal(one[g].target, other[g].target)


def test_a_shard_is_a_tar_of_the_files_as_they_are(folders, tmp_path):
    (file,) = write(folders, tmp_path / "shards")
    with tarfile.open(file) as tar:
        names = tar.getnames()
        assert names[0] == "train/a/im00.png" and len(names) == 72
        stored = tar.extractfile("train/b b/im05.jpg").read()
    assert stored == (folders / "train" / "b b" / "im05.jpg").read_bytes()


def test_frames_of_other_kinds_are_stored_as_png(tmp_path):
    root = tmp_path / "deep"
    root.mkdir()
    for i in range(4):
        image = np.random.default_rng(i).integers(0, 65536, (20, 24, 3), np.uint16)
        cv2.imwrite(str(root / f"{i}.png"), image)
    write(root, tmp_path / "shards")
    (before,), (after,) = open_sequences(root), open_sequences(tmp_path / "shards")
    assert np.array_equal(before.read([0, 3]), after.read([0, 3]))


@pytest.mark.videos
def test_videos_become_frames(tmp_path):
    write_video(tmp_path / "videos" / "a.mp4", 12)
    write(tmp_path / "videos", tmp_path / "shards")
    (before,), (after,) = open_sequences(tmp_path / "videos"), open_sequences(tmp_path / "shards")
    assert len(after) == 12 and np.array_equal(before.read([3, 11]), after.read([3, 11]))


def test_shards_are_never_overwritten_and_a_broken_index_is_named(folders, tmp_path):
    write(folders, tmp_path / "shards")
    with pytest.raises(LiftError, match="has shards already"):
        write(folders, tmp_path / "shards")
    (tmp_path / "shards" / "shards.json").write_text("{}")
    with pytest.raises(LiftError, match="shards.json is not an index of shards"):
        open_sequences(tmp_path / "shards")


def test_a_missing_or_damaged_shard_is_named(folders, tmp_path):
    (file,) = write(folders, tmp_path / "shards")
    (sequence, _) = open_sequences(tmp_path / "shards", "train")
    data = bytearray(file.read_bytes())
    data[1000:60_000] = bytes(59_000)
    file.write_bytes(data)
    with pytest.raises(LiftError, match="shard-000000.tar:train/a/im0.*not a readable image"):
        sequence.read([0, 1, 2])
    file.unlink()
    with pytest.raises(LiftError, match="shard-000000.tar cannot be read"):
        sequence.read([0])
