"""What every test may rely on: a fixed seed, one thread a worker, and Triton's interpreter where
there is no GPU.
"""

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from tests.support.gpu_session import (
    RESERVED,
    DeadContext,
    alone,
    bound_examples,
    cuda_error,
    give_memory_back,
)

GPU = torch.cuda.is_available()
ROOT = Path(__file__).resolve().parent.parent
ANYWAY = (
    "kernels/",
    "lift/commands/doctor.py",
    "lift/provenance.py",
)  # ask in order to tell, whatever a test is about

if (
    not GPU and "triton" not in sys.modules
):  # Triton reads it when it is imported, which kernels and torch.compile do later
    os.environ["TRITON_INTERPRET"] = "1"

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # workers share the cores; programs that tests start inherit the variable
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


# torch.testing._internal, which opcheck imports, would freeze cuDNN's flags for all later tests.
torch.backends.disable_global_flags = lambda: None


def pytest_collectstart(collector):
    """Random values that a module makes when it is imported are the same in every run."""
    if isinstance(collector, pytest.Module):
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def tiny_config():
    """Sizes of the smallest model that has every part."""
    from tests.support.models import TINY  # lift's imports wait for a test that needs them

    return TINY


@pytest.fixture
def awake_model(tiny_config):
    """The smallest LIFT, in evaluation mode, in which every parameter has an effect."""
    from tests.support.models import awake_lift

    return awake_lift(tiny_config)


@pytest.fixture(autouse=True)
def asks_for_a_gpu_only_where_it_says_so(request):
    """A test that would do something else with a GPU has a marker: `benchmarks/gpu.sh` runs those
    that have one.
    """
    if GPU or any(map(request.node.get_closest_marker, ("gpu", "native"))):
        yield
        return
    asked = []

    def is_available() -> bool:
        code = sys._getframe(1).f_code
        caller = f"{code.co_filename} {code.co_name}".removeprefix(f"{ROOT}/")
        if not caller.startswith(("/", ".venv/", *ANYWAY)):
            asked.append(caller)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", is_available)
        yield
    assert not asked, (
        f"asked whether there is a GPU ({asked[0]}): "
        "mark the test with gpu or native, or name its device"
    )


@pytest.fixture(autouse=True)
def leaves_the_gpu_to_others(request):
    """A kernel's error shows in the test that launched it; a test's memory is free for the next."""
    large = request.node.get_closest_marker("large")
    with alone() if GPU and large else nullcontext():
        yield
        if any(map(request.node.get_closest_marker, ("gpu", "native"))):
            if error := cuda_error():
                pytest.fail(error, pytrace=False)
            give_memory_back(0 if large else RESERVED)


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory):
    """Files that LIFT keeps for the user are not those of whoever runs the tests."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


def pytest_configure(config):
    config.pluginmanager.register(DeadContext())
    bound_examples(config.getoption("--budget", None))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("large") is not None)  # last
    for item in items:
        if not GPU and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
