"""Scores in a model card are those of an evaluation of the weights that it describes."""

import json

import pytest

from lift.errors import LiftError
from lift.release import model_card, scores

SHA = "ab" * 32
PSNR = {"lift_15": 31.5, "lift_4": 31.0, "lift_2": 30.0, "average": 25.0, "dis": 31.2}
PSNR |= {"dis_cubic": 32.0}


def real16(gain: float = 0.0) -> dict:
    """What lift evaluate writes for two clips, LIFT's fifteen frames better by `gain`."""

    def score(method, shift):
        psnr = PSNR[method] + shift + gain * (method == "lift_15")
        return {"psnr": psnr, "ssim": 0.9, "psnr_each": [psnr] * 20}

    clips = {
        name: {"split": "val", "targets": [], "scores": {m: score(m, shift) for m in PSNR}}
        for name, shift in (("one", 0), ("two", 1))
    }
    mean = {m: {"psnr": score(m, 0.5)["psnr"], "ssim": 0.9, "clips": 2} for m in PSNR}
    return {
        "protocol": "real16",
        "description": "twenty targets",
        "clips": clips,
        "mean": {"all": mean, "val": mean},
        "made_by": {"lift": "1"},
        "weights": {"file": "tiny.safetensors", "sha256": SHA},
    }


def ucf101(samples: int = 3) -> dict:
    each = {"psnr": 34.5, "psnr_float": 34.75, "ssim": 0.9512, "ssim_rife": 0.9634}
    each["psnr_each"] = [34.5] * samples
    return {
        "protocol": "ucf101",
        "description": "three triplets",
        "count": 3,
        "samples": [str(k) for k in range(samples)],
        "scores": {m: each for m in ("lift_2", "average", "dis")},
        "published": {"RIFE": [{"psnr": 35.28, "ssim": 0.969, "source": "Huang et al."}]},
        "made_by": {"lift": "1"},
        "weights": {"file": "tiny.safetensors", "sha256": SHA},
    }


@pytest.fixture
def folder(tmp_path):
    """A folder of weights with a record that has older scores."""
    record = {
        "name": "tiny",
        "preset": "tiny",
        "set": "default",
        "files": {"tiny.safetensors": SHA},
        "stored": {"float32": 1},
        "weights": "last.safetensors",
        "chosen": "",
        "parameters": 1,
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
        "data": {"synthetic": True, "train": [], "val": []},
        "scores": scores.clip_record(real16(-5)),
    }
    (tmp_path / "tiny.json").write_text(json.dumps(record))
    return tmp_path


def put(folder, *results: dict) -> str:
    """The model card after the scores of these evaluations were put into it."""
    files = []
    for k, result in enumerate(results):
        files.append(folder / "evaluations" / f"{k}.json")
        files[-1].parent.mkdir(exist_ok=True)
        files[-1].write_text(json.dumps(result))
    scores.main(["tiny", *map(str, files), "--folder", str(folder)])
    return (folder / "README.md").read_text()


def test_an_evaluation_takes_the_place_of_the_earlier_one_of_its_protocol(folder):
    card = put(folder, real16(), ucf101())
    record = json.loads((folder / "tiny.json").read_text())
    assert record["scores"]["mean"]["val"]["lift_15"]["psnr"] == 32.0
    assert "psnr_each" not in json.dumps(record)
    assert "| one | val | 31.50 / 0.9000 |" in card and "--split val" in card
    assert "| LIFT | 34.50 | 34.75 | 0.9512 |" in card
    assert "| RIFE, published (Huang et al.) | 35.28 | | | 0.969 |" in card
    put(folder, real16(1))
    updated = json.loads((folder / "tiny.json").read_text())
    assert updated["scores"]["mean"]["val"]["lift_15"]["psnr"] == 33.0
    assert updated["ucf101"] == record["ucf101"]


def test_gains_in_prose_are_those_of_the_scores(folder):
    put(folder, real16(-1), ucf101())
    record = json.loads((folder / "tiny.json").read_text())
    summary = " ".join(model_card.summary(record).split())
    assert "`tiny` on 2 clips not trained on" in summary
    assert "two frames +0.50 dB (2 of 2 clips better)" in summary
    assert "four frames -0.50 dB (0 of 2 clips better)" in summary
    assert "| PSNR, dB | 34.50 | 34.50 | 34.50 | *35.28* |" in summary
    assert "| UCF101 | LIFT | averaging | DIS | *RIFE* |" in summary
    assert "| 0.963 | *0.969* |" in summary


def without(result: dict, method: str) -> dict:
    for entry in result.get("clips", {"": result}).values():
        del entry["scores"][method]
    return result


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"a": 1}, "is not a file of lift evaluate --output"),
        (real16() | {"weights": {"sha256": "0"}}, "other weights than tiny.safetensors"),
        ({k: v for k, v in real16().items() if k != "weights"}, "other weights"),
        (without(real16(), "lift_4"), "no scores of lift_4; evaluate with --context_frames"),
        (without(ucf101(), "dis"), "no scores of dis; evaluate with"),
        (ucf101(samples=2), "2 of 3 triplets; evaluate without --limit"),
        (real16() | {"protocol": "other"}, "no scores of protocol other"),
    ],
)
def test_other_evaluations_are_refused_and_nothing_is_written(folder, result, message):
    before = (folder / "tiny.json").read_text()
    with pytest.raises(LiftError, match=message):
        put(folder, ucf101(), result)
    assert (folder / "tiny.json").read_text() == before and not (folder / "README.md").exists()


def test_a_preset_without_a_record_is_refused(tmp_path):
    with pytest.raises(LiftError, match="tiny.json is missing; .*export writes it"):
        scores.main(["tiny", "x.json", "--folder", str(tmp_path)])
