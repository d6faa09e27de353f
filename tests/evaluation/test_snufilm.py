"""SNU-FILM: four lists of triplets, and context at the distance of their references."""

import pytest

from lift.errors import LiftError
from lift.evaluation.protocols import snufilm
from tests.support.published_folders import names, touch

GAPS = {"easy": 1, "medium": 2, "hard": 4, "extreme": 8}  # from a reference to the target


def make(root, lists=".", files="data/SNU-FILM/test"):
    """A clip of GoPro with frames 1 to 40, its target 20 in every split."""
    touch(root / files / f"GOPRO_test/GOPR1/{k:06d}.png" for k in range(1, 41))
    (root / lists).mkdir(parents=True, exist_ok=True)
    for split, gap in GAPS.items():
        paths = (f"data/SNU-FILM/test/GOPRO_test/GOPR1/{20 + k:06d}.png" for k in (-gap, 0, gap))
        (root / lists / f"test-{split}.txt").write_text(" ".join(paths) + "\n\n")
    return root


@pytest.mark.parametrize(
    ("lists", "files"),
    [(".", "data/SNU-FILM/test"), ("eval_modes", "test"), (".", "."), (".", "test")],
)
def test_splits_are_groups_wherever_the_set_was_unpacked(tmp_path, lists, files):
    samples = snufilm.find(make(tmp_path, lists, files), 2)
    assert [sample.group for sample in samples] == list(GAPS)
    assert len({sample.name for sample in samples}) == 4 and samples[0].name == "easy/GOPR1/000020"
    assert names(samples[2]) == (["000016.png", "000024.png"], [0, 1], "000020.png")
    assert {sample.t for sample in samples} == {0.5}


def test_context_lies_at_the_splits_own_distance_and_ends_with_the_clip(tmp_path):
    easy, _, hard, extreme = snufilm.find(make(tmp_path), 15)
    assert names(easy)[1] == list(range(-7, 8)) and names(easy)[0][0] == "000005.png"
    assert names(hard) == (
        [f"{k:06d}.png" for k in (8, 16, 24, 32, 40)],
        [-1, 0, 1, 2, 3],
        "000020.png",
    )
    assert names(extreme)[1] == [0, 1]
    assert hard.left == 1


def test_a_line_without_three_paths_is_named(tmp_path):
    root = make(tmp_path)
    (root / "test-hard.txt").write_text("a.png b.png\n")
    with pytest.raises(LiftError, match="test-hard.txt: line 1 must have three paths"):
        snufilm.find(root, 2)


def test_a_missing_frame_is_named(tmp_path):
    root = make(tmp_path)
    (root / "data/SNU-FILM/test/GOPRO_test/GOPR1/000020.png").unlink()
    with pytest.raises(LiftError, match="000020.png does not exist"):
        snufilm.find(root, 2)


def test_published_scores_are_of_the_splits():
    assert [score.group for score in snufilm.SNUFILM.published["RIFE"]] == list(GAPS)
