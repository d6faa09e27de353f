"""The Triton kernels of `curve_flows` against the reference."""

from lift.kernels.ops.curve_flows.op import CURVE_FLOWS
from tests.support.op_suite import OpSuite
from tests.support.path_cases import curves


class TestCurveFlows(OpSuite):
    op = CURVE_FLOWS
    cases = {
        "6 gaps": lambda dtype, generator: curves(dtype, generator),
        "4 gaps, no bias": lambda dtype, generator: curves(
            dtype, generator, (1, 7, 13), 4, bias=False
        ),
        "2 gaps, wide": lambda dtype, generator: curves(dtype, generator, (1, 5, 70), 2),
    }
