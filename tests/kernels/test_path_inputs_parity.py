"""The kernels of `path_inputs`, Triton and C++, against the reference."""

import torch

from lift.kernels.ops.path_inputs.op import PATH_INPUTS
from tests.support.op_suite import OpSuite
from tests.support.path_cases import inputs


class TestPathInputs(OpSuite):
    op = PATH_INPUTS
    cases = {
        "4 gaps": lambda dtype, generator: inputs(dtype, generator),
        "6 gaps": lambda dtype, generator: inputs(dtype, generator, (1, 33, 11, 13), 6),
        "2 gaps": lambda dtype, generator: inputs(dtype, generator, (2, 3, 4, 5), 2),
    }

    def test_differences_have_gradients_too(self):
        """Alone, and together with the first output."""
        arguments = self.make("6 gaps", "float32")
        exact = [
            x.double() if torch.is_tensor(x) and x.is_floating_point() else x for x in arguments
        ]
        for wanted in ((1,), (0, 1)):
            grads = []
            for function, given in ((self.backend().call, arguments), (self.op.reference, exact)):
                state = given[1].detach().requires_grad_()
                outputs = function(given[0], state, *given[2:])
                generator = torch.Generator().manual_seed(1)
                loss = 0
                for out in outputs:
                    weights = torch.randn(out.shape, generator=generator).to(out)
                    loss = loss + (out * weights).sum() * (out is outputs[1] or 0 in wanted)
                grads += torch.autograd.grad(loss, [state])
            torch.testing.assert_close(grads[0].double(), grads[1], atol=1e-4, rtol=1e-4)


class TestPathInputsCpp(TestPathInputs):
    backend_name = "cpp"
    has_gradient = False
    half_layouts = ("contiguous", "channels_last")
    test_differences_have_gradients_too = None
    cases = {
        **TestPathInputs.cases,
        "several strips and threads": lambda dtype, generator: inputs(
            dtype, generator, (2, 48, 19, 150), 6
        ),
        "several strips in bfloat16": lambda _, generator: inputs(
            torch.bfloat16, generator, (1, 33, 3, 70), 6
        ),
        "one pixel": lambda dtype, generator: inputs(dtype, generator, (1, 4, 1, 1), 2),
        "one column": lambda dtype, generator: inputs(dtype, generator, (1, 17, 9, 1), 4),
        "one row": lambda dtype, generator: inputs(dtype, generator, (1, 1, 1, 67), 4),
        "no features": lambda dtype, generator: inputs(dtype, generator, (1, 0, 3, 5), 4),
        "empty": lambda dtype, generator: inputs(dtype, generator, (0, 4, 3, 5), 4),
    }
