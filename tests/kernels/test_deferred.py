"""What the import of `lift.kernels` leaves for later, and that it is there when it is used."""

import os
import subprocess
import sys

import pytest
import torch

from lift.kernels import deferred

IMPORT = """
import sys, torch, lift.kernels
from lift.kernels import deferred
from lift.kernels.ops.census import op
assert "torch._dynamo" not in sys.modules
kernels = "lift.kernels.ops.census.triton_kernels"
if not deferred.triton_can_run():
    assert kernels not in sys.modules
    assert op.triton.PIXELS == 128 and kernels in sys.modules
image = torch.empty(1, 3, 8, 8, device="meta")
assert torch.ops.lift_triton.census(image, image).shape == ()
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of launches that is deferred."""
    text = "SIZE = 3\ndef double_forward(x):\n    return 2 * x\n"
    (tmp_path / "deferred_launch.py").write_text(text)
    monkeypatch.setattr(deferred, "triton_can_run", lambda: False)
    monkeypatch.syspath_prepend(tmp_path)
    yield deferred.import_kernels("deferred_launch")
    sys.modules.pop("deferred_launch", None)


def test_a_deferred_module_is_imported_at_its_first_use(module):
    double = module.double_forward
    assert (module.INTERPRETED, module.DISPATCH_KEYS) == (False, ("CUDA",))
    assert module.unsupported_reason() == "no CUDA device"
    assert "deferred_launch" not in sys.modules
    assert double(2) == 4
    assert "deferred_launch" in sys.modules
    with pytest.raises(AttributeError, match="no attribute 'LENGTH'"):
        module.LENGTH  # noqa: B018


def test_what_is_set_in_a_deferred_module_is_set_in_the_module(module):
    module.SIZE = 5
    assert module.SIZE == sys.modules["deferred_launch"].SIZE == 5


def test_without_triton_nothing_is_deferred(monkeypatch):
    monkeypatch.setattr(deferred, "triton_can_run", lambda: False)
    monkeypatch.setattr(deferred.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="No module named 'triton'"):
        deferred.import_kernels("lift.kernels.ops.census.triton_launch")


@pytest.mark.parametrize(
    ("interpret", "cuda", "expected"),
    [("", None, False), ("0", None, False), ("1", None, True), ("", "13.0", True)],
)
def test_triton_is_imported_at_once_where_it_can_run(monkeypatch, interpret, cuda, expected):
    monkeypatch.setenv("TRITON_INTERPRET", interpret)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", None)
    assert deferred.triton_can_run() is expected


def test_the_import_is_light_and_the_ops_are_there():
    """Neither torch's compiler nor Triton kernels that cannot run: they take most of a second."""
    environment = {name: x for name, x in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", IMPORT]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
