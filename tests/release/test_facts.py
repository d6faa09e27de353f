"""The facts of a model card: data, storage and choices in words, from the record."""

import pytest

from lift.release.facts import facts, trained_on

OPEN, OTHER = {"may_be_redistributed": True}, {"may_be_redistributed": False}
RECORD = {
    "name": "tiny_open",
    "files": {"tiny_open.safetensors": "ab" * 32},
    "stored": {"float32": 4, "float16": 1996},
    "weights": "best.safetensors",
    "chosen": "the rate",
    "parameters": 2000,
    "phases": [
        {
            "name": "one",
            "flags": {"lr": "--lr 1"},
            "start": "",
            "steps": 1,
            "total_steps": 1,
            "samples": 1,
            "history": [],
        }
    ],
    "data": {"synthetic": True, "train": [OPEN, OPEN], "val": []},
    "rounding": {
        "context_frames": 15,
        "clips": 14,
        "largest": 0.00042,
        "clip": "cat",
        "mean": 34.1,
        "mean_float32": 34.1002,
    },
}


def test_the_card_says_how_to_load_the_weights_and_what_storing_them_changed():
    text = facts(RECORD)
    for words in (
        '| load | `create_lift_model("tiny", pretrained="open")`, `--checkpoint tiny_open` |',
        "| trained on | synthetic motion and 2 clips, all with footage that may be redistributed |",
        "| chosen on `val` | the step of highest PSNR; the rate |",
        "| parameters | 2,000, stored in float16, 4 of them in float32; PSNR on 14 clips differs",
        "by at most 0.0004 dB (`cat`), the mean by -0.0002 dB |",
        "`tiny_open_curve.csv`",
    ):
        assert words in text, words


def test_weights_in_float32_have_no_word_of_rounding():
    record = {k: v for k, v in RECORD.items() if k != "rounding"} | {"stored": {"float32": 2000}}
    record |= {"weights": "last.safetensors", "chosen": ""}
    text = facts(record)
    assert "| parameters | 2,000, stored in float32 |" in text
    assert "| chosen on `val` | not the step (the last one ships) |" in text


@pytest.mark.parametrize(
    "data, words",
    [
        ({"synthetic": True, "train": []}, "synthetic motion"),
        ({"synthetic": False, "train": [OPEN]}, "1 clip, all with footage"),
        ({"synthetic": True, "train": [OPEN, OTHER]}, "and 2 clips, 1 of them with footage"),
    ],
)
def test_what_was_trained_on_is_counted(data, words):
    assert words in trained_on({"data": data})
