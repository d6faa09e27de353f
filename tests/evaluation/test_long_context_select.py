"""The oracle that chooses real targets gains where far frames show what the near ones hide."""

import json
from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")

from lift.data.synthetic.textures import natural_texture  # noqa: E402
from lift.evaluation.protocols import long_context_select as select  # noqa: E402
from lift.evaluation.protocols import real16  # noqa: E402
from lift.io.manifest import ManifestClip  # noqa: E402

SIZE = (64, 160)
HALF = 3  # pixels from a reference to the target
GAP = np.full((*SIZE, 2), (2 * HALF, 0), np.float32)


def _steady_motion() -> tuple[list[np.ndarray], np.ndarray]:
    """Fifteen frames of a texture that moves to the right, and the target."""
    wide = natural_texture(np.random.default_rng(0), SIZE[0], SIZE[1] + 200)
    views = [wide[:, 100 - HALF * i : 100 - HALF * i + SIZE[1]] for i in range(-15, 14)]
    return views[::2], views[15]


def test_flow_is_followed_from_gap_to_gap():
    flows = select.follow([GAP] * 14, -GAP / 2, GAP / 2)
    for k, flow in enumerate(flows):
        assert flow[32, 80] == pytest.approx((2 * HALF * (k - 7.5), 0), abs=1e-4)


def test_every_candidate_of_a_steady_motion_is_the_target():
    frames, target = _steady_motion()
    candidates = select.candidates(frames, [GAP] * 14)
    assert sorted(n for n, *_ in candidates)[:6] == [2, 2, 4, 4, 4, 6]  # blends need four and six
    for _, candidate, valid in candidates:
        valid[:, :8], valid[:, -8:] = False, False  # the blends are clamped at the border
        assert np.abs(candidate - target)[valid].max() < 0.01


def test_far_frames_gain_only_where_the_near_ones_hide_the_target():
    frames, target = _steady_motion()
    gaps = [GAP] * 14
    assert select.oracle_gain(frames, gaps, target) == pytest.approx(0, abs=0.01)
    hidden = [frame.copy() for frame in frames]
    for k in range(6, 10):
        hidden[k][10:50, 60:120] = 0
    assert select.oracle_gain(hidden, gaps, target) > 3
    for k in (4, 5, 10, 11):
        hidden[k - 6 if k < 8 else k + 3][10:50, 60:120] = 0
    assert select.oracle_gain(hidden, gaps, target) > 3


def test_targets_have_fifteen_frames_in_their_shot_and_no_repeated_one_beside_them():
    clip = ManifestClip("a", "a", Path("a"), 100, "val", (40,), (70,))
    targets = select.possible_targets(clip, 1)
    for k in targets:
        indices, _, left = real16.context_indices(k, 100, (40,), 15)
        assert len(indices) == 15 and left == 7
    assert targets[0] == 15 and max(targets) == 86
    assert not {*range(27, 55), *range(68, 72)} & set(targets)
    assert 67 in targets and 72 in targets


def test_the_targets_with_the_largest_gains_are_kept_and_few_of_a_clip():
    gains = {f"clip{c}": {k: float(k + c / 100) for k in range(50)} for c in range(20)}
    chosen = select.choose(gains, 60)
    assert len(chosen) == 100  # a tenth of a thousand
    assert max(sum(e["clip"] == name for e in chosen) for name in gains) <= select.PER_CLIP
    assert min(entry["target"] for entry in chosen) == 45
    assert len(select.choose({"a": {0: 1.0}, "b": {0: 2.0, 3: -1.0}}, 60)) == 3


def test_the_command_writes_the_list_of_both_splits(tmp_path, monkeypatch):
    clips = [{"file": f"{i}.mp4", "split": ("val", "train")[i % 2], "frames": 99} for i in range(6)]
    (tmp_path / "manifest.json").write_text(json.dumps({"clips": clips}))
    monkeypatch.setattr(select, "clip_gains", lambda clip, step: {step: 1.0})
    select.main(["--data_root", str(tmp_path), "--output", str(tmp_path / "list.json")])
    written = json.loads((tmp_path / "list.json").read_text())
    entry = {"clip": "0", "target": 4, "oracle_gain_db": 1.0}
    assert written["val"]["tried"] == 3 and written["val"]["targets"][0] == entry
    assert [each["clip"] for each in written["train"]["targets"]] == ["1", "3", "5"]


def test_neighbouring_targets_share_the_motion_of_their_gaps(monkeypatch):
    calls = []
    monkeypatch.setattr(select, "dis_flow", lambda a, b: calls.append(1) or GAP)
    clip = ManifestClip("a", "a", Path("a"), 60, "val")
    frame = np.zeros((*SIZE, 3), np.uint8)
    gains = select.clip_gains(clip, 4, lambda *_: {k: frame for k in range(60)})
    assert len(gains) > 3 and len(calls) == 14 + 2 * (len(gains) - 1)
