"""Decoded frames in files: the same pixels, decoded once, and again where the source changed."""

import cv2
import numpy as np
import pytest

from lift.data.frame_cache import CachedSequence
from lift.data.sequences import ResizedSequence
from lift.errors import LiftError
from lift.io.frame_folder import FrameFolder


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "clip"
    source.mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        cv2.imwrite(str(source / f"im{i:02d}.png"), rng.integers(0, 256, (24, 32, 3), np.uint8))
    return source


def test_the_frames_are_those_of_the_sequence(folder, tmp_path):
    sequence = ResizedSequence(FrameFolder(folder), 12)
    cached = CachedSequence(sequence, tmp_path / "cache")
    indices = [39, 0, 7, 7]
    np.testing.assert_array_equal(cached.read(indices), sequence.read(indices))
    assert (len(cached), cached.size, cached.name) == (40, sequence.size, sequence.name)


def test_frames_are_decoded_once(folder, tmp_path, monkeypatch):
    first = CachedSequence(FrameFolder(folder), tmp_path / "cache").read([3])
    monkeypatch.setattr(FrameFolder, "read", lambda *_: pytest.fail("decoded again"))
    np.testing.assert_array_equal(
        CachedSequence(FrameFolder(folder), tmp_path / "cache").read([3]), first
    )


def test_a_changed_source_and_another_size_have_their_own_files(folder, tmp_path):
    CachedSequence(FrameFolder(folder), tmp_path / "cache")
    CachedSequence(ResizedSequence(FrameFolder(folder), 12), tmp_path / "cache")
    changed = np.full((24, 32, 3), 9, np.uint8)
    cv2.imwrite(str(folder / "im03.png"), changed)
    cached = CachedSequence(FrameFolder(folder), tmp_path / "cache")
    np.testing.assert_array_equal(cached.read([3])[0], changed)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_a_cache_that_cannot_be_written_is_one_sentence(folder, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(LiftError, match="choose another --frame_cache"):
        CachedSequence(FrameFolder(folder), tmp_path / "cache")
