"""Vimeo-90K is read by its official test lists."""

import numpy as np
import pytest

from lift.errors import LiftError
from lift.evaluation.protocols import vimeo90k
from tests.support.published_folders import names, touch

CLIPS = ("00001/0389", "00001/0002", "00090/0004")


def make(root, prefix: str, frames: int, text: str):
    touch(root / "sequences" / clip / f"im{k + 1}.png" for clip in CLIPS for k in range(frames))
    (root / f"{prefix}_testlist.txt").write_bytes(text.encode())
    (root / f"{prefix}_trainlist.txt").write_text(CLIPS[1])
    return root


@pytest.mark.parametrize("text", ["{0}\n{2}\n\n", "{0}\r\n{2}\r\n\r\n", "{0}\n{2}"])
def test_the_list_decides_with_blank_lines_and_any_line_ends(tmp_path, text):
    root = make(tmp_path, "tri", 3, text.format(*CLIPS))
    samples = vimeo90k.find_triplets(root, 2)
    assert [sample.name for sample in samples] == [CLIPS[0], CLIPS[2]]  # in the list's order
    assert names(samples[0]) == (["im1.png", "im3.png"], [0, 1], "im2.png")
    assert samples[0].t == 0.5


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (4, (["im1.png", "im3.png", "im5.png", "im7.png"], [-1, 0, 1, 2], "im4.png")),
        (2, (["im3.png", "im5.png"], [0, 1], "im4.png")),
    ],
)
def test_septuplets_have_four_inputs(tmp_path, count, expected):
    root = make(tmp_path, "sep", 7, CLIPS[0] + "\n")
    (sample,) = vimeo90k.find_septuplets(root, count)
    assert names(sample) == expected and sample.t == 0.5


def test_the_folder_above_is_accepted(tmp_path):
    make(tmp_path / "vimeo_triplet", "tri", 3, CLIPS[0])
    assert len(vimeo90k.find_triplets(tmp_path, 2)) == 1


def test_a_root_one_level_too_low_is_pointed_to_the_right_one(tmp_path):
    root = make(tmp_path, "tri", 3, CLIPS[0])
    with pytest.raises(LiftError, match=f"; {root} does: give that folder"):
        vimeo90k.find_triplets(root / "sequences", 2)
    (root / "deep").mkdir()
    make(tmp_path / "deep" / "sets" / "vimeo", "sep", 7, CLIPS[0])
    with pytest.raises(LiftError, match="sets/vimeo does: give that folder"):
        vimeo90k.find_septuplets(tmp_path / "deep" / "sets", 2)


def test_the_archive_of_test_triplets_alone_is_read(tmp_path):
    root = make(tmp_path, "tri", 3, CLIPS[0])
    (root / "sequences").rename(root / "target")
    assert len(vimeo90k.find_triplets(root, 2)) == 1


def test_resized_frames_are_refused():
    with pytest.raises(LiftError, match="is 224x128 and protocol vimeo_triplet needs 448x256"):
        vimeo90k.VIMEO_TRIPLET.prepare(np.zeros((128, 224, 3), np.uint8))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda root: (root / "tri_testlist.txt").unlink(),
            "does not hold tri_testlist.txt; protocol",
        ),
        (lambda root: (root / "tri_testlist.txt").write_text("\n"), "tri_testlist.txt is empty"),
        (
            lambda root: (root / "sequences" / CLIPS[0] / "im2.png").unlink(),
            "0389/im2.png does not exist; copy",
        ),
    ],
)
def test_what_is_missing_is_named(tmp_path, damage, message):
    root = make(tmp_path, "tri", 3, CLIPS[0])
    damage(root)
    with pytest.raises(LiftError, match=message):
        vimeo90k.find_triplets(root, 2)


def test_a_root_that_is_not_there_is_one_sentence_with_the_layout(tmp_path):
    with pytest.raises(LiftError, match="none is not a folder; protocol vimeo_triplet reads tri_"):
        vimeo90k.find_triplets(tmp_path / "none", 2)
