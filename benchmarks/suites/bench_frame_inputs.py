"""Speed and memory of `frame_inputs` of frames in float32; the dtype is the encoder input's."""

import torch

from benchmarks.harness import frame_suites
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.frame_inputs.op import FRAME_INPUTS


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    """Arguments for N frames of H x W pixels."""
    N, H, W = shape
    return torch.rand(N, 3, H, W, generator=generator), 16, dtype


SUITE = OpSuite(
    frame_suites.FRAME_INPUTS,
    FRAME_INPUTS,
    make,
    cpu=((1, 720, 1280),),
    gpu=((1, 1080, 1920), (1, 720, 1280), (60, 256, 256)),
    toy=((2, 17, 30),),
    layout="contiguous",
)
pytest_generate_tests = SUITE.generate_tests


def test_frame_inputs(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
