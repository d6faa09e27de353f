"""The fused kernels of `bias_act` against the reference, over the matrix of inputs."""

import torch

from lift.kernels.ops.bias_act.op import BIAS_ACT
from tests.support.op_suite import OpSuite


def case(shape, factor, slope=0.1, bias=True):
    """A case with a skip connection at 1/factor."""

    def make(dtype: torch.dtype, generator: torch.Generator) -> tuple:
        B, C, H, W = shape
        x = torch.randn(shape, generator=generator).to(dtype)
        skip = None
        if factor:
            skip = torch.randn(B, C, H // factor, W // factor, generator=generator).to(dtype)
        return x, torch.randn(C, generator=generator) if bias else None, skip, slope

    return make


class TestBiasAct(OpSuite):
    op = BIAS_ACT
    cases = {
        "skip": case((2, 6, 6, 10), 1),
        "twice": case((1, 3, 8, 14), 2),
        "three times": case((1, 3, 9, 15), 3, slope=1.0, bias=False),
        "four times": case((1, 2, 4, 8), 4),
        "bias alone": case((2, 24, 5, 9), 0),
        "nothing": case((1, 2, 3, 4), 0, slope=1.0, bias=False),
        "many blocks": case((1, 2, 70, 70), 0),
        "empty": case((0, 3, 4, 4), 2),
    }
