"""Where memory is missing, C++ raises what PyTorch's allocator says; programs look for it."""

import pytest
import torch

from lift import kernels
from lift.kernels import autograd, extension

needs_cpp = pytest.mark.skipif(extension.module is None, reason=str(extension.failure))


def expanded(channels, *size):
    """Terabytes that take no memory."""
    return torch.zeros(1, 1, *size).expand(10**6, channels, *size)


HUGE, FLOW = expanded(10**6, 1, 1), expanded(2, 1, 1)
GRID = torch.zeros(1, 1, 1, 2).expand(10**6, 1, 1, 2)
CALLS = {
    "warp": lambda: kernels.warp(HUGE, FLOW, backend="cpp"),
    "warp_blend": lambda: kernels.warp_blend(
        HUGE, HUGE, FLOW, FLOW, FLOW[:, :1], FLOW[:, :1], backend="cpp"
    ),
    "correlation": lambda: kernels.correlation(
        *[torch.zeros(1, 1, 64, 64)] * 2, 20000, backend="cpp"
    ),
    "grid_sample": lambda: kernels.grid_sample(HUGE, GRID, backend="cpp"),
    "grid_sample of a copy": lambda: kernels.grid_sample(
        torch.zeros(1, 1, 1, 1).half().expand(10**6, 10**6, 1, 1), GRID, backend="cpp"
    ),
}


@needs_cpp
@pytest.mark.parametrize("name", CALLS)
def test_the_allocators_words_reach_the_caller(name):
    words = "DefaultCPUAllocator: can't allocate memory: you tried to allocate [0-9]{13,} bytes"
    with pytest.raises(RuntimeError, match=words):
        CALLS[name]()


@needs_cpp
def test_an_op_works_after_a_failed_call():
    with pytest.raises(RuntimeError):
        CALLS["warp"]()
    image = torch.randn(1, 1, 3, 4)
    assert torch.equal(kernels.warp(image, torch.zeros(1, 2, 3, 4), backend="cpp"), image)


def test_on_a_gpu_the_error_has_pytorchs_class():
    """The library for GPUs can raise a RuntimeError only."""

    def fail(x, message):
        raise RuntimeError(message)

    autograd.define("lift_cuda", "fails(Tensor x, str message) -> Tensor", fail, ("CPU",))
    words = "CUDA out of memory. Tried to allocate 20.00 GiB."
    with pytest.raises(torch.OutOfMemoryError, match=words):
        autograd.run_op("lift_cuda", "fails", torch.zeros(1), words)
    with pytest.raises(RuntimeError, match="another") as caught:
        autograd.run_op("lift_cuda", "fails", torch.zeros(1), "another error")
    assert caught.type is RuntimeError
