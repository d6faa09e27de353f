"""The kernels of `curve_flows`, Triton and C++, against the reference."""

import torch

from lift.kernels.ops.curve_flows.op import CURVE_FLOWS
from tests.support.op_suite import OpSuite
from tests.support.path_cases import curves


def with_bias_in_bfloat16(arguments: tuple) -> tuple:
    predicted, bias, *others = arguments
    return predicted, bias.bfloat16(), *others


class TestCurveFlows(OpSuite):
    op = CURVE_FLOWS
    cases = {
        "6 gaps": lambda dtype, generator: curves(dtype, generator),
        "4 gaps, no bias": lambda dtype, generator: curves(
            dtype, generator, (1, 7, 13), 4, bias=False
        ),
        "2 gaps, wide": lambda dtype, generator: curves(dtype, generator, (1, 5, 70), 2),
    }


class TestCurveFlowsCpp(TestCurveFlows):
    backend_name = "cpp"
    has_gradient = False
    half_layouts = ("contiguous", "channels_last")
    cases = {
        **TestCurveFlows.cases,
        "several strips and threads": lambda dtype, generator: curves(
            dtype, generator, (2, 31, 150), 6
        ),
        "a bias of bfloat16 too": lambda _, generator: with_bias_in_bfloat16(
            curves(torch.bfloat16, generator, (1, 5, 70), 6)
        ),
        "one pixel": lambda dtype, generator: curves(dtype, generator, (1, 1, 1), 4),
        "one column": lambda dtype, generator: curves(dtype, generator, (1, 21, 1), 4),
        "one row": lambda dtype, generator: curves(dtype, generator, (1, 1, 67), 6),
        "empty": lambda dtype, generator: curves(dtype, generator, (0, 3, 5), 4),
    }
