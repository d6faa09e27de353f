"""Speed and memory of `bias_act` with a skip connection, as in a residual block."""

import torch

from benchmarks.harness import frame_suites
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.bias_act.op import BIAS_ACT


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    x, skip = (
        torch.randn(shape, generator=generator)
        .to(dtype)
        .contiguous(memory_format=torch.channels_last)
        for _ in range(2)
    )
    return x, torch.randn(shape[1], generator=generator), skip, 0.1


SUITE = OpSuite(
    frame_suites.BIAS_ACT,
    BIAS_ACT,
    make,
    cpu=((1, 24, 90, 160),),
    gpu=((1, 96, 270, 480), (1, 24, 270, 480), (4, 96, 64, 64), (1, 256, 68, 120)),
    toy=((1, 3, 2, 4),),
)
pytest_generate_tests = SUITE.generate_tests


def test_bias_act(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
