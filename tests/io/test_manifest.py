"""The manifest of a folder of clips."""

import json

import pytest

from lift.errors import LiftError
from lift.io.manifest import has_manifest, read_manifest


def test_only_the_file_is_required(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"clips": [{"file": "a/cat.mp4"}]}))
    (clip,) = read_manifest(tmp_path)
    assert has_manifest(tmp_path)
    assert (clip.name, clip.file, clip.path) == ("cat", "a/cat.mp4", tmp_path / "a/cat.mp4")
    assert (clip.frames, clip.split, clip.cuts, clip.duplicates) == (None, None, (), ())


def test_everything_stated_is_known(tmp_path):
    entry = {
        "file": "cat.mp4",
        "name": "the cat",
        "frames": 66,
        "split": "val",
        "cuts": [5],
        "duplicate_frames": [7, 9],
        "licence": "CC0",
    }
    (tmp_path / "manifest.json").write_text(json.dumps({"clips": [entry]}))
    (clip,) = read_manifest(tmp_path)
    assert (clip.name, clip.frames, clip.split) == ("the cat", 66, "val")
    assert clip.cuts == (5,) and clip.duplicates == (7, 9) and clip.source["licence"] == "CC0"


def test_a_folder_without_a_manifest(tmp_path):
    assert not has_manifest(tmp_path)
    with pytest.raises(LiftError, match="manifest.json does not exist"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"clips": [{"split": "train"}]}', '{"clips": 3}'])
def test_a_broken_manifest(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(LiftError, match='is not a manifest of clips.*only "file" is required'):
        read_manifest(tmp_path)
