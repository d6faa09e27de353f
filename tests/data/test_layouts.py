"""Claims about published layouts: the official lists and folders decide what is trained on."""

import json
import os

import cv2
import numpy as np
import pytest

from lift.data.sequences import MAX_VAL, open_sequences, open_split
from lift.errors import LiftError


def write_frames(folder, names, size=(4, 6)):
    folder.mkdir(parents=True, exist_ok=True)
    image = np.zeros((*size, 3), np.uint8)
    for name in names:
        cv2.imwrite(str(folder / name), image)
    return folder


def septuplets(root, names, frames=7):
    for name in names:
        write_frames(root / "sequences" / name, [f"im{k}.png" for k in range(1, frames + 1)])
    return root


def names(root, split, **options) -> list[str]:
    return [sequence.name for sequence in open_sequences(root, split, **options)]


VIMEO = [f"0000{a}/000{b}" for a in (1, 2) for b in range(1, 6)]
TEST = VIMEO[5:]


@pytest.fixture(params=["tri", "sep"])
def vimeo(request, tmp_path):
    root = septuplets(tmp_path / "sets" / "vimeo", VIMEO, 3 if request.param == "tri" else 7)
    # as published: a blank last line; Windows line ends do no harm
    (root / f"{request.param}_trainlist.txt").write_bytes("\r\n".join([*VIMEO[:5], ""]).encode())
    (root / f"{request.param}_testlist.txt").write_text("\n".join([*TEST, "", ""]))
    return root


# -- Vimeo-90K -------------------------------------------------------------------------------------


def test_the_lists_of_vimeo_decide(vimeo):
    train, val = names(vimeo, "train"), names(vimeo, "val")
    assert sorted(train + val) == VIMEO[:5] and len(val) == 1
    assert names(vimeo, "test") == TEST
    opened = open_split(vimeo, "train")
    assert opened.layout.name.startswith("Vimeo-90K") and "trainlist.txt" in opened.layout.rule
    assert "the split 'test' (5 sequences) is not used" in opened.notes


def test_one_level_too_high_the_lists_still_decide(vimeo):
    train = names(vimeo.parent, "train") + names(vimeo.parent, "val")
    assert sorted(train) == VIMEO[:5]
    outer = vimeo.parent.parent
    assert sorted(names(outer, "train") + names(outer, "val")) == VIMEO[:5]


def test_below_the_lists_the_data_set_is_named(vimeo):
    for part in (vimeo / "sequences", vimeo / "sequences" / "00001"):
        with pytest.raises(LiftError, match=f"part of the data set {vimeo}.*give {vimeo}"):
            open_sequences(part, "train")
    assert len(open_sequences(vimeo / "sequences" / "00001" / "0001")) == 1


def test_what_is_listed_and_missing_or_there_and_not_listed_is_named(vimeo):
    septuplets(vimeo, ["00009/0001"])
    listed = next(vimeo.glob("*_trainlist.txt"))
    listed.write_text("\n".join([*VIMEO[:5], "00003/0001", ""]))
    left_out = open_split(vimeo, "train").left_out
    assert left_out["listed, but not there"] == ["00003/0001"]
    assert left_out["in no list"] == ["00009/0001"]


def test_a_list_that_names_nothing_here_is_an_error(vimeo):
    next(vimeo.glob("*_trainlist.txt")).write_text("a/b\nc/d\n")
    with pytest.raises(LiftError, match="trainlist.txt names no folder of"):
        open_sequences(vimeo, "train")


def test_a_sequence_in_both_lists_is_an_error(vimeo):
    next(vimeo.glob("*_testlist.txt")).write_text("\n".join(VIMEO[4:]))
    with pytest.raises(LiftError, match="00001/0005 is in .*trainlist.txt and in .*testlist.txt"):
        open_sequences(vimeo, "train")


def test_with_a_test_list_alone_the_others_are_for_training(vimeo):
    next(vimeo.glob("*_trainlist.txt")).unlink()
    assert sorted(names(vimeo, "train") + names(vimeo, "val")) == VIMEO[:5]


def test_two_data_sets_in_one_folder_are_not_mixed(tmp_path):
    for name in ("vimeo_a", "vimeo_b"):
        root = septuplets(tmp_path / name, VIMEO[:2])
        (root / "sep_trainlist.txt").write_text("\n".join(VIMEO[:2]))
    with pytest.raises(LiftError, match="several data sets .vimeo_a, vimeo_b."):
        open_sequences(tmp_path, "train")


def test_what_lies_beside_a_data_set_is_said_to_be_left_out(vimeo):
    write_frames(vimeo.parent / "holiday", ["1.png", "2.png", "3.png"])
    assert open_split(vimeo.parent, "train").left_out["beside the data set"] == ["holiday"]


def test_of_a_large_data_set_few_sequences_are_held_out(tmp_path):
    for i in range(MAX_VAL * 9):
        write_frames(tmp_path / f"{i:05d}", ["1.png", "2.png"], size=(1, 1))
    held_out = names(tmp_path, "val")
    assert MAX_VAL / 2 < len(held_out) <= MAX_VAL
    assert len(names(tmp_path, "train")) == MAX_VAL * 9 - len(held_out)


# -- folders of splits -----------------------------------------------------------------------------


def splits(root, clips, frames=("0.png", "1.png", "2.png")):
    for clip in clips:
        write_frames(root / clip, frames)
    return root


ADOBE = ["train/IMG_0029", "train/IMG_0037", "train/IMG_0040", "test/IMG_0030"]


@pytest.mark.parametrize("inside", ["", "frame", "adobe240/frame"])
def test_split_folders_count_wherever_they_are(tmp_path, inside):
    splits(tmp_path / inside, ADOBE)
    found = names(tmp_path, "train") + names(tmp_path, "val")
    assert sorted(name.split("/")[-1] for name in found) == ["IMG_0029", "IMG_0037", "IMG_0040"]
    assert [name.split("/")[-1] for name in names(tmp_path, "test")] == ["IMG_0030"]


def test_x_test_beside_x_train_is_not_trained_on(tmp_path):
    splits(tmp_path / "X-TRAIN", [f"train/002/occ008.{i}" for i in range(3)])
    splits(tmp_path / "X-TEST", ["test/Type1/TEST01_003_f0433"])
    found = names(tmp_path, "train") + names(tmp_path, "val")
    assert len(found) == 3 and not [name for name in found if "TEST" in name]


def test_of_gopro_the_sharp_frames_count(tmp_path):
    kinds = ("blur", "blur_gamma", "sharp")
    splits(
        tmp_path, [f"{s}/GOPR0{k}/{v}" for s in ("train", "test") for k in (1, 2) for v in kinds]
    )
    found = names(tmp_path, "train") + names(tmp_path, "val")
    assert sorted(found) == ["train/GOPR01/sharp", "train/GOPR02/sharp"]
    left_out = open_split(tmp_path, "train").left_out["blurred, and there in sharp"]
    assert "train/GOPR01/blur_gamma" in left_out and len(left_out) == 8


def test_of_reds_the_sharp_frames_count(tmp_path):
    splits(tmp_path, ["train_sharp/000", "train_sharp/001", "val_sharp/002", "train_blur/000"])
    assert names(tmp_path, "train") == ["train_sharp/000", "train_sharp/001"]
    assert names(tmp_path, "val") == ["val_sharp/002"]


def test_a_clip_may_be_called_train(tmp_path):
    """DAVIS has one of that name."""
    splits(tmp_path, ["bear", "train", "tennis"])
    assert [name for split in ("train", "val") for name in names(tmp_path, split)] == [
        "bear",
        "tennis",
        "train",
    ]


def test_split_folders_may_hold_the_frames_themselves(tmp_path):
    splits(tmp_path, ["train", "test"], [f"{i}.png" for i in range(24)])
    assert names(tmp_path, "test") == ["test"]
    assert names(tmp_path, "train") == ["train[0:21]"] and names(tmp_path, "val") == [
        "train[21:24]"
    ]


@pytest.mark.parametrize("root", ["", "test"])
def test_a_test_split_alone_is_trained_on_with_a_warning(tmp_path, root):
    splits(tmp_path, ["test/Type1/a", "test/Type1/b", "test/Type2/c"])
    opened = open_split(tmp_path / root, "train")
    assert len(opened.sequences) == 2
    assert any("scores on it afterwards mean nothing" in note for note in opened.notes)


def test_another_training_split_can_be_named(tmp_path):
    splits(tmp_path, ["easy/a", "easy/b", "easy/c", "hard/d", "train/e"])
    found = [names(tmp_path, split, train_split="easy") for split in ("easy", "val")]
    assert found == [["easy/a", "easy/b"], ["easy/c"]]
    with pytest.raises(LiftError, match="no split 'trian'; it has train"):
        names(tmp_path, "trian", train_split="trian")


def test_sequences_outside_of_the_splits_are_named(tmp_path):
    splits(tmp_path, ["train/a", "train/b", "extra/c"])
    assert open_split(tmp_path, "train").left_out["in no split"] == ["extra/c"]


def test_what_is_no_sequence_is_passed_by(tmp_path):
    splits(tmp_path, ["a", "b", "__MACOSX/a", ".hidden/c"])
    write_frames(tmp_path / "single", ["1.png"])
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "a" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "c").mkdir()
    opened = open_split(tmp_path)
    assert [sequence.name for sequence in opened.sequences] == ["a", "b"]
    assert opened.left_out == {
        "no frames": ["__MACOSX"],
        "no numbered images": ["c"],
        "a single image": ["single"],
    }


def test_links_are_followed_and_circles_are_not(tmp_path):
    splits(tmp_path / "elsewhere", ["a", "b"])
    root = tmp_path / "root"
    root.mkdir()
    os.symlink(tmp_path / "elsewhere", root / "linked")
    os.symlink(root, root / "again")
    assert names(root, None) == ["linked/a", "linked/b"]


# -- DAVIS -----------------------------------------------------------------------------------------


@pytest.fixture
def davis(tmp_path):
    root = tmp_path / "DAVIS"
    for resolution in ("480p", "Full-Resolution"):
        for clip in ("bear", "bus", "train", "dog", "spare"):
            write_frames(root / "JPEGImages" / resolution / clip, ["00000.jpg", "00001.jpg"])
    for clip in ("bear", "dog"):
        write_frames(root / "Annotations" / "480p" / clip, ["00000.png", "00001.png"])
    sets = root / "ImageSets"
    for year, train, val in (("2016", ["bear", "bus"], ["dog"]), ("2017", 0, 0)):
        (sets / year).mkdir(parents=True)
        for name, clips in (("train", train), ("val", val)):
            text = (
                "\n".join(
                    f"/JPEGImages/480p/{c}/{k:05d}.jpg /Annotations/480p/{c}/{k:05d}.png"
                    for c in clips
                    for k in (0, 1)
                )
                if clips
                else "bear\nbus\ntrain\n"
                if name == "train"
                else "dog\n"
            )
            (sets / year / f"{name}.txt").write_text(text)
    return root


@pytest.mark.parametrize("year", [2017, 2016])
def test_the_image_sets_of_davis_decide(davis, year):
    if year == 2016:
        for file in (davis / "ImageSets" / "2017").iterdir():
            file.unlink()
    assert names(davis, "train") == (["bear", "bus", "train"] if year == 2017 else ["bear", "bus"])
    assert names(davis, "val") == ["dog"]
    opened = open_split(davis, "train")
    assert "spare" in opened.left_out["in no list"]
    assert opened.left_out["the same in another resolution"] == ["Full-Resolution"]
    assert opened.layout.name == "DAVIS, 480p" and str(year) in opened.layout.rule


def test_a_part_of_davis_is_named(davis):
    with pytest.raises(LiftError, match="part of the data set"):
        open_sequences(davis / "JPEGImages" / "480p", "train")
    assert names(davis.parent, "val") == ["dog"]


# -- test sets as training data --------------------------------------------------------------------


@pytest.mark.parametrize(
    "folders, frames",
    [
        (["1", "11", "21"], ["frame_00.png", "frame_01_gt.png", "frame_02.png"]),  # UCF101
        (["data/SNU-FILM/test/YouTube_test/0000", "data/SNU-FILM/test/GOPRO_test/a"], None),
        (["test/Type1/TEST01_003_f0433", "test/Type3/TEST15"], None),  # X-TEST
        (["bear", "bus"], ["00000.jpg", "00001.jpg", "00002.jpg"]),  # clips of DAVIS alone
    ],
)
def test_published_test_sets_can_be_trained_on(tmp_path, folders, frames):
    splits(tmp_path, folders, frames or ["0000.png", "0001.png", "0002.png"])
    found = open_sequences(tmp_path, "train") + open_sequences(tmp_path, "val")
    assert len(found) == len(folders) and {len(sequence) for sequence in found} == {3}


def test_a_manifest_of_folders_gives_an_official_split(tmp_path):
    septuplets(tmp_path, VIMEO)
    rows = [
        {"file": f"sequences/{name}", "split": "val" if name in TEST else "train"} for name in VIMEO
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({"clips": rows}))
    assert names(tmp_path, "train") == [f"sequences/{name}" for name in VIMEO[:5]]
    assert names(tmp_path, "val") == [f"sequences/{name}" for name in TEST]
