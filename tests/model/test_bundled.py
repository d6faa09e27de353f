"""Bundled weights: found by the name of their set, and compared with their hash."""

import json
import shutil

import pytest
import torch

from lift.config import TrainConfig
from lift.errors import LiftError
from lift.evaluation.checkpoint import load
from lift.model import bundled
from lift.model.bundled import FOLDER, NAMES, loading_call, pretrained_path, shipped_names
from lift.model.factory import create_lift_model
from lift.model.pretrained import load_encoder, weights_path
from lift.model.weights import load_weights, save_small, sha256
from lift.training.state import load_initial_weights

SHIPPED = FOLDER / "tiny.safetensors"


def same(a, b) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def write_record(folder, name):
    files = {path.name: sha256(path) for path in folder.glob(f"{name}.*safetensors")}
    (folder / f"{name}.json").write_text(json.dumps({"files": files}))


@pytest.fixture
def both(tmp_path, monkeypatch):
    """A folder with weights of both sets: tiny, and others as tiny_open in four parts."""
    folder = tmp_path.resolve()
    monkeypatch.setattr(bundled, "FOLDER", folder)
    shutil.copy(SHIPPED, folder / "tiny.safetensors")
    _, config = load_weights(SHIPPED)
    torch.manual_seed(3)
    other = create_lift_model("tiny", **{"path_frames": config.model.path_frames})
    parts = save_small(folder / "tiny_open.safetensors", other, config, 600_000, "float16")
    assert len(parts) > 2
    for name in ("tiny", "tiny_open"):
        write_record(folder, name)
    return folder


# -- names -----------------------------------------------------------------------------------------


def test_each_name_loads_its_own_set(both):
    default = create_lift_model("tiny", pretrained=True)
    opened = create_lift_model("tiny", pretrained="open")
    assert same(default, load_weights(both / "tiny.safetensors")[0]) and not same(default, opened)
    assert all(p.dtype == torch.float32 for p in opened.parameters())
    assert same(create_lift_model("tiny", pretrained="default"), default)
    assert same(load("tiny_open", device="cpu"), opened)
    start = create_lift_model("tiny")
    load_initial_weights(start, TrainConfig(init_weights="tiny_open"))
    assert same(start, opened)


def test_names_and_paths_belong_together(both):
    assert weights_path("tiny_open") == both / "tiny_open.safetensors"
    assert shipped_names() == ["tiny", "tiny_open"]
    calls = [loading_call(name) for name in shipped_names()]
    assert calls[0] == 'create_lift_model("tiny", pretrained=True)'
    assert calls[1] == 'create_lift_model("tiny", pretrained="open")'


def test_a_set_that_does_not_ship_is_an_error_that_lists_those_that_do(both):
    (both / "tiny_open.safetensors").unlink()
    with pytest.raises(LiftError, match=r"set open ship for preset tiny; .*pretrained=True\)$"):
        create_lift_model("tiny", pretrained="open")
    with pytest.raises(LiftError, match="neither a file nor .* tiny$"):
        weights_path("tiny_open")


def test_an_unknown_set_is_an_error_that_lists_those_that_ship(both):
    with pytest.raises(ValueError, match=r"default, open, got 'opn'.*pretrained=\"open\"\)$"):
        create_lift_model("tiny", pretrained="opn")


# -- hashes ----------------------------------------------------------------------------------------


def one_sentence(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["tiny_open.safetensors", "tiny_open.2.safetensors"])
def test_a_damaged_bundled_file_is_named_with_the_remedy(both, file):
    flip(both / file)
    with pytest.raises(LiftError, match="damaged or was exchanged") as error:
        create_lift_model("tiny", pretrained="open")
    assert file in one_sentence(error) and "git checkout lift/weights" in str(error.value)
    create_lift_model("tiny", pretrained=True)  # the other set is as it was


def test_a_whole_file_of_other_weights_is_refused(both):
    shutil.copy(both / "tiny.safetensors", both / "tiny_open.safetensors")
    for read in (load_weights, lambda path: load_encoder(create_lift_model("tiny").encoder, path)):
        with pytest.raises(LiftError, match="tiny_open.safetensors is damaged or was exchanged"):
            read(both / "tiny_open.safetensors")


@pytest.mark.parametrize("content", [None, "{", "{}", '{"files": {}}', "[]"])
def test_a_file_without_a_record_is_refused(both, content):
    record = both / "tiny.json"
    record.unlink()
    if content is not None:
        record.write_text(content)
    with pytest.raises(LiftError, match="no SHA-256 of tiny.safetensors") as error:
        create_lift_model("tiny", pretrained=True)
    assert str(record) in one_sentence(error)


def test_a_link_to_a_bundled_file_is_compared_too(both, tmp_path_factory):
    link = tmp_path_factory.mktemp("elsewhere") / "mine.safetensors"
    link.symlink_to(both / "tiny.safetensors")
    load_weights(link)
    flip(both / "tiny.safetensors")
    with pytest.raises(LiftError, match="damaged"):
        load_weights(link)


def test_weights_of_ones_own_are_not_compared(both, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "tiny.safetensors"
    for path in (elsewhere, both / "mine.safetensors"):
        shutil.copy(both / "tiny.safetensors", path)
        flip(path)
        load_weights(path)


# -- what ships ------------------------------------------------------------------------------------


def test_every_set_that_ships_is_whole_and_of_its_preset():
    assert "tiny" in shipped_names()
    for name in shipped_names():
        assert load_weights(pretrained_path(name))[1].model.preset == NAMES[name][0]
        record = json.loads(pretrained_path(name).with_suffix(".json").read_text())
        assert (record["name"], (record["preset"], record["set"])) == (name, NAMES[name])
