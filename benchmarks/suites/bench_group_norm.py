"""Speed and memory of `group_norm` with all that it fuses, as in a residual block."""

import torch

from benchmarks.harness import frame_suites
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.group_norm.op import GROUP_NORM


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    *size, groups = shape
    x, skip = (
        torch.randn(size, generator=generator)
        .to(dtype)
        .contiguous(memory_format=torch.channels_last)
        for _ in range(2)
    )
    weight, bias, x_bias = (torch.randn(size[1], generator=generator) for _ in range(3))
    return x, skip, weight, bias, x_bias, groups, 1e-5, 0.1


SUITE = OpSuite(
    frame_suites.GROUP_NORM,
    GROUP_NORM,
    make,
    cpu=((1, 24, 180, 320, 8),),
    gpu=((1, 32, 1080, 1920, 8), (1, 24, 540, 960, 8), (4, 32, 256, 256, 8)),
    toy=((1, 4, 2, 4, 2),),
)
pytest_generate_tests = SUITE.generate_tests


def test_group_norm(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
