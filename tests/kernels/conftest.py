"""Fixtures of the kernel tests."""

import pytest
import torch

from lift.kernels import dispatch


@pytest.fixture(autouse=True)
def no_flag(monkeypatch):
    """No LIFT_KERNELS in the environment."""
    monkeypatch.setattr(dispatch, "_environment", "")


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=[False, True], ids=["fast", "deterministic"])
def maybe_deterministic(request):
    """Run a test with and without deterministic algorithms; whether they are on."""
    torch.use_deterministic_algorithms(request.param)
    yield request.param
    torch.use_deterministic_algorithms(False)
