"""Speed and memory of `flow_inputs`."""

import torch

from benchmarks.harness.frame_suites import FLOW_INPUTS
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.flow_inputs import op


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    """Random features and correlations, smooth flows of a few pixels."""
    B, C, H, W, D = shape

    def maps(channels: int) -> torch.Tensor:
        return torch.randn(B, channels, H, W, generator=generator)

    def smooth(channels: int) -> torch.Tensor:
        coarse = torch.randn(B, channels, H // 32 + 2, W // 32 + 2, generator=generator)
        return 4 * torch.nn.functional.interpolate(coarse, size=(H, W), mode="bilinear")

    features = [maps(C).to(dtype, memory_format=torch.channels_last) for _ in range(2)]
    state, t = torch.cat((smooth(4), maps(2)), 1), torch.rand(B, generator=generator)
    return *features, maps(D), maps(1), state, smooth(2), t, 4, dtype


SUITE = OpSuite(
    FLOW_INPUTS,
    op.FLOW_INPUTS,
    make,
    cpu=((1, 24, 90, 160, 25),),
    gpu=((4, 96, 64, 64, 49), (1, 96, 270, 480, 49), (1, 192, 135, 240, 49)),
    toy=((2, 3, 4, 5, 9),),
)
pytest_generate_tests = SUITE.generate_tests


def test_flow_inputs(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
