"""Speed and memory of `global_motion`."""

import torch

from benchmarks.harness.frame_suites import GLOBAL_MOTION
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.global_motion import op


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    """Random features and a random correlation, the target in the middle."""
    B, C, H, W, radius = shape
    M = (2 * radius + 1) ** 2
    volume = torch.randn(B, M, H, W, generator=generator)
    left, right = (
        torch.randn(B, C, H, W, generator=generator).to(dtype, memory_format=torch.channels_last)
        for _ in range(2)
    )
    prior, t = torch.randn(M, generator=generator), torch.full((B,), 0.5)
    return volume, left, right, torch.tensor(10.0), prior, t, radius, dtype


SUITE = OpSuite(
    GLOBAL_MOTION,
    op.GLOBAL_MOTION,
    make,
    cpu=((1, 64, 45, 80, 4),),
    gpu=((4, 256, 16, 16, 6), (1, 256, 68, 120, 6)),
    toy=((2, 3, 4, 5, 1),),
)
pytest_generate_tests = SUITE.generate_tests


def test_global_motion(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
