"""Code of a checkout runs as it would there, and nothing of it stays in the interpreter."""

import sys
from types import ModuleType

import pytest
import torch

from lift.errors import LiftError
from lift.evaluation.peers.checkout import Checkout
from tests.support.peer_checkouts import write_files

CPU = torch.device("cpu")


def _checkout(folder, files, names=("model", "config")):
    write_files(folder, files)
    return Checkout({name: folder / name for name in names}, "github.com/a/b", "--a_code", CPU)


def _state():
    return dict(sys.modules), list(sys.path), list(sys.meta_path), sys.dont_write_bytecode


def test_two_checkouts_with_modules_of_one_name_do_not_clash(tmp_path):
    before = _state()
    found = []
    for name in ("first", "second"):
        files = {"model/net.py": "from config import NAME", "config.py": f"NAME = {name!r}"}
        found.append(_checkout(tmp_path / name, files).load("model.net", "NAME"))
    assert found == ["first", "second"]
    assert _state() == before


def test_a_module_of_the_same_name_is_hidden_and_comes_back(tmp_path, monkeypatch):
    outside = ModuleType("config")
    monkeypatch.setitem(sys.modules, "config", outside)
    checkout = _checkout(tmp_path, {"model/net.py": "from config import A", "config.py": "A = 1"})
    assert checkout.load("model.net", "A") == 1
    assert sys.modules["config"] is outside


@pytest.mark.parametrize("initial", ({}, {"model/__init__.py": ""}), ids=("without", "with"))
def test_a_package_is_the_checkouts_with_and_without_init(tmp_path, monkeypatch, initial):
    # A package with __init__.py anywhere on the path would win over one without.
    installed = {"model/__init__.py": "", "model/net.py": "A = 'installed'"}
    monkeypatch.syspath_prepend(write_files(tmp_path / "installed", installed))
    checkout = _checkout(tmp_path / "checkout", {"model/net.py": "A = 'checkout'", **initial})
    assert checkout.load("model.net", "A") == "checkout"


def test_an_installed_package_does_not_fill_a_gap_in_the_checkout(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(write_files(tmp_path / "installed", {"config.py": "A = 1"}))
    checkout = _checkout(tmp_path / "checkout", {"model/net.py": "from config import A"})
    with pytest.raises(LiftError, match="needs config, which is not in the checkout"):
        checkout.load("model.net", "A")


def test_functions_may_import_when_they_are_called(tmp_path):
    late = "def f():\n    import model.late\n    return model.late.A"
    checkout = _checkout(tmp_path, {"model/net.py": late, "model/late.py": "A = 1"})
    function = checkout.load("model.net", "f")
    with checkout.active():
        assert function() == 1
    assert not [name for name in sys.modules if name.startswith("model.")]


def test_modules_keep_their_state_between_calls(tmp_path):
    counts = (
        "count = 0\ndef f():\n    import model.net as own\n    own.count += 1\n    return own.count"
    )
    checkout = _checkout(tmp_path, {"model/net.py": counts})
    function = checkout.load("model.net", "f")
    for expected in (1, 2):
        with checkout.active():
            assert function() == expected


def test_the_variable_device_of_every_module_is_the_chosen_one(tmp_path):
    other = "import torch\ndevice = torch.device('meta')"
    net = f"{other}\nfrom model import warp\ndef f():\n    return device, warp.device"
    checkout = _checkout(tmp_path, {"model/net.py": net, "model/warp.py": other})
    assert checkout.load("model.net", "f")() == (CPU, CPU)


def test_the_checkout_is_not_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    checkout = _checkout(tmp_path, {"model/net.py": "A = 1"})
    before = sorted(tmp_path.rglob("*"))
    checkout.load("model.net", "A")
    assert sorted(tmp_path.rglob("*")) == before
    assert not sys.dont_write_bytecode


def test_a_path_that_the_code_adds_does_not_stay(tmp_path):
    before = _state()
    checkout = _checkout(tmp_path, {"model/net.py": "import sys\nsys.path.append('.')\nA = 1"})
    checkout.load("model.net", "A")
    assert _state() == before


@pytest.mark.parametrize(
    "text, sentence",
    [
        (None, "there is no .*net.py with Model, as github.com/a/b has it"),
        ("A = 1", "expected .*net.py with Model, .*but the file has no Model"),
        ("import no_such_package.part", "needs the package no_such_package, .*pip install no_such"),
        ("import model.missing", "needs model.missing, which is not in the checkout"),
        ("1 / 0", r"cannot be built from this checkout \(ZeroDivisionError: division by zero\)"),
        ("from os import missing", r"cannot be built .*ImportError: cannot import name 'missing'"),
        ("def f(:", r"cannot be built .*SyntaxError"),
    ],
)
def test_an_unsuitable_checkout_is_one_sentence_and_leaves_no_trace(tmp_path, text, sentence):
    checkout = _checkout(tmp_path, {} if text is None else {"model/net.py": text})
    before = _state()
    with pytest.raises(LiftError, match=sentence) as raised:
        checkout.load("model.net", "Model")
    assert str(raised.value).startswith("--a_code") and "\n" not in str(raised.value)
    assert _state() == before
