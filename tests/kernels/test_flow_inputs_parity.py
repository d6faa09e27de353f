"""The Triton kernels of `flow_inputs` against the reference."""

import torch

from lift.kernels.ops.flow_inputs.op import FLOW_INPUTS
from tests.support.flow_inputs_cases import make
from tests.support.op_suite import OpSuite


class TestFlowInputs(OpSuite):
    op = FLOW_INPUTS
    cases = {
        "small": lambda dtype, generator: make(dtype, generator, (2, 5, 6, 9), 9),
        "many channels": lambda dtype, generator: make(dtype, generator, (1, 24, 5, 7), 49),
        "nothing missing": lambda dtype, generator: make(
            dtype, generator, (2, 3, 4, 5), 1, missing=False
        ),
    }


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
