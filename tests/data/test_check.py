import json

import cv2
import numpy as np
import pytest

from lift.data import check as checking
from lift.data.sequences import layout_of


def write_clip(folder, count, seed, size=(32, 48), still=False):
    folder.mkdir(parents=True)
    texture = np.random.default_rng(seed).integers(0, 256, (size[0], size[1] + 99, 3), np.uint8)
    for i in range(count):
        image = texture[:, : size[1]] if still else texture[:, i : i + size[1]]
        cv2.imwrite(str(folder / f"{i:02d}.png"), image)
    return folder


@pytest.fixture
def root(tmp_path):
    for k in range(12):
        write_clip(tmp_path / "train" / f"good{k:02d}", 5, k)
    return tmp_path


def found(root, workers=0) -> dict[str, tuple[str, str]]:
    findings = checking.check(layout_of(root), workers)
    return {each.sequence: (each.kind, each.text) for each in findings}


def test_a_good_data_set_has_no_findings(root):
    assert found(root) == {}


def test_broken_short_still_and_wrongly_sized_sequences_are_named(root):
    train = root / "train"
    broken = write_clip(train / "truncated", 6, 50) / "03.png"
    broken.write_bytes(broken.read_bytes()[:500])
    (write_clip(train / "gap", 6, 51) / "02.png").unlink()
    write_clip(train / "short", 2, 52)
    write_clip(train / "still", 5, 53, still=True)
    write_clip(train / "large", 5, 54, size=(40, 48))
    clip = write_clip(train / "held", 6, 55)
    (clip / "04.png").write_bytes((clip / "03.png").read_bytes())
    kinds = {name.split("/")[1]: finding for name, finding in found(root).items()}
    assert kinds["truncated"][0] == "broken"
    assert kinds["truncated"][1].startswith("1 frame damaged: 03.png (")
    assert "03.png: not a readable image" in kinds["truncated"][1]
    assert kinds["gap"][0] == "broken" and "frame 2 is missing" in kinds["gap"][1]
    assert kinds["short"] == ("short", "2 frames; 3 are needed at least")
    assert kinds["still"] == ("still", "nothing moves in its 5 frames")
    assert kinds["large"] == ("size", "48x40, where most are 48x32")
    assert kinds["held"] == ("repeated frames", "1 frame as the one before: 04.png")
    assert len(kinds) == 6


def test_the_same_sequence_in_two_splits_is_serious(root):
    write_clip(root / "train" / "again", 5, 3)
    write_clip(root / "val" / "leak", 5, 4)
    findings = {each.sequence: each for each in checking.check(layout_of(root))}
    assert not findings["train/good03"].is_serious or findings["train/good03"].kind == "duplicate"
    assert findings["val/leak"].kind == "in two splits" and findings["val/leak"].is_serious
    assert findings["val/leak"].text == "the same frames as train/good04 of the split 'train'"


def test_cuts_inside_a_folder_of_frames_are_named(root):
    clip = write_clip(root / "train" / "two_scenes", 12, 60, size=(96, 128))
    for i in range(6):
        other = np.random.default_rng(61).integers(0, 256, (30, 40, 3), np.uint8)
        image = other.repeat(8, 0).repeat(8, 1)[i : i + 96, i : i + 128]
        cv2.imwrite(str(clip / f"{i + 6:02d}.png"), image)
    layout = layout_of(root)
    findings = [f for f in checking.check(layout) if f.sequence == "train/two_scenes"]
    assert ("cuts", "scene cuts (1) before: 06.png") in [(f.kind, f.text) for f in findings]


@pytest.mark.slow
def test_processes_find_the_same(root):
    write_clip(root / "train" / "short", 2, 52)
    assert found(root, workers=2) == found(root)


def test_the_summary_is_json(root):
    write_clip(root / "train" / "short", 2, 52)
    layout = layout_of(root)
    summary = checking.summary(layout, list(checking.check(layout)))
    assert json.loads(json.dumps(summary))["sequences"] == 13
    assert summary["splits"] == {"train": 13} and not summary["findings"][0]["serious"]
