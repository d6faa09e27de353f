"""An evaluation of a test set: killed, resumed and sharded, it leaves the same files."""

import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lift.errors import LiftError
from lift.evaluation import run, scoring
from lift.evaluation.builtin_methods import SavedFrames, baseline, two_frame_method
from lift.evaluation.methods import Method
from lift.evaluation.run import Evaluation, Shard
from lift.evaluation.samples import Published, TestSet
from lift.evaluation.scoring import STANDARD
from lift.evaluation.summary import table
from tests.support.published_folders import write

SAMPLES = 7


@pytest.fixture
def test_set(tmp_path) -> TestSet:
    """Seven samples in two groups."""
    from lift.evaluation.protocols.layout import context, sample_of

    paths = [tmp_path / "data" / f"{k:02d}.png" for k in range(SAMPLES + 2)]
    write(paths)
    samples = [
        sample_of(
            f"clip/{k:02d}",
            "early" if k < 4 else "late",
            paths,
            k,
            context(k - 1, k + 1, 2, 4, 0, 9),
        )
        for k in range(1, SAMPLES + 1)
    ]
    published = {"RIFE": (Published(35.28, 0.969, "a paper", "late"),)}
    return TestSet(
        "tiny", "frames of a texture", lambda root, count: samples, count=9, published=published
    )


def methods() -> list[Method]:
    return [baseline("average"), baseline("dis_cubic")]


def evaluate(
    test_set, output, shard=None, stop_after=None, chosen=None, save_to=None, metrics=STANDARD
):
    samples = test_set.find(None, 4)
    evaluation = Evaluation(test_set, samples, chosen or methods(), metrics, output, shard, save_to)

    def progress(left, done):
        for k, sample in enumerate(left):
            if k == stop_after:
                raise KeyboardInterrupt
            yield sample

    if output is not None and (result := evaluation.finished()):
        return result
    result = evaluation.run(progress)
    if result is not None and output is not None:
        evaluation.write(result)
    return result


def files(path) -> tuple[bytes, dict]:
    """The CSV, and the JSON without times and memory."""
    result = json.loads(path.read_text())
    for name in ("ms_per_frame", "peak_memory", "peak_process_memory"):
        result.pop(name)
    return path.with_suffix(".csv").read_bytes(), result


@pytest.fixture
def whole(test_set, tmp_path):
    """The files of an evaluation in one go."""
    evaluate(test_set, tmp_path / "whole.json")
    return files(tmp_path / "whole.json")


def test_rows_are_in_the_order_of_samples_and_methods(whole):
    rows = list(csv.DictReader(whole[0].decode().splitlines()))
    assert [row["sample"] for row in rows[::2]] == [f"clip/{k:02d}" for k in range(1, 8)]
    assert [row["method"] for row in rows[:2]] == ["average", "dis_cubic"]
    assert (
        len(rows[0]["psnr"].partition(".")[2]) == 4 and len(rows[0]["ssim"].partition(".")[2]) == 6
    )


def test_means_are_those_of_the_rows_by_group(whole):
    rows = list(csv.DictReader(whole[0].decode().splitlines()))
    for group, members in (("early", 3), ("late", 4)):
        block = whole[1]["groups"][group]
        values = [float(r["ie"]) for r in rows if (r["group"], r["method"]) == (group, "average")]
        assert block["samples"] == len(values) == members
        assert block["scores"]["average"]["ie"] == pytest.approx(np.mean(values), abs=1e-4)
    assert whole[1]["scores"]["average"]["psnr_each"][0] == pytest.approx(
        float(rows[0]["psnr"]), abs=1e-3
    )


@pytest.mark.parametrize("stop_after", [0, 1, 5])
def test_a_stopped_evaluation_resumes_and_scores_nothing_twice(
    test_set, tmp_path, whole, monkeypatch, stop_after
):
    output, scored = tmp_path / "resumed.json", []
    one = run.score_sample
    monkeypatch.setattr(
        run, "score_sample", lambda s, *rest: scored.append(s.name) or one(s, *rest)
    )
    with pytest.raises(KeyboardInterrupt):
        evaluate(test_set, output, stop_after=stop_after)
    assert not output.exists()
    evaluate(test_set, output)
    assert files(output) == whole and len(scored) == SAMPLES
    assert not output.with_suffix(".rows").exists()
    evaluate(test_set, output)  # finished: nothing is scored again
    assert len(scored) == SAMPLES


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_shards_together_give_the_same_files(test_set, tmp_path, whole, order):
    output = tmp_path / "sharded.json"
    results = [evaluate(test_set, output, Shard(index, 3)) for index in order]
    assert [result is None for result in results] == [True, True, False]
    assert files(output) == whole
    assert evaluate(test_set, output, Shard(0, 3)) is not None  # afterwards each finds the result


def test_what_a_shard_left_another_number_of_processes_finishes(test_set, tmp_path, whole):
    output = tmp_path / "mixed.json"
    with pytest.raises(KeyboardInterrupt):
        evaluate(test_set, output, Shard(1, 3), stop_after=1)
    evaluate(test_set, output)
    assert files(output) == whole


def test_another_configuration_is_refused_and_restart_replaces_it(test_set, tmp_path):
    output = tmp_path / "scores.json"
    with pytest.raises(KeyboardInterrupt):
        evaluate(test_set, output, stop_after=2)
    with pytest.raises(LiftError, match="scores.rows is of an evaluation with other methods"):
        evaluate(test_set, output, chosen=[baseline("copy")])
    evaluate(test_set, output)
    with pytest.raises(LiftError, match="scores.json is of an evaluation with other metrics"):
        evaluate(test_set, output, metrics=(*STANDARD, "nie"))
    output.write_text("[]")
    with pytest.raises(LiftError, match="scores.json is something else; give another --output"):
        evaluate(test_set, output)
    assert output.read_text() == "[]"


def test_a_csv_file_of_something_else_is_not_overwritten(test_set, tmp_path):
    (tmp_path / "scores.csv").write_text("mine")
    with pytest.raises(LiftError, match="scores.csv is something else; give another --output"):
        evaluate(test_set, tmp_path / "scores.json")
    assert (tmp_path / "scores.csv").read_text() == "mine"


def test_torchrun_decides_the_shard(monkeypatch):
    assert run.shard_of_torchrun() == Shard(0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert run.shard_of_torchrun() == Shard(2, 4) and Shard(2, 4).name == "3-of-4"


# -- frames ----------------------------------------------------------------------------------------


def test_saved_frames_score_as_the_method_that_made_them(test_set, tmp_path):
    evaluate(test_set, None, chosen=[baseline("average")], save_to=tmp_path / "saved")
    again = [baseline("average"), SavedFrames("mine", tmp_path / "saved" / "average")]
    scores = evaluate(test_set, None, chosen=again)["scores"]
    assert scores["mine"]["psnr"] == scores["average"]["psnr"]
    assert scores["mine"]["psnr_float"] == scores["mine"]["psnr"] != scores["average"]["psnr_float"]


def test_frames_that_are_not_saved_yet_are_generated_once_more(test_set, tmp_path):
    output, saved = tmp_path / "scores.json", tmp_path / "saved"
    evaluate(test_set, output)
    evaluate(test_set, output, save_to=saved)
    assert len(list(saved.rglob("*.png"))) == 2 * SAMPLES
    assert cv2.imread(str(saved / "average" / "clip" / "03.png")).shape == (16, 24, 3)


# -- methods that fail -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda a, b, t: a[:8], "bad returned shape .* for sample clip/01; it must return"),
        (lambda a, b, t: a * np.nan, "bad returned NaN or infinity for sample clip/01"),
    ],
)
def test_a_wrong_frame_is_refused_with_its_sample(test_set, function, message):
    with pytest.raises(LiftError, match=message):
        evaluate(test_set, None, chosen=[two_frame_method("bad", function)])


def test_two_methods_of_one_name_are_refused(test_set):
    with pytest.raises(LiftError, match="two methods are called dis; rename"):
        evaluate(test_set, None, chosen=[baseline("dis"), baseline("dis")])


def test_frames_too_small_for_ssim_are_refused(test_set, monkeypatch):
    monkeypatch.setattr(scoring, "SMALLEST", 17)
    with pytest.raises(LiftError, match="24x16; SSIM needs frames of at least 17"):
        evaluate(test_set, None)


# -- table -----------------------------------------------------------------------------------------


def test_the_table_states_protocol_groups_and_published_scores(test_set):
    lines = table(evaluate(test_set, None, metrics=(*STANDARD, "nie", "tof"))).splitlines()
    assert lines[0].startswith("protocol tiny") and lines[0].endswith("NIE    tOF  ms/frame")
    assert [line.split()[0] for line in lines[1:8]] == ["early"] * 2 + ["late"] * 3 + ["all"] * 2
    assert "RIFE (published: a paper)" in lines[5] and "35.28" in lines[5] and "0.969" in lines[5]
    assert lines[8] == "protocol: frames of a texture"
    assert "means of 7 of the 9 samples" in lines


def test_one_group_keeps_its_name_and_its_published_scores(test_set):
    late = [sample for sample in test_set.find(None, 4) if sample.group == "late"]
    result = evaluate(replace(test_set, find=lambda root, count: late), None)
    lines = table(result).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["late"] * 3 and "RIFE" in lines[3]
    assert lines[1].split()[-1] == f"{result['ms_per_frame']['average']:.1f}"


def test_the_published_score_of_a_whole_set_is_not_labelled_with_a_part_of_it(test_set):
    late = [sample for sample in test_set.find(None, 4) if sample.group == "late"]
    whole = {"RIFE": (Published(35.28, 0.969, "a paper"),)}
    part = replace(test_set, find=lambda root, count: late, published=whole)
    lines = table(evaluate(part, None)).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["late", "late", "all"]
    assert "RIFE (published: a paper)" in lines[3]


def test_a_sample_that_is_listed_twice_is_refused(test_set):
    samples = test_set.find(None, 4)
    with pytest.raises(LiftError, match="sample clip/01 is in the test set twice"):
        Evaluation(test_set, [*samples, samples[0]], methods(), STANDARD)
