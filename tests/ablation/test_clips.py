"""Which clips an ablation is scored on: never those that its runs are trained on."""

import json

import numpy as np
import pytest

from lift.ablation.clips import ALL, choose_split, scoring_clips
from lift.data.sequences import open_sequences
from lift.errors import LiftError
from tests.support.video_samples import moving_frames, write_folder


@pytest.fixture
def folders(tmp_path):
    """Three folders of frames, without a manifest."""
    for name in ("a", "b", "c"):
        write_folder(tmp_path / name, moving_frames(6, 40, 64))
    return tmp_path


def names(root, split):
    return [clip.name for clip in scoring_clips(root, split, "val")]


def manifest(root, **splits):
    clips = [{"file": name} | ({"split": split} if split else {}) for name, split in splits.items()]
    (root / "manifest.json").write_text(json.dumps({"clips": clips}))


def test_a_folder_is_scored_whole_where_training_does_not_read_it(folders):
    assert choose_split(folders, "val", trained_on=False) == ALL
    assert names(folders, ALL) == ["a", "b", "c"]


def test_of_a_folder_that_training_reads_what_it_leaves_out_is_scored(folders):
    assert choose_split(folders, "val", trained_on=True) == "val"
    trained = {each.name for each in open_sequences(folders, "train")}
    scored = set(names(folders, "val"))
    assert scored and trained and not scored & trained


def test_splits_of_a_manifest_are_followed(folders):
    manifest(folders, a="train", b="val", c="train")
    for trained_on in (True, False):
        assert choose_split(folders, "val", trained_on) == "val"
    assert names(folders, "val") == ["b"] and names(folders, ALL) == ["a", "b", "c"]


def test_a_manifest_without_splits_is_scored_whole_or_where_training_does_not_read(folders):
    manifest(folders, a=None, b=None, c=None)
    assert choose_split(folders, "val", trained_on=False) == ALL
    trained = {each.name for each in open_sequences(folders, "train")}
    assert choose_split(folders, "val", trained_on=True) == "val"
    assert names(folders, "val") and not trained & set(names(folders, "val"))


def test_folders_of_splits_are_followed(tmp_path):
    for split in ("train", "val"):
        write_folder(tmp_path / "sequences" / split / "one", moving_frames(5, 40, 64))
    assert choose_split(tmp_path, "val", trained_on=False) == "val"
    assert names(tmp_path, "val") == ["val/one"]


def test_frames_are_prepared_as_the_protocol_demands(folders, tmp_path):
    clip = scoring_clips(folders, ALL, "val")[0]
    frames = clip.prepared(tmp_path / "cache")
    source = open_sequences(folders)[0].read([2])[0]
    assert clip.frames == len(frames) == 6
    assert np.array_equal(frames.read([2])[0], source[4:36])  # centre-cropped to 32 x 64


def test_a_folder_without_clips_is_one_sentence(tmp_path):
    with pytest.raises(LiftError, match="holds no sequences"):
        scoring_clips(tmp_path, ALL, "val")
