"""Protocol `long_context`: fifteen frames, the curve over them, and the control."""

import json
from functools import cache

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")

from lift.commands import evaluate as command  # noqa: E402
from lift.errors import LiftError  # noqa: E402
from lift.evaluation import baselines, report  # noqa: E402
from lift.evaluation.baselines import warp  # noqa: E402
from lift.evaluation.protocols import long_context, real16  # noqa: E402
from lift.evaluation.protocols import long_context_scenes as scenes  # noqa: E402
from lift.evaluation.target import Target  # noqa: E402


def _target(seed: int, size: tuple[int, int] = (64, 96)) -> Target:
    frames = np.random.default_rng(seed).integers(0, 256, (16, *size, 3), np.uint8)
    return Target(frames[:15], list(range(-7, 8)), 7, frames[15])


@pytest.mark.parametrize(
    ("count", "first", "last"), [(2, 0, 1), (3, -1, 1), (4, -1, 2), (7, -3, 3), (15, -7, 7)]
)
def test_fewer_frames_are_the_nearest_ones(count, first, last):
    target = _target(0)
    frames, times, left = long_context.nearest_frames(target, count)
    assert times == list(range(first, last + 1)) and times[left] == 0
    assert (frames == target.frames[7 + first : 8 + last]).all()


def test_the_control_keeps_the_references_and_times_and_nothing_else():
    target, donor = _target(0), _target(1, (32, 64))
    mixed = long_context.with_context_of(target, donor)
    kept = [k for k in range(15) if (mixed.frames[k] == target.frames[k]).all()]
    assert kept == [7, 8] and mixed.times == target.times and mixed.truth is target.truth
    resized = cv2.resize(donor.frames[3], (96, 64), interpolation=cv2.INTER_AREA)
    assert (mixed.frames[3] == resized).all()


# -- scores ----------------------------------------------------------------------------------------


class Oracle:
    """Knows the true motion of synthetic clips: averages what the frames show of each point."""

    def __init__(self, clips):
        self.clips = {clip.frames[scenes.LEFT].tobytes(): clip for clip in clips}

    @staticmethod
    @cache
    def _truth(clip, time):
        flow = clip.scene.flow(scenes.TARGET_TIME, (time, time))[:2]
        return flow.transpose(1, 2, 0), clip.seen(time)[..., None]

    def interpolate(self, frames, times, left):
        clip = self.clips[frames[left].tobytes()]
        shown, total = np.full((*scenes.SIZE, 1), 1e-3), 1e-3 * frames[left].astype(np.float64)
        for frame, time in zip(frames, times, strict=True):
            flow, seen = self._truth(clip, time)
            total, shown = total + seen * warp(frame, flow), shown + seen
        return np.round(total / shown).astype(np.uint8)


@pytest.fixture(scope="module")
def scores():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "PER_KIND", 2)
        kinds = ["occluder", "noise"]
        clips = [scenes.synthetic_clip(kind, number) for kind in kinds for number in range(2)]
        oracle = Oracle(clips).interpolate
        candidates = {f"oracle_{n}": real16.Candidate(n, oracle) for n in (2, 4, 7, 15)}
        shuffled = {"shuffled_15": candidates["oracle_15"]}
        return long_context.score(None, candidates, names=kinds, shuffled=shuffled)


@pytest.mark.parametrize("kind", ["occluder", "noise"])
def test_an_oracle_gains_from_further_frames(scores, kind):
    entry = scores["clips"][kind]
    curve = [entry["scores"][f"oracle_{n}"]["psnr"] for n in (2, 4, 7, 15)]
    if kind == "noise":
        assert curve[0] + 1 < curve[1] and curve[2] + 1 < curve[3]
    else:  # these two openings repeat after three frames; averages of more are a little softer
        assert curve[1] + 3 < curve[2] and curve[2] - 0.5 < curve[3]
    assert entry["scores"]["shuffled_15"]["psnr"] < curve[3] - 2
    assert entry["split"] == "synthetic" and entry["targets"] == 2


def test_means_are_by_split(scores):
    assert set(scores["mean"]) == {"synthetic"}
    each = [scores["clips"][kind]["scores"]["oracle_7"]["psnr"] for kind in ("occluder", "noise")]
    assert scores["mean"]["synthetic"]["oracle_7"]["psnr"] == pytest.approx(np.mean(each))


# -- real clips ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two clips of forty frames, as folders of pictures, and a list of their targets."""
    for name, shift in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        for k in range(40):
            frame = np.roll(_target(3).truth, shift * k, 1)
            cv2.imwrite(str(tmp_path / name / f"{k:02d}.png"), frame[..., ::-1])
    clips = [{"file": "one", "split": "val"}, {"file": "two", "split": "train"}]
    (tmp_path / "manifest.json").write_text(json.dumps({"clips": clips}))
    listed = {
        "val": {"targets": [{"clip": "one", "target": k} for k in (16, 20)]},
        "train": {"targets": [{"clip": "two", "target": 18}]},
    }
    (tmp_path / "targets.json").write_text(json.dumps(listed))
    monkeypatch.setattr(long_context, "TARGETS_FILE", tmp_path / "targets.json")
    return tmp_path


def _copy() -> dict[str, real16.Candidate]:
    return {"copy": real16.two_frame_candidate(baselines.copy)}


def test_the_listed_targets_are_scored_by_split(folder):
    result = long_context.score(folder, _copy(), names=["one", "two"])
    assert {name: each["targets"] for name, each in result["clips"].items()} == {"one": 2, "two": 1}
    assert set(result["mean"]) == {"train", "val"}
    result = long_context.score(folder, _copy(), "val", ["one"])
    assert list(result["clips"]) == ["one"] and set(result["mean"]) == {"val"}


def test_the_input_frames_are_every_second_one_around_the_target(folder):
    (group,) = long_context.select_groups(folder, "train", ["two"])
    (target,) = group.load()
    assert target.times == list(range(-7, 8)) and target.left == 7
    assert (target.frames[7] == np.roll(target.truth, -2, 1)).all()
    assert (target.frames[14] == np.roll(target.truth, 26, 1)).all()


def test_the_control_of_real_clips_has_the_context_of_another_clip(folder):
    seen = {}

    def look(frames, times, left):
        seen[frames[left].tobytes()] = frames
        return frames[left]

    control = {"look": real16.Candidate(15, look)}
    long_context.score(folder, _copy(), names=["one", "two"], shuffled=control)
    clips = {g.name: g.load() for g in long_context.select_groups(folder, names=["one", "two"])}
    for name, donor in (("one", "two"), ("two", "one")):
        for target in clips[name]:
            frames = seen[target.frames[7].tobytes()]
            assert any((frames[0] == each.frames[0]).all() for each in clips[donor])


def test_a_missing_clip_and_an_unknown_name_are_refused(folder):
    with pytest.raises(LiftError, match="has no clip three; it has occluder, nonlinear"):
        long_context.score(folder, _copy(), names=["three"])
    (folder / "manifest.json").write_text(json.dumps({"clips": [{"file": "one"}]}))
    with pytest.raises(LiftError, match="no clip named two"):
        long_context.score(folder, _copy(), names=["occluder"])


@pytest.mark.parametrize(("split", "least"), [("val", 60), ("train", 30)])
def test_the_list_in_the_package_has_enough_targets_and_few_of_each_clip(split, least):
    listed = long_context.listed_targets(split)
    assert sum(map(len, listed.values())) >= least
    assert max(map(len, listed.values())) <= 6
    assert all(len(set(ks)) == len(ks) for ks in listed.values())


# -- the command -----------------------------------------------------------------------------------


def test_the_command_needs_no_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scenes, "PER_KIND", 1)
    output = tmp_path / "scores.json"
    arguments = ["--protocol", "long_context", "--clips", "occluder", "--methods", "average"]
    command.main([*arguments, "--output", str(output)])
    assert "protocol long_context" in capsys.readouterr().out
    result = json.loads(output.read_text())
    assert list(result["clips"]) == ["occluder"] and list(result["mean"]) == ["synthetic"]


def test_other_protocols_need_a_folder():
    with pytest.raises(LiftError, match="protocol real16 needs --data_root"):
        command.main(["--methods", "average"])


def test_the_table_states_what_context_gains():
    each = {"lift_4": 30.0, "lift_15": 30.5, "lift_shuffled_15": 29.0, "average": 25.0}
    scores = {method: {"psnr": value, "ssim": 0.9} for method, value in each.items()}
    clips = {name: {"split": "synthetic", "targets": 12, "scores": scores} for name in "ab"}
    real = {"cat": {"split": "val", "targets": 5, "scores": scores}}
    mean = {split: scores for split in ("synthetic", "val")}
    result = {"protocol": "long_context", "clips": clips | real, "mean": mean}
    head, *lines = report.context_table(result).splitlines()
    assert head.split()[-6:] == ["15", "-", "4", "15", "-", "shuffled"]
    assert [line.split()[0] for line in lines[:4]] == ["a", "b", "mean", "mean"]
    assert all(line.split()[-2:] == ["+0.50", "+1.50"] for line in lines[:4])
