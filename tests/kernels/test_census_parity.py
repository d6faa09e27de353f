"""The fused kernels of `census` against the reference, over the matrix of inputs."""

import torch

from lift.kernels.ops.census.op import CENSUS
from tests.support.op_suite import OpSuite


def case(shape):
    def make(dtype: torch.dtype, generator: torch.Generator) -> tuple:
        return tuple(torch.rand(shape, generator=generator).to(dtype) for _ in range(2))

    return make


class TestCensus(OpSuite):
    op = CENSUS
    batched = False  # the loss is that of all images
    cases = {
        "odd": case((1, 3, 7, 11)),
        "smallest": case((2, 3, 4, 4)),
        "several programs": case((1, 3, 15, 20)),
    }
