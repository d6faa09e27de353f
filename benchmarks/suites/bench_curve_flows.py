"""Speed and memory of `curve_flows`."""

import torch

from benchmarks.harness.frame_suites import CURVE_FLOWS
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.curve_flows import op


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    """Random predictions and differences, in frames of equal distance."""
    B, H, W, G = shape
    predicted = torch.randn(B, 2 + G, H, W, generator=generator).to(dtype)
    return (
        predicted.contiguous(memory_format=torch.channels_last),
        torch.randn(2 + G, generator=generator),
        4 * torch.randn(B, 6, H, W, generator=generator),
        torch.randn(B, G, 2, H, W, generator=generator),
        torch.tensor([[-1.0, 2, -2, 3, -3, 4]])[:, :G].repeat(B, 1),
        torch.ones(B, G, dtype=torch.bool),
        torch.rand(B, generator=generator),
        2.0,
        2.0,
        [-4 / 5, -6 / 7],
    )


SUITE = OpSuite(
    CURVE_FLOWS,
    op.CURVE_FLOWS,
    make,
    cpu=((1, 90, 160, 6),),
    gpu=((1, 270, 480, 6), (4, 64, 64, 6)),
    toy=((2, 4, 5, 4),),
)
pytest_generate_tests = SUITE.generate_tests


def test_curve_flows(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
