"""Speed and memory of `change_map` of two images."""

import torch

from benchmarks.harness import frame_suites
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.change_map.op import CHANGE_MAP


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    """Arguments for two images of H x W pixels, B of each."""
    B, H, W = shape
    return tuple(torch.rand(2, B, 3, H, W, generator=generator).to(dtype).unbind())


SUITE = OpSuite(
    frame_suites.CHANGE_MAP,
    CHANGE_MAP,
    make,
    cpu=((1, 720, 1280),),
    gpu=((1, 1088, 1920), (1, 720, 1280), (4, 256, 256)),
    toy=((1, 4, 8),),
    layout="contiguous",
)
pytest_generate_tests = SUITE.generate_tests


def test_change_map(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
