"""The kernels of `flow_inputs`, Triton and C++, against the reference."""

import pytest
import torch

from lift.kernels.ops.flow_inputs.op import FLOW_INPUTS
from lift.kernels.ops.warp_blend.op import warp
from tests.support.flow_inputs_cases import make
from tests.support.op_suite import OpSuite
from tests.support.parity import FLOWS


class TestFlowInputs(OpSuite):
    op = FLOW_INPUTS
    cases = {
        "small": lambda dtype, generator: make(dtype, generator, (2, 5, 6, 9), 9),
        "many channels": lambda dtype, generator: make(dtype, generator, (1, 24, 5, 7), 49),
        "nothing missing": lambda dtype, generator: make(
            dtype, generator, (2, 3, 4, 5), 1, missing=False
        ),
    }


class TestFlowInputsCpp(TestFlowInputs):
    backend_name = "cpp"
    has_gradient = False
    half_layouts = ("contiguous", "channels_last")
    cases = {
        **TestFlowInputs.cases,
        "several strips": lambda dtype, generator: make(dtype, generator, (2, 19, 5, 150), 25),
        "several threads": lambda dtype, generator: make(dtype, generator, (1, 32, 40, 63), 25),
        "one pixel": lambda dtype, generator: make(dtype, generator, (1, 3, 1, 1), 9),
        "one column": lambda dtype, generator: make(dtype, generator, (2, 4, 7, 1), 9),
        "empty": lambda dtype, generator: make(dtype, generator, (0, 4, 4, 4), 9),
    }

    @pytest.mark.parametrize("flow", FLOWS)
    def test_features_are_sampled_as_by_warp(self, flow):
        """Beyond the borders and at flows that are not finite too."""
        arguments = make(torch.float32, torch.Generator().manual_seed(0), (2, 7, 9, 70), 9)
        torch.manual_seed(0)
        for i in range(2):
            arguments[4][:, 2 * i : 2 * i + 2] = FLOWS[flow](2, 9, 70)
        found = self.backend().call(*arguments)
        for i, x in enumerate(arguments[:2]):
            warped = warp(x, arguments[4][:, 2 * i : 2 * i + 2], backend="cpp")
            assert torch.equal(found[:, 7 * i : 7 * i + 7], warped)


def test_gradients_can_be_summed_exactly(deterministic):
    """In fixed point."""
    for dtype in (torch.float32, torch.float16):
        suite = TestFlowInputs()
        arguments = make(dtype, torch.Generator().manual_seed(0), (2, 5, 6, 9), 9)
        leaves = [x.detach().requires_grad_() for x in arguments[:5]]
        exact = [x.double().detach().requires_grad_() for x in leaves]
        found, expected = [], []
        for function, inputs, grads in (
            (suite.backend().call, leaves, found),
            (FLOW_INPUTS.reference, exact, expected),
        ):
            rest = [x.to(inputs[4].dtype) for x in arguments[5:7]]
            out = function(*inputs, *rest, 4, inputs[0].dtype)
            grads += torch.autograd.grad(out.square().sum(), inputs)
        for one, true in zip(found, expected, strict=True):
            scale = true.abs().max()
            tolerance = 5e-3 if dtype == torch.float16 else 1e-5
            assert (one - true).abs().max() <= tolerance * scale
