"""Scores are read as they were written, and the worst samples are the worst."""

import json

import pytest

from lift.errors import LiftError
from lift.visualize.scores import read_scores

PSNR = {
    "lift_2": [30.0, 25.0, 41.0, 28.0],
    "average": [29.0, 26.5, 30.0, 20.0],
    "lift_15": [31.0, 26.0, 40.0, 22.0],
}


@pytest.fixture
def files(tmp_path):
    """scores.json and scores.csv of four samples, two groups and three methods."""
    path = tmp_path / "scores.json"
    result = {
        "protocol": "snufilm",
        "description": "what it is",
        "samples": ["a/1", "a/2", "b/1", "b/2"],
        "scores": {method: {"psnr_each": values} for method, values in PSNR.items()},
        "weights": {"file": "w.safetensors", "sha256": "abc"},
    }
    path.write_text(json.dumps(result))
    lines = ["sample,group,method,psnr,ssim"]
    for i, name in enumerate(result["samples"]):
        lines += [f"{name},{name[0]},{m},{values[i]},0.{i + 1}" for m, values in PSNR.items()]
    path.with_suffix(".csv").write_text("\n".join(lines) + "\n")
    return path


def names(samples):
    return [sample.name for sample in samples]


def test_the_table_has_all_metrics_and_groups(files):
    scores = read_scores(files)
    assert (scores.protocol, scores.description, scores.weights) == ("snufilm", "what it is", "abc")
    assert scores.methods == ("lift_2", "lift_15", "average") and scores.subject == "lift_15"
    assert scores.samples[1].methods["average"] == {"psnr": 26.5, "ssim": 0.2}
    assert [sample.group for sample in scores.samples] == ["a", "a", "b", "b"]


def test_without_a_table_there_is_the_psnr(files):
    files.with_suffix(".csv").unlink()
    scores = read_scores(files)
    assert scores.samples[3].methods["lift_15"] == {"psnr": 22.0}
    assert names(scores.worst(1, "psnr")) == ["b/2"]


@pytest.mark.parametrize(
    ("count", "by", "expected"),
    [
        (2, "psnr", ["b/2", "a/2"]),  # one of each group
        (3, "psnr", ["b/2", "a/2", "a/1"]),  # fewer groups than samples: the worst ones
        (9, "psnr", ["b/2", "a/2", "a/1", "b/1"]),
        (3, "gain:average", ["a/2", "a/1", "b/2"]),
        (1, "gain:lift_2", ["b/2"]),
    ],
)
def test_the_worst_come_first(files, count, by, expected):
    assert names(read_scores(files).worst(count, by)) == expected


@pytest.mark.parametrize("method", ("raft", "lift_15", ""))
def test_a_gain_needs_another_method_that_was_scored(files, method):
    with pytest.raises(LiftError, match="there are: lift_2, average"):
        read_scores(files).worst(2, f"gain:{method}")


def test_clips_are_samples_by_frame(tmp_path):
    entry = {"split": "val", "targets": [5, 9], "scores": {"dis": {"psnr_each": [30.0, 31.0]}}}
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"protocol": "real16", "clips": {"a": entry}}))
    scores = read_scores(path)
    assert names(scores.samples) == ["a/000005", "a/000009"] and scores.subject == "dis"
    assert scores.weights == ""


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        "{}",
        '{"protocol": "x", "samples": [], "scores": {}}',
        '{"protocol": "x", "samples": ["a"], "scores": {"m": {"psnr_each": []}}}',
        '{"protocol": "x", "samples": ["a"], "scores": {"m": {"psnr": 3}}}',
        '{"protocol": "x", "clips": []}',
        '{"protocol": ["x"], "samples": ["a"], "scores": {"m": {"psnr_each": [1]}}}',
    ],
)
def test_what_has_no_scores_is_refused(tmp_path, content):
    path = tmp_path / "scores.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(LiftError, match="lift evaluate --output wrote"):
        read_scores(path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
    with pytest.raises(LiftError, match="cannot be read .Is a directory.; give the JSON file"):
        read_scores(tmp_path)


def test_a_protocol_that_has_means_alone_is_named(tmp_path):
    entry = {"split": "synthetic", "targets": 12, "scores": {"dis": {"psnr": 30.0}}}
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"protocol": "long_context", "clips": {"occluder": entry}}))
    with pytest.raises(LiftError, match="protocol long_context has means alone"):
        read_scores(path)


@pytest.mark.parametrize("table", ["", "a,b\n1,2\n", "sample,group,method,psnr\nx,y,m,abc\n"])
def test_a_broken_table_is_refused(files, table):
    files.with_suffix(".csv").write_text(table)
    with pytest.raises(LiftError, match="has no scores of samples"):
        read_scores(files)
