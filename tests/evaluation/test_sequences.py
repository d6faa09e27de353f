"""The seed's windows of sixteen, and any frames with every second one dropped."""

import json

import pytest

from lift.data.sequences import layout_of, open_sequences
from lift.data.shards import write_shards
from lift.errors import LiftError
from lift.evaluation.protocols import sequences
from tests.support.published_folders import names, write
from tests.support.video_samples import moving_frames, write_video

pytestmark = [pytest.mark.native, pytest.mark.videos]


def test_the_seeds_windows_have_thirteen_frames_of_context(tmp_path):
    write(tmp_path / f"sequences/val/dog/im{k:02d}.png" for k in range(40))
    write(tmp_path / f"sequences/train/cat/im{k:02d}.png" for k in range(16))
    samples = sequences.find_seed(tmp_path, 15)
    assert [sample.name for sample in samples] == [
        "train/cat/im08",
        "val/dog/im08",
        "val/dog/im24",
    ]
    assert [sample.split for sample in samples] == ["train", "val", "val"]
    inputs, times, truth = names(samples[0])
    assert inputs == [f"im{k:02d}.png" for k in range(16) if k != 8] and truth == "im08.png"
    assert times == [(k - 7) / 2 for k in range(16) if k != 8] and samples[0].t == 0.5
    assert names(sequences.find_seed(tmp_path, 2)[2])[0] == ["im23.png", "im25.png"]


@pytest.mark.parametrize(
    ("length", "targets"), [(3, [1]), (4, [1]), (5, [1, 3]), (15, [*range(1, 14, 2)])]
)
def test_short_clips_have_fewer_targets(tmp_path, length, targets):
    write(tmp_path / f"im{k:02d}.png" for k in range(length))
    samples = sequences.find_frames(tmp_path, 15)
    assert [int(sample.truth.path.stem[2:]) for sample in samples] == targets
    assert all(sample.truth not in sample.inputs for sample in samples)


def test_a_clip_without_a_target_is_one_sentence(tmp_path):
    write(tmp_path / f"im{k:02d}.png" for k in range(2))
    with pytest.raises(LiftError, match="has 2 frames; protocol frames needs three or more"):
        sequences.find_frames(tmp_path, 15)


def test_a_manifest_of_files_alone_is_enough(tmp_path):
    write_video(tmp_path / "cat.mp4", moving_frames(9))
    write(tmp_path / f"dog/im{k:02d}.png" for k in range(5))
    clips = [{"file": "cat.mp4"}, {"file": "dog", "split": "val", "name": "my dog"}]
    (tmp_path / "manifest.json").write_text(json.dumps({"clips": clips}))
    samples = sequences.find_frames(tmp_path, 4)
    assert [sample.name for sample in samples] == [
        *(f"cat/{k:06d}" for k in (1, 3, 5, 7)),
        *(f"my dog/{k:06d}" for k in (1, 3)),
    ]
    assert [frame.index for frame in samples[1].inputs] == [0, 2, 4, 6]
    assert samples[-1].split == "val" and samples[0].split == ""


def test_no_target_lies_at_a_cut_or_a_duplicate_and_context_ends_at_cuts(tmp_path):
    write(tmp_path / f"clip/im{k:02d}.png" for k in range(21))
    clip = {"file": "clip", "cuts": [8], "duplicate_frames": [15]}
    (tmp_path / "manifest.json").write_text(json.dumps({"clips": [clip]}))
    samples = sequences.find_frames(tmp_path, 15)
    targets = {int(sample.truth.path.stem[2:]): sample for sample in samples}
    assert list(targets) == [1, 3, 5, 9, 11, 13, 17, 19]  # 7 is before the cut, 15 a duplicate
    numbers = [int(frame.path.stem[2:]) for frame in targets[9].inputs]
    assert min(numbers) == 8 and targets[9].left == 0


def test_folders_and_videos_at_any_depth_are_clips(tmp_path):
    write(tmp_path / f"runs/val/a/im{k:02d}.png" for k in range(5))
    write(tmp_path / f"runs/v1.5/im{k:02d}.png" for k in range(5))
    write(tmp_path / f"runs/.trash/b/im{k:02d}.png" for k in range(5))
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/cat.mp4", moving_frames(5))
    samples = sequences.find_frames(tmp_path, 2)
    groups = ["runs/v1.5", "runs/val/a", "videos/cat"]
    assert list(dict.fromkeys(sample.group for sample in samples)) == groups
    assert [sample.split for sample in samples[:4]] == ["", "", "val", "val"]


def test_frames_of_a_video_have_their_own_times(tmp_path):
    write_video(tmp_path / "cat.mp4", moving_frames(5), ticks=[0, 30, 120, 160, 240])
    first, second = sequences.find_frames(tmp_path / "cat.mp4", 15)
    assert first.t == pytest.approx(30 / 120) and second.t == pytest.approx(40 / 120)
    assert first.times == pytest.approx([0, 1, 2]) and second.times == pytest.approx([-1, 0, 1])


def test_one_video_is_a_clip(tmp_path):
    write_video(tmp_path / "cat.mp4", moving_frames(5))
    assert len(sequences.find_frames(tmp_path / "cat.mp4", 2)) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "none", "does not exist; protocol frames reads a video"),
        (lambda root: root, "has no frames; protocol frames reads"),
    ],
)
def test_nothing_to_read_is_one_sentence(tmp_path, make, message):
    with pytest.raises(LiftError, match=message):
        sequences.find_frames(make(tmp_path), 2)


def test_a_clip_of_the_manifest_that_is_not_there_is_named(tmp_path):
    (tmp_path / "manifest.json").write_text('{"clips": [{"file": "cat.mp4"}]}')
    with pytest.raises(LiftError, match="cat.mp4 is listed beside it and does not exist"):
        sequences.find_frames(tmp_path, 2)


def test_without_splits_the_clips_that_training_holds_out_are_val(tmp_path):
    write(tmp_path / f"{k}" / f"{i}.png" for k in range(9) for i in range(3))
    held_out = {
        sample.group for sample in sequences.find_frames(tmp_path, 2) if sample.split == "val"
    }
    assert held_out == {sequence.name for sequence in open_sequences(tmp_path, "val")}
    assert {sample.split for sample in sequences.find_frames(tmp_path, 2)} == {"train", "val"}


def test_shards_are_refused_in_a_sentence(tmp_path):
    write(tmp_path / "a" / f"{i}.png" for i in range(3))
    write_shards(layout_of(tmp_path), tmp_path / "shards", 1)
    with pytest.raises(LiftError, match="which only training reads"):
        sequences.find_frames(tmp_path / "shards", 2)
