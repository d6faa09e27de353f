"""Speed and memory of `time_mlp`, the bias of one layer's attention scores."""

import torch

from benchmarks.harness import frame_suites
from benchmarks.harness.op_suite import OpSuite
from lift.kernels.ops.time_mlp.op import TIME_MLP


def make(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> tuple:
    B, Tq, Tk, N, C = shape
    k_times = torch.arange(Tk) - Tk // 2 + torch.zeros(B, 1)
    parameters = (N, 6), (N,), (C, N), (C,)
    return (
        k_times,
        torch.rand(B, Tq, generator=generator),
        *(torch.randn(size, generator=generator) for size in parameters),
        dtype,
    )


SUITE = OpSuite(
    frame_suites.TIME_MLP,
    TIME_MLP,
    make,
    cpu=((1, 1, 15, 32, 8),),
    gpu=((1, 1, 15, 32, 8), (4, 1, 15, 32, 8)),
    toy=((2, 1, 3, 4, 2),),
    layout="contiguous",
    fixed=(0, 1),
)
pytest_generate_tests = SUITE.generate_tests


def test_time_mlp(case, variant, record, request):
    SUITE.measure(case, variant, record, request)
