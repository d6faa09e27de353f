"""What a resumed run may change without a word, on purpose, or not at all."""

from dataclasses import fields, replace

import pytest

from lift.config import Config, DataConfig, TrainConfig, from_dict, small, tiny
from lift.training.changes import (
    FIXED,
    SILENT,
    changed_settings,
    difference,
    in_words,
    unused_weights,
)

STORED = Config(tiny())
SECTIONS = {"data": DataConfig, "train": TrainConfig}


def changed(section: str, **settings) -> Config:
    return replace(STORED, **{section: replace(getattr(STORED, section), **settings)})


@pytest.mark.parametrize(
    "wanted, words",
    [
        (changed("train", epochs=400, lr=1e-4), "epochs 300 -> 400, lr 0.0003 -> 0.0001"),
        (changed("data", crop_height=128), "crop_height 224 -> 128"),
        (changed("data", strides=(2, 4)), "strides [2, 2, 2, 4] -> [2, 4]"),
        (changed("data", num_workers=1), ""),
        (changed("train", device="cpu", log_steps=3, wandb="p"), ""),
    ],
)
def test_what_changes_is_listed(wanted, words):
    assert set(in_words(changed_settings(STORED, wanted)).split(", ")) == set(words.split(", "))
    assert difference(STORED, wanted, on_purpose=True) == ""


@pytest.mark.parametrize(
    "wanted, words",
    [
        (replace(STORED, model=small()), "in [model]: preset is tiny there and small here"),
        (changed("data", data_source="synthetic"), "in [data]: data_source"),
        (changed("train", seed=1), "in [train]: seed is 0 there and 1 here"),
    ],
)
def test_another_run_is_refused(wanted, words):
    assert difference(STORED, wanted, on_purpose=True).startswith(words)


def test_the_lists_name_settings_that_exist():
    for section, cls in SECTIONS.items():
        names = {field.name for field in fields(cls)}
        assert SILENT[section] <= names and FIXED[section] <= names
        assert not SILENT[section] & FIXED[section]


def test_weights_that_a_resumed_run_does_not_start_from_are_named():
    stored = from_dict({"train": {"init_weights": "a.safetensors"}})
    assert unused_weights(stored, stored) == unused_weights(stored, Config()) == []
    (sentence,) = unused_weights(stored, from_dict({"train": {"init_weights": "b.safetensors"}}))
    assert "--init_weights b.safetensors is not used" in sentence
