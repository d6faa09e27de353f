"""What every test may rely on: a fixed seed, one thread a worker, and Triton's interpreter where there is no GPU."""
import os
import sys
from pathlib import Path

import pytest
import torch

GPU = torch.cuda.is_available()
ROOT = Path(__file__).resolve().parent.parent
ANYWAY = (ROOT / "kernels", ROOT / "lift" / "doctor.py")     # ask for a GPU whatever a test is about, to say what serves

if not GPU and "triton" not in sys.modules:             # Triton reads it when it is imported, which kernels and torch.compile do later
    os.environ["TRITON_INTERPRET"] = "1"

if "PYTEST_XDIST_WORKER" in os.environ:                 # workers share the cores; programs that tests start inherit the variable
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def asks_for_a_gpu_only_where_it_says_so(request):
    """A test that would do something else with a GPU has a marker: `benchmarks/gpu.sh` runs those that have one."""
    if GPU or any(map(request.node.get_closest_marker, ("gpu", "native"))):
        yield
        return
    asked = []

    def is_available() -> bool:
        caller = Path(sys._getframe(1).f_code.co_filename)
        if caller.is_relative_to(ROOT) and "site-packages" not in caller.parts and not any(map(caller.is_relative_to, ANYWAY)):
            asked.append(str(caller.relative_to(ROOT)))
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", is_available)
        yield
    assert not asked, f"asked whether there is a GPU, in {asked[0]}: mark the test with gpu or native, or name its device"


def pytest_collection_modifyitems(items):
    for item in items:
        if not GPU and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
