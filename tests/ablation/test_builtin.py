"""The built-in variants: one change each, and nothing that is trained twice."""

from dataclasses import replace

import pytest

from lift.ablation.builtin import CHANGES, CONTEXTS, WINDOWS, builtin_variants, selected
from lift.ablation.variants import differences, runs_of
from lift.config import Config, load_config, tiny
from lift.errors import LiftError

COMMON = Config(model=tiny())


def test_the_set_has_every_part_windows_and_contexts():
    names = [change.name for change in CHANGES]
    assert names[0] == "full" and len(set(names)) == len(names)
    parts = {
        "no_transformer",
        "average_context",
        "no_occlusion",
        "quarter_blend",
        "bilinear_samples",
    }
    parts |= {"no_global_motion", "no_propagation", "no_bend"}
    ranges = {f"window{n}" for n in WINDOWS} | {f"context{n}" for n in CONTEXTS}
    assert set(names) == {"full"} | parts | ranges


@pytest.mark.parametrize("window, frames", [(4, 15), (8, 7), (1, 5)])
def test_what_equals_the_full_model_is_not_trained_twice(window, frames):
    common = replace(
        COMMON,
        model=replace(tiny(), window=window),
        data=replace(COMMON.data, context_frames=frames),
    )
    variants, same = builtin_variants(common)
    equal = {f"window{window}"} | ({f"context{frames}"} if frames in CONTEXTS else set())
    assert same == dict.fromkeys(equal, "full")
    assert len(variants) == len(CHANGES) - len(equal)
    assert all(bool(differences(v.config, common)) == (v.name != "full") for v in variants)


def test_self_attention_goes_with_the_transformer():
    common = replace(COMMON, model=replace(tiny(), self_attention=True))
    variants = {variant.name: variant.config.model for variant in builtin_variants(common)[0]}
    without = {name for name, model in variants.items() if not model.self_attention}
    assert without == {"no_transformer", "average_context"}


def test_variants_differ_from_the_full_model_in_one_setting():
    for variant in builtin_variants(COMMON)[0][1:]:
        changed = differences(variant.config, COMMON)
        changed.get("data", {}).pop("min_context_frames", None)  # as small as context_frames
        assert [len(values) for values in changed.values()] == [1], variant.name


def test_fewer_frames_are_fewer_in_training_and_in_scoring():
    common = replace(COMMON, data=replace(COMMON.data, min_context_frames=5))
    variants, _ = builtin_variants(common)
    runs = {run.variant: run for run in runs_of(variants, [0], "out", shuffled="first")}
    assert runs["full"].context_frames == (15,) and runs["full"].shuffled
    for n in (2, 4, 7):
        run = runs[f"context{n}"]
        assert run.context_frames == (n,) and not run.shuffled
        assert run.config.data.context_frames == n
        assert run.config.data.min_context_frames == min(5, n)


def test_asked_numbers_of_frames_are_those_of_every_run():
    runs = runs_of(builtin_variants(COMMON)[0], [0], "out", [2, 15], "all")
    assert {run.context_frames for run in runs} == {(2, 15)} and all(run.shuffled for run in runs)


def test_the_data_of_variants_of_the_model_is_the_same():
    """Every sample follows from this configuration, the seed and the batch size alone."""
    variants, _ = builtin_variants(COMMON)
    for variant in variants:
        if not variant.name.startswith("context"):
            assert variant.config.data == COMMON.data
        assert variant.config.train == COMMON.train


def test_some_can_be_selected_and_a_double_stands_for_the_full_model():
    variants, same = builtin_variants(COMMON)
    names = [variant.name for variant in selected(variants, same, ["no_bend", "window4"])]
    assert names == ["full", "no_bend"]
    assert selected(variants, same, []) == variants
    with pytest.raises(LiftError, match="no variant is named 'no_band'; did you mean 'no_bend'"):
        selected(variants, same, ["no_band"])


def test_the_smallest_budget_is_one():
    config = load_config("ablate_cpu")
    assert config.data.data_source == "synthetic" and config.train.epochs == 1
    variants, same = builtin_variants(config)
    assert set(same) == {"window4", "context15"} and len(variants) == 15
