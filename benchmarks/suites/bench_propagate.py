"""Speed and memory of `propagate`, one pass."""

import torch

from benchmarks.harness.frame_suites import PROPAGATE
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.propagate import op


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    """Random images and flows, and the distance of the first of three passes."""
    B, h, w = shape
    luma0, luma1 = torch.rand(2, B, 1, 2 * h, 2 * w, generator=generator).to(dtype)
    return luma0, luma1, torch.randn(B, 6, h, w, generator=generator), 8


SUITE = OpSuite(
    PROPAGATE,
    op.PROPAGATE,
    make,
    cpu=((1, 180, 320),),
    gpu=((1, 270, 480), (1, 135, 240), (4, 64, 64)),
    toy=((2, 3, 4),),
    layout="contiguous",
    fixed=(0, 1),
)
pytest_generate_tests = SUITE.generate_tests


def test_propagate(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
