"""The kernels of `global_motion`, Triton and C++, against the reference."""

import math

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


class TestGlobalMotionCpp(TestGlobalMotion):
    backend_name = "cpp"
    has_gradient = False
    half_layouts = ("contiguous", "channels_last")
    test_gradients_through_the_state = None
    cases = {
        **TestGlobalMotion.cases,
        "several strips": lambda dtype, generator: make(dtype, generator, (2, 19, 5, 150), 2),
        "several threads": lambda dtype, generator: make(dtype, generator, (1, 9, 20, 63), 5),
        "one pixel": lambda dtype, generator: make(dtype, generator, (1, 3, 1, 1), 2),
        "one column": lambda dtype, generator: make(dtype, generator, (2, 4, 7, 1), 2),
        "empty": lambda dtype, generator: make(dtype, generator, (0, 4, 4, 4)),
    }

    @pytest.mark.parametrize("t", [0.0, 0.3, 1.0, -7.5, 90.0, 1e30, math.inf, -math.inf, math.nan])
    def test_samples_are_those_of_warp(self, t):
        """Whole shifts, and those beyond the border, too."""
        arguments = list(make(torch.float32, torch.Generator().manual_seed(0), (2, 3, 6, 70), 2))
        arguments[5][0] = t
        found, _ = self.backend().call(*arguments)
        expected, _ = GLOBAL_MOTION.reference(*arguments)
        torch.testing.assert_close(found[:, :25], expected[:, :25], atol=2e-5, rtol=0)
