"""A pretrained encoder: what fits is loaded, the rest is reported, nothing else is opened."""

from pathlib import Path

import pytest
import torch

from lift.config import Config
from lift.errors import LiftError
from lift.model.bundled import pretrained_path
from lift.model.lift import LIFT
from lift.model.pretrained import load_encoder, weights_path
from lift.model.weights import save_weights
from tests.support.models import TINY


@pytest.fixture
def encoder():
    return LIFT(TINY).encoder


def test_what_fits_is_loaded_and_what_does_not_is_reported(encoder, tmp_path):
    torch.manual_seed(5)
    source = LIFT(TINY).encoder.state_dict()
    first, second, *_ = source
    content = {f"module.encoder.{name}": tensor for name, tensor in source.items()}
    content[f"module.encoder.{first}"] = torch.zeros(3)
    del content[f"module.encoder.{second}"]
    content["head"] = torch.zeros(4)
    torch.save({"state_dict": content, "epoch": 3}, tmp_path / "encoder.pth")
    before = encoder.state_dict()[first].clone()
    report = load_encoder(encoder, tmp_path / "encoder.pth")
    assert f"{len(source) - 2} of {len(source)}" in report
    assert all(name in report for name in (first, second, "head"))
    own = encoder.state_dict()
    assert torch.equal(own[first], before)
    assert all(
        torch.equal(own[name], source[name]) for name in source if name not in (first, second)
    )


def test_an_encoder_is_taken_from_a_whole_lift(encoder, tmp_path):
    torch.manual_seed(5)
    other, path = LIFT(TINY), tmp_path / "whole.safetensors"
    save_weights(path, other, Config(TINY))
    assert f"{len(encoder.state_dict())} of {len(encoder.state_dict())}" in load_encoder(
        encoder, path
    )
    for name, tensor in other.encoder.state_dict().items():
        assert torch.equal(tensor, encoder.state_dict()[name]), name


def test_an_encoder_file_in_which_nothing_fits_is_refused(encoder, tmp_path):
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "resnet.pth")
    with pytest.raises(LiftError, match="nothing in .*resnet.pth fits") as error:
        load_encoder(encoder, tmp_path / "resnet.pth")
    assert "conv1.weight" in str(error.value)


class Code:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    "content, reason",
    [(Code(), "could run code"), (b"nonsense", "corrupt|could run code"), (None, "not a file")],
)
def test_an_encoder_file_that_cannot_be_read_is_refused(encoder, tmp_path, content, reason, capsys):
    path = tmp_path / "encoder.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(LiftError, match=reason) as error:
        load_encoder(encoder, path)
    assert str(path) in str(error.value) and "run" not in capsys.readouterr().out


def test_why_an_encoder_of_rife_does_not_fit_is_said(encoder, tmp_path):
    content = {"module.conv1.conv1.0.weight": torch.zeros(16, 3, 3, 3)}
    torch.save(content, tmp_path / "contextnet.pkl")
    with pytest.raises(LiftError, match="context network of RIFE.* PReLU") as error:
        load_encoder(encoder, tmp_path / "contextnet.pkl")
    assert "\n" not in str(error.value)


def test_bundled_weights_are_found_by_name_and_files_by_path(tmp_path):
    assert weights_path("tiny") == pretrained_path("tiny")
    file = tmp_path / "tiny.safetensors"
    assert weights_path(file) == file


def test_a_folder_does_not_hide_the_bundled_weights(tmp_path, monkeypatch):
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert weights_path("tiny") == pretrained_path("tiny")


def test_a_missing_path_is_named_when_it_is_read():
    assert weights_path("runs/none/last") == Path("runs/none/last")


@pytest.mark.parametrize("name", ["tinny", "base", ""])
def test_another_name_is_an_error_that_names_the_bundled_weights(name):
    with pytest.raises(LiftError, match="neither a file nor.* tiny( or tiny_open)?$"):
        weights_path(name)
