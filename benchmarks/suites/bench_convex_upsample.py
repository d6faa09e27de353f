"""Speed and memory of `convex_upsample`."""

import torch

from benchmarks.harness.frame_suites import CONVEX_UPSAMPLE
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.convex_upsample import op


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    """Random states and logits; the logits channels-last, as a convolution writes them."""
    B, h, w = shape
    state = torch.randn(B, 6, h, w, generator=generator)
    logits = torch.randn(B, 36, h, w, generator=generator)
    logits = logits.to(dtype, memory_format=torch.channels_last)
    return state, logits, torch.randn(36, generator=generator)


SUITE = OpSuite(
    CONVEX_UPSAMPLE,
    op.CONVEX_UPSAMPLE,
    make,
    cpu=((1, 90, 160),),
    gpu=((1, 270, 480), (1, 135, 240), (4, 64, 64)),
    toy=((2, 3, 4),),
)
pytest_generate_tests = SUITE.generate_tests


def test_convex_upsample(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
