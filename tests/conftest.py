"""What every test may rely on: a fixed seed, one thread a worker, and Triton's interpreter where there is no GPU."""
import os
import sys

import pytest
import torch

GPU = torch.cuda.is_available()

if not GPU and "triton" not in sys.modules:             # Triton reads it when it is imported, which kernels and torch.compile do later
    os.environ["TRITON_INTERPRET"] = "1"

if "PYTEST_XDIST_WORKER" in os.environ:                 # workers share the cores; programs that tests start inherit the variable
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def pytest_collection_modifyitems(items):
    for item in items:
        if not GPU and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
