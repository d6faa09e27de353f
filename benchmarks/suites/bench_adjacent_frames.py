"""Speed of `adjacent_frames`."""

import torch

from benchmarks.harness.frame_suites import ADJACENT_FRAMES
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.adjacent_frames import op


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    """Frames at equal distances, the references in the middle."""
    B, T = shape
    left = (T - 1) // 2
    times = (torch.arange(T) - left).float().repeat(B, 1)
    mask = torch.ones(B, T, dtype=torch.bool)
    return times, mask, torch.arange(B * T).view(B, T), left, 3


SUITE = OpSuite(
    ADJACENT_FRAMES,
    op.ADJACENT_FRAMES,
    make,
    cpu=((4, 15),),
    gpu=((4, 15),),
    toy=((2, 5),),
)
pytest_generate_tests = SUITE.generate_tests


def test_adjacent_frames(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
