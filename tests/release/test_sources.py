"""What runs were trained on: an open set saw nothing but synthetic motion and open clips."""

import json

import pytest

from lift.config import from_dict
from lift.errors import LiftError
from lift.release.sources import check_open, sources


def clips(root, **marks):
    """A folder whose manifest has these training clips, marked or not, and a validation clip."""
    entries = [
        {"file": f"{name}.mp4", "split": "train", "licence": "CC0", "may_be_redistributed": mark}
        for name, mark in marks.items()
    ]
    entries.append({"file": "v.mp4", "split": "val"})
    root.mkdir(exist_ok=True)
    (root / "manifest.json").write_text(json.dumps({"clips": entries}))
    return root


def run(folder, root, init="", encoder="", source="mixed"):
    data = {"data_source": source, "data_root": str(root)}
    train = {"init_weights": str(init), "pretrained_encoder": str(encoder)}
    return folder, from_dict({"data": data, "train": train})


def test_the_sources_state_of_each_clip_whether_it_is_open(tmp_path):
    root = clips(tmp_path / "d", a=True, b=False, c=None)
    found = sources([run("one", root)[1]], root)
    assert [clip["may_be_redistributed"] for clip in found["train"]] == [True, False, False]
    assert [clip["name"] for clip in found["val"]] == ["v"] and found["synthetic"]


def test_clips_that_may_be_redistributed_are_accepted(tmp_path):
    root = clips(tmp_path / "d", a=True, b=True)
    first, then = run("one", root), run("two", root, init=tmp_path / "one" / "last.safetensors")
    check_open([first, then], root, "tiny_open")
    check_open([run("one", "", source="synthetic")], root, "tiny_open")
    check_open([run("one", root, init="tiny_open")], root, "tiny_open")


@pytest.mark.parametrize("mark", [False, None, "true"])
def test_a_clip_that_is_not_marked_is_named(tmp_path, mark):
    root = clips(tmp_path / "d", a=True, b=mark)
    with pytest.raises(LiftError, match=r"1 of 2 training clips in .*\(b\)"):
        check_open([run("one", root)], root, "tiny_open")


def test_the_folder_of_the_training_counts_not_only_the_one_given(tmp_path):
    trained_on, shown = clips(tmp_path / "d", a=True, b=False), clips(tmp_path / "e", a=True)
    with pytest.raises(LiftError, match=str(trained_on)):
        check_open([run("one", trained_on)], shown, "tiny_open")
    check_open([run("one", tmp_path / "gone")], shown, "tiny_open")


@pytest.mark.parametrize(
    "start",
    [{"init": "tiny"}, {"init": "runs/other/last.safetensors"}, {"encoder": "imagenet.pth"}],
)
def test_a_start_of_unknown_training_is_refused(tmp_path, start):
    root = clips(tmp_path / "d", a=True)
    with pytest.raises(LiftError, match="two began with .* is not known"):
        check_open([run("one", root), run("two", root, **start)], root, "tiny_open")
