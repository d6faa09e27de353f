"""`python -m lift.release.limits`: parts, the record, and its errors."""

import json

import pytest
import torch

from lift.config import PRESETS, Config
from lift.errors import LiftError
from lift.model.factory import create_lift_model
from lift.model.weights import save_weights
from lift.release.limits import __main__ as command
from lift.release.limits import flow_error


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setattr(flow_error, "SIZE", (64, 64))
    torch.manual_seed(0)
    path = tmp_path / "toy.safetensors"
    save_weights(path, create_lift_model("tiny"), Config(model=PRESETS["tiny"]()))
    return path


def arguments(weights, *others):
    folder = weights.parent
    places = ["--folder", str(folder), "--page", str(folder / "page.md")]
    return [str(weights), "--device", "cpu", *places, *others]


def test_a_part_is_recorded_and_shown(weights):
    command.main(arguments(weights, "--parts", "flow", "--scenes", "1"))
    record = json.loads((weights.parent / "toy_limits.json").read_text())
    assert record["flow"]["scenes"] == 1 and record["weights"]["file"] == "toy.safetensors"
    text = (weights.parent / "page.md").read_text()
    assert "## Weights `toy`" in text and "1 scenes of 64 × 64" in text


def test_parts_stay_while_the_weights_are_the_same(tmp_path):
    facts = {"made_by": {"lift": "2"}, "weights": {"file": "a", "sha256": "new"}}
    path = tmp_path / "a_limits.json"
    assert command.earlier(path, facts) == facts
    stored = {"made_by": {"lift": "1"}, "weights": {"file": "a", "sha256": "new"}, "noise": 1}
    path.write_text(json.dumps(stored))
    assert command.earlier(path, facts) == facts | {"noise": 1}
    stored["weights"]["sha256"] = "old"
    path.write_text(json.dumps(stored))
    assert command.earlier(path, facts) == facts
    path.write_text("{}")
    with pytest.raises(LiftError, match="not a record"):
        command.earlier(path, facts)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--parts", "flow,speed"), "--parts has 'speed'"),
        (("--parts", "noise"), "part noise needs --data_root"),
        (("--parts", "flow", "--scenes", "0"), "at least 1"),
        (("--parts", "worst", "--data_root", "."), "part worst needs part motion"),
        (("--parts", "curve"), "toy.json is missing"),
    ],
)
def test_errors_name_what_is_missing(weights, flags, message):
    with pytest.raises(LiftError, match=message):
        command.main(arguments(weights, *flags))
