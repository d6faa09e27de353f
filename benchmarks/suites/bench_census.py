"""Speed and memory of `census` on crops of a training step."""

import torch

from benchmarks.harness import frame_suites
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.census.op import CENSUS


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    B, H, W = shape
    return tuple(torch.rand(B, 3, H, W, generator=generator).to(dtype) for _ in range(2))


SUITE = OpSuite(
    frame_suites.CENSUS,
    CENSUS,
    make,
    cpu=((2, 128, 128),),
    gpu=((4, 256, 256), (8, 384, 384)),
    toy=((1, 4, 5),),
    layout="contiguous",
    fixed=(1,),
)
pytest_generate_tests = SUITE.generate_tests


def test_census(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
