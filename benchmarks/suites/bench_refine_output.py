"""Speed and memory of `refine_output` at the strides of the presets, also with a sharpness."""

import torch

from benchmarks.harness import frame_suites
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.refine_output.op import REFINE_OUTPUT


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    B, H, W, stride, R = shape
    images = [torch.rand(B, 3, H, W, generator=generator) for _ in range(2)]
    residual = torch.randn(B, R * stride**2, H // stride, W // stride, generator=generator)
    residual = residual.to(dtype).contiguous(memory_format=torch.channels_last)
    bias = torch.randn(R * stride**2, generator=generator)
    state = 4 * torch.randn(B, 6, H // 2, W // 2, generator=generator)
    change = torch.randn(B, 1, H // 2, W // 2, generator=generator)
    return residual, bias, *images, state, change, torch.tensor(-1.7), stride


SUITE = OpSuite(
    frame_suites.REFINE_OUTPUT,
    REFINE_OUTPUT,
    make,
    cpu=((1, 180, 320, 2, 10), (1, 180, 320, 2, 11)),
    gpu=frame_suites.REFINE_OUTPUT.shapes,
    toy=((1, 4, 4, 2, 11),),
    fixed=(2, 3, 5),
)
pytest_generate_tests = SUITE.generate_tests


def test_refine_output(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
