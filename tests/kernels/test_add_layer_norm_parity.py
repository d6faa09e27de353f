"""The fused kernels of `add_layer_norm` against the reference, over the matrix of inputs."""

import torch

from lift.kernels.ops.add_layer_norm.op import ADD_LAYER_NORM
from tests.support.op_suite import OpSuite


def case(shape, adds=True, shared=0):
    """A case; the second summand is that of the first `shared` dimensions."""

    def make(dtype: torch.dtype, generator: torch.Generator) -> tuple:
        one = (*shape[:shared], *[1] * (len(shape) - 1 - shared), shape[-1]) if shared else shape
        x, y = (torch.randn(size, generator=generator).to(dtype) for size in (shape, one))
        weight, bias = (torch.randn(shape[-1], generator=generator) for _ in range(2))
        return x, y if adds else None, weight, bias, 1e-5, dtype

    return make


class TestAddLayerNorm(OpSuite):
    op = ADD_LAYER_NORM
    cases = {
        "odd": case((2, 3, 5, 44)),
        "one for each image": case((2, 1, 3, 4, 16), shared=1),
        "alone": case((3, 7, 64), adds=False),
        "few channels": case((4, 5, 3)),
        "wide": case((3, 2500)),
        "empty": case((0, 8)),
    }

    def test_opcheck(self):
        operation = torch.ops.lift_triton.add_layer_norm.default
        x, y, weight, bias, *others = self.make("one for each image", "float32")
        for second in (y.expand(x.shape).contiguous(), None):
            leaves = [
                None if t is None else t.clone().requires_grad_() for t in (x, second, weight, bias)
            ]
            torch.library.opcheck(operation, (*leaves, *others))
