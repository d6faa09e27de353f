"""The Triton kernels of `global_motion` against the reference."""

import pytest
import torch

from lift.kernels.ops.global_motion.op import GLOBAL_MOTION
from tests.support.global_motion_cases import make
from tests.support.op_suite import OpSuite
from tests.support.parity import assert_close


class TestGlobalMotion(OpSuite):
    op = GLOBAL_MOTION
    cases = {
        "small": lambda dtype, generator: make(dtype, generator, (2, 5, 4, 6)),
        "many displacements": lambda dtype, generator: make(dtype, generator, (1, 3, 3, 7), 3),
    }

    @pytest.mark.parametrize("used", [(1,), (0, 1)], ids=["state", "both"])
    def test_gradients_through_the_state(self, used):
        """Alone, or together with those through the decoder's input."""
        arguments = self.make("small", "float32")

        def gradients(function, arguments):
            leaves = [x.detach().requires_grad_() for x in arguments[:5]]
            outputs = function(*leaves, *arguments[5:])
            loss = sum(outputs[i].square().sum() for i in used)
            return torch.autograd.grad(loss, leaves, materialize_grads=True)

        exact = [x.double() if isinstance(x, torch.Tensor) else x for x in arguments]
        exact[-1] = torch.float64
        found = gradients(self.backend().call, arguments)
        low = gradients(self.op.reference, arguments)
        for i, grads in enumerate(
            zip(found, low, gradients(self.op.reference, exact), strict=True)
        ):
            assert_close(f"gradient of argument {i}", *grads, torch.float32)
