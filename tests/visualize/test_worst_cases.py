"""The methods of an evaluation that are run again for its pictures."""

import argparse
import sys

import pytest

from lift.errors import LiftError
from lift.evaluation import peers
from lift.visualize.scores import SampleScores, Scores
from lift.visualize.worst_cases import methods_of, peers_of
from tests.support.models import awake_lift


def scores_of(*methods: str, about: dict | None = None) -> Scores:
    sample = SampleScores("one", "", {name: {"psnr": 30.0} for name in methods})
    return Scores("scores.json", "frames", "", (sample,), about=about or {})


def flags(*words) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    peers.add_flags(parser)
    return parser.parse_args([str(word) for word in words])


@pytest.fixture
def program(tmp_path):
    """Stands in for rife-ncnn-vulkan."""
    path = tmp_path / "rife-ncnn-vulkan"
    path.write_text(f"#!{sys.executable}\n")
    path.chmod(0o755)
    return path


def test_a_model_that_the_flags_name_is_run_again_in_the_order_of_the_scores(program):
    args = flags("--rife_ncnn", program)
    about = {"rife_ncnn": peers.method("rife_ncnn", args).about}
    scores = scores_of("dis", "rife_ncnn", "mine", "lift_2", about=about)
    methods = methods_of(scores, awake_lift(), (), peers_of(scores, args))
    assert [method.name for method in methods] == ["lift_2", "dis", "rife_ncnn"]


def test_without_flags_another_model_is_not_run(program):
    scores = scores_of("dis", "rife_ncnn")
    assert peers_of(scores, flags()) == []
    assert [method.name for method in methods_of(scores, awake_lift())] == ["dis"]


def test_frames_or_a_function_with_the_name_of_a_method_are_not_drawn_as_that_method():
    about = {"dis": "mine.py:dis, SHA-256 0", "lift_2": "frames of x", "average": "baseline"}
    methods = methods_of(scores_of("dis", "lift_2", "average", about=about), awake_lift())
    assert [method.name for method in methods] == ["average"]


def test_a_model_of_other_weights_or_options_is_refused(program):
    args = flags("--rife_ncnn", program, "--rife_ncnn_model", "rife-v4.6")
    scored = peers.method("rife_ncnn", flags("--rife_ncnn", program)).about
    with pytest.raises(LiftError, match="scores of another rife_ncnn: .*; the flags give .*v4.6"):
        peers_of(scores_of("rife_ncnn", about={"rife_ncnn": scored}), args)


def test_a_model_that_was_not_scored_is_refused_before_it_is_loaded():
    args = flags("--ifrnet_code", "nowhere")
    with pytest.raises(LiftError, match="no scores of ifrnet, but of dis; leave out --ifrnet_code"):
        peers_of(scores_of("dis"), args)


@pytest.mark.parametrize("name", peers.NAMES)
def test_each_model_has_flags_that_name_its_place(name):
    for flag in peers.PLACES[name]:
        assert peers.models_named(flags(f"--{flag}", "somewhere")) == [name]
