"""Tensors with few elements, some of them 2^31 elements away, in memory that is hardly touched."""

import math
import mmap

import pytest
import torch

NO_RESERVE = 0x4000  # mmap.MAP_NORESERVE from Python 3.11 on


def far(x: torch.Tensor, *dimensions: int) -> torch.Tensor:
    """The values of x with strides that take the last index of `dimensions` past 2^31 elements.

    The elements of `dimensions` lie at one distance, in the order of x. Each of their strides fits
    32 bits. An offset that is cut to 32 bits stays in the same memory and finds zeros there, so a
    test fails but does not crash.

    Args:
        x: any shape, on the CPU.
        dimensions: adjacent ones, with three elements or more in all.
    """
    step = 2**31 // (math.prod(x.shape[i] for i in dimensions) - 1) + 16
    strides = list(x.stride())
    for i in reversed(dimensions):
        strides[i], step = step, step * x.shape[i]
    assert all(stride < 2**31 for stride in strides)
    return reserved(x.shape, strides, x.dtype).copy_(x)


def reserved(shape, strides, dtype: torch.dtype) -> torch.Tensor:
    """Zeros of this shape, after 2^31 further zeros; skips the test where the system refuses.

    Memory is used where it is written only.
    """
    elements = 2**31 + 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    size = elements * dtype.itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
    try:
        pages = mmap.mmap(-1, size, flags=flags)
    except OSError as error:
        pytest.skip(f"{size / 2**30:.0f} GiB of addresses cannot be reserved: {error}")
    return torch.frombuffer(pages, dtype=dtype).as_strided(shape, strides, 2**31)
