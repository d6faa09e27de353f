"""The Triton kernels of `time_mlp` against the reference."""

import pytest
import torch

from lift.kernels.ops.time_mlp.op import TIME_MLP
from tests.support.op_suite import OpSuite


def case(B, Tq, Tk, hidden, channels=None):
    """A case; without channels there is one layer, without Tq one time of 0."""

    def make(dtype: torch.dtype, generator: torch.Generator) -> tuple:
        def noise(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator)

        second = (None, None) if channels is None else (noise(channels, hidden), noise(channels))
        q_times = None if Tq is None else noise(B, Tq)
        return 3 * noise(B, Tk), q_times, noise(hidden, 6), noise(hidden), *second, dtype

    return make


class TestTimeMlp(OpSuite):
    op = TIME_MLP
    layouts = half_layouts = ("contiguous",)
    without_gradient = (0, 1)
    cases = {
        "odd": case(2, 3, 5, 12, 3),
        "a frame": case(1, 1, 15, 32, 8),
        "among frames": case(2, 11, 11, 32, 8),
        "one layer": case(3, None, 1, 40),
        "one layer of differences": case(2, 3, 4, 5),
        "empty": case(0, 1, 5, 12, 3),
    }

    def test_opcheck_of_one_layer(self):
        k_times, q_times, *parameters, dtype = self.make("one layer", "float32")
        leaves = [None if x is None else x.requires_grad_() for x in parameters]
        operation = torch.ops.lift_triton.time_mlp.default
        torch.library.opcheck(operation, (k_times, q_times, *leaves, dtype))


@pytest.mark.native
@pytest.mark.slow
@pytest.mark.parametrize("missing", range(2, 6))
def test_only_the_gradients_asked_for_are_returned(missing):
    suite = TestTimeMlp()
    arguments = suite.make("odd", "float32")
    for i in range(2, 6):
        arguments[i].requires_grad_(i != missing)

    def gradients(function):
        leaves = [x for i, x in enumerate(arguments[:6]) if i >= 2 and i != missing]
        return torch.autograd.grad(function(*arguments).square().sum(), leaves)

    for found, expected in zip(
        gradients(suite.backend().call), gradients(TIME_MLP.reference), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
