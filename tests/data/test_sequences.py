"""Claims about sequences: every layout is read, in order, and what cannot be read is named in one
sentence.
"""

import json

import cv2
import numpy as np
import pytest

from lift.data.sequences import (
    InMemorySequence,
    ResizedSequence,
    SubSequence,
    open_sequences,
    open_split,
)
from lift.errors import LiftError
from lift.io.frame_folder import FrameFolder
from tests.support.numbered import numbers, picture, write_video


def write_frames(folder, numbers, name="{:04d}.png", size=(24, 32)):
    folder.mkdir(parents=True, exist_ok=True)
    for i in numbers:
        cv2.imwrite(str(folder / name.format(i)), cv2.cvtColor(picture(i, size), cv2.COLOR_RGB2BGR))
    return folder


def sentence(error) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 500
    return text


# -- layouts ---------------------------------------------------------------------------------------


def test_the_layout_with_splits_is_read_in_order(tmp_path):
    for split, names in (("train", "ba"), ("val", "c")):
        for name in names:
            write_frames(tmp_path / "sequences" / split / name, range(12), "im{:02d}.png")
    train, val = open_sequences(tmp_path, "train"), open_sequences(tmp_path, "val")
    assert [s.name for s in train] == ["train/a", "train/b"] and [s.name for s in val] == ["val/c"]
    assert len(train[0]) == 12 and train[0].size == (24, 32) and train[0].cuts == ()
    frames = train[0].read([11, 0, 3])
    assert (
        frames.shape == (3, 24, 32, 3)
        and frames.dtype == np.uint8
        and numbers(frames) == [11, 0, 3]
    )
    assert frames[1, 0, 0].tolist() == [0, 0, 15]  # RGB
    assert len(open_sequences(tmp_path)) == 3


def test_two_levels_below_the_split_are_read(tmp_path):
    for split, a, b in (
        ("train", "002", "occ008.320"),
        ("train", "003", "occ001.1"),
        ("val", "Type1", "TEST01"),
    ):
        write_frames(tmp_path / split / a / b, range(5))
    assert [s.name for s in open_sequences(tmp_path, "train")] == [
        "train/002/occ008.320",
        "train/003/occ001.1",
    ]
    assert [len(s) for s in open_sequences(tmp_path, "val")] == [5]


@pytest.mark.parametrize(
    "name", ["{}.png", "{:03d}.jpg", "frame_{:06d}.bmp", "shot2-{:02d}_left.png"]
)
def test_a_folder_of_numbered_frames_is_one_sequence_whatever_its_padding(tmp_path, name):
    write_frames(tmp_path, range(7, 13), name)
    (tmp_path / "notes.txt").write_text("not a frame")
    (only,) = open_sequences(tmp_path)
    assert only.name == tmp_path.name and numbers(only.read(list(range(6)))) == list(range(7, 13))


def test_a_folder_of_folders_and_videos_is_many_sequences(tmp_path):
    write_frames(tmp_path / "b", range(4))
    write_video(tmp_path / "a.mp4")
    assert [s.name for s in open_sequences(tmp_path)] == ["a.mp4", "b"]


def test_a_manifest_gives_split_cuts_and_repeated_frames(tmp_path):
    clips = []
    for name, split in (("x.mp4", "train"), ("y.mp4", "val"), ("z.mp4", "train")):
        write_video(tmp_path / name, 12)
        clips.append(
            {
                "file": name,
                "split": split,
                "cuts": [5] if name == "z.mp4" else [],
                "duplicate_frames": [7],
                "notes": "more",
            }
        )
    (tmp_path / "manifest.json").write_text(json.dumps({"clips": clips}))
    train, val = open_sequences(tmp_path, "train"), open_sequences(tmp_path, "val")
    assert [s.name for s in train] == ["x.mp4", "z.mp4"] and [s.name for s in val] == ["y.mp4"]
    assert train[0].cuts == () and train[1].cuts == (5,) and train[1].duplicates == (7,)
    assert len(open_sequences(tmp_path)) == 3
    with pytest.raises(LiftError, match="no split 'test'; it has train, val"):
        open_sequences(tmp_path, "test")


@pytest.mark.parametrize("count, held", [(2, ["1"]), (7, ["6"]), (8, ["7"]), (17, ["07", "15"])])
def test_without_splits_every_eighth_sequence_is_held_back(tmp_path, count, held):
    for i in range(count):
        write_frames(tmp_path / f"{i:0{len(str(count - 1))}d}", range(3), size=(4, 4))
    train, val = open_sequences(tmp_path, "train"), open_sequences(tmp_path, "val")
    assert [s.name for s in val] == held
    assert len(train) == count - len(held) and not {s.name for s in train} & {s.name for s in val}


def test_of_a_train_split_without_a_val_split_every_eighth_sequence_is_held_back(tmp_path):
    for i in range(9):
        write_frames(tmp_path / "train" / f"{i}", range(3), size=(4, 4))
    assert [s.name for s in open_sequences(tmp_path, "val")] == ["train/7"]
    assert len(open_sequences(tmp_path, "train")) == 8


def test_of_a_single_sequence_the_last_frames_are_held_back(tmp_path):
    write_frames(tmp_path, range(40))
    (train,), (val,) = open_sequences(tmp_path, "train"), open_sequences(tmp_path, "val")
    assert len(train) == 35 and len(val) == 5 and numbers(val.read([0, 4])) == [35, 39]


# -- what is wrong is named ------------------------------------------------------------------------


def test_a_sequence_that_is_too_short_is_not_the_one_held_out(tmp_path):
    write_frames(tmp_path / "train" / "long", range(24))
    write_frames(tmp_path / "train" / "short", range(2))
    train, val = (open_split(tmp_path, split) for split in ("train", "val"))
    assert [len(s) for s in train.sequences] == [21] and [len(s) for s in val.sequences] == [3]
    assert train.left_out == val.left_out == {"fewer than 3 frames": ["train/short"]}


def test_a_missing_number_is_named(tmp_path):
    write_frames(tmp_path, [0, 1, 2, 4, 5])
    with pytest.raises(LiftError) as error:
        open_sequences(tmp_path)
    assert "frame 3 is missing between 0002.png and 0004.png" in sentence(error)


def test_a_number_twice_is_named(tmp_path):
    write_frames(tmp_path, [0, 1, 2])
    write_frames(tmp_path, [1], "{}.png")
    with pytest.raises(LiftError) as error:
        open_sequences(tmp_path)
    assert "0001.png" in sentence(error) and "1.png have the same number 1" in sentence(error)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("below", ["", "sequences/train/a"])
def test_frames_of_two_sizes_are_named(tmp_path, below, suffix):
    folder = write_frames(tmp_path / below, range(4), "{:04d}." + suffix)
    write_frames(folder, [2], "{:04d}." + suffix, size=(24, 30))
    if below:
        write_frames(folder.parent / "b", range(4))
    with pytest.raises(LiftError) as error:
        open_sequences(tmp_path, "train" if below else None)[0].read([0, 1, 2, 3])
    for part in (f"0000.{suffix} is 32x24", f"0002.{suffix} is 30x24"):
        assert part in sentence(error)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_named(tmp_path, suffix):
    rough = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.{suffix}"), rough)
    path = tmp_path / f"1.{suffix}"
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(LiftError) as error:
        open_sequences(tmp_path)
    assert f"1.{suffix}: not a readable image" in sentence(error)
    with pytest.raises(LiftError, match=f"1.{suffix}: not a readable image"):
        FrameFolder(tmp_path).read([0, 1])


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda root: root / "nowhere", "does not exist"),
        (lambda root: root, "holds no sequences"),
        (lambda root: write_frames(root / "one", [0]).parent, "holds no sequences"),
    ],
)
def test_where_nothing_is_found_the_message_says_what_is_accepted(tmp_path, make, words):
    with pytest.raises(LiftError, match=words) as error:
        open_sequences(make(tmp_path))
    assert (
        "numbered frames" in sentence(error)
        and "video files" in sentence(error)
        and "manifest.json" in sentence(error)
    )


@pytest.mark.parametrize("text", ["{", "[]", '{"clips": [{"split": "train"}]}', '{"clips": 3}'])
def test_a_broken_manifest_is_named(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(LiftError, match="manifest.json is not a manifest"):
        open_sequences(tmp_path)


def test_a_file_that_the_manifest_lists_and_is_not_there_is_named(tmp_path):
    (tmp_path / "manifest.json").write_text('{"clips": [{"file": "gone.mp4", "split": "train"}]}')
    with pytest.raises(LiftError, match="gone.mp4 is listed"):
        open_sequences(tmp_path)


# -- sequences made from sequences -----------------------------------------------------------------


@pytest.mark.parametrize(
    "size, short_side, result",
    [((48, 64), 24, (24, 32)), ((64, 48), 24, (32, 24)), ((20, 30), 24, (20, 30))],
)
def test_resizing_shrinks_the_short_side_and_never_enlarges(tmp_path, size, short_side, result):
    write_frames(tmp_path, range(3), size=size)
    (only,) = open_sequences(tmp_path, resize_short_side=short_side)
    assert (
        only.size == result
        and only.read([2, 1]).shape == (2, *result, 3)
        and numbers(only.read([2, 1])) == [2, 1]
    )


def test_shrinking_averages_areas(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    image[::2] = 200
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
    assert (open_sequences(tmp_path, resize_short_side=4)[0].read([0]) == 100).all()


def test_preloaded_and_partial_sequences_read_the_same_frames(tmp_path):
    folder = FrameFolder(write_frames(tmp_path, range(40)))
    folder.cuts, folder.duplicates = (10, 20), (12, 30)
    part = SubSequence(folder, 8, 20)
    assert (
        len(part) == 12
        and part.cuts == (2,)
        and part.duplicates == (4,)
        and numbers(part.read([0, 11])) == [8, 19]
    )
    loaded = InMemorySequence(ResizedSequence(folder, 12), chunk=7)
    assert (
        loaded.size == (12, 16)
        and loaded.cuts == (10, 20)
        and numbers(loaded.read([39, 0])) == [39, 0]
    )
