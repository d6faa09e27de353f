"""Speed and memory of `add_layer_norm` on the tokens of a frame and of a training step."""

import torch

from benchmarks.harness import frame_suites
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.add_layer_norm.op import ADD_LAYER_NORM


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    x, y = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    weight, bias = (torch.randn(shape[1], generator=generator) for _ in range(2))
    return x, y, weight, bias, 1e-5, dtype


SUITE = OpSuite(
    frame_suites.ADD_LAYER_NORM,
    ADD_LAYER_NORM,
    make,
    cpu=((2040, 64),),
    gpu=((8160, 256), (8160, 64), (15360, 256)),
    toy=((3, 8),),
    layout="contiguous",
)
pytest_generate_tests = SUITE.generate_tests


def test_add_layer_norm(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
