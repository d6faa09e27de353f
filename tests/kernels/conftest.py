"""Fixtures of the kernel tests."""

import sys

import pytest
import torch

from lift.kernels import dispatch
from tests.support import op_suite


@pytest.fixture(autouse=True)
def no_flag(monkeypatch):
    """No LIFT_KERNELS in the environment."""
    monkeypatch.setattr(dispatch, "_environment", "")


@pytest.fixture(autouse=True)
def no_remembered_launches():
    """What a test changes in the modules of launches shows in its own launches only."""
    memory = sys.modules.get("lift.kernels.launch_memory")  # needs Triton
    if memory is not None:
        memory.forget()
    yield
    if memory is not None:
        memory.forget()


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


def pytest_generate_tests(metafunc):
    if metafunc.cls is not None and issubclass(metafunc.cls, op_suite.OpSuite):
        op_suite.pytest_generate_tests(metafunc)
