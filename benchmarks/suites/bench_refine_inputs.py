"""Speed and memory of `refine_inputs` at the strides of the presets."""

import torch

from benchmarks.harness import frame_suites
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.refine_inputs.op import REFINE_INPUTS


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    B, H, W, stride = shape
    images = [torch.rand(B, 3, H, W, generator=generator) for _ in range(2)]
    state = 4 * torch.randn(B, 6, H // 2, W // 2, generator=generator)
    missing = torch.randn(B, 2, H // 2, W // 2, generator=generator)
    return *images, state, missing, stride, dtype


SUITE = OpSuite(
    frame_suites.REFINE_INPUTS,
    REFINE_INPUTS,
    make,
    cpu=((1, 180, 320, 2),),
    gpu=frame_suites.REFINE_INPUTS.shapes,
    toy=((1, 4, 4, 2),),
    fixed=(0, 1, 3),
)
pytest_generate_tests = SUITE.generate_tests


def test_refine_inputs(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
