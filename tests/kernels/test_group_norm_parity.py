"""The fused kernels of `group_norm` against the reference, over the matrix of inputs."""

import pytest
import torch

from lift.kernels.ops.group_norm import op
from tests.support.op_suite import OpSuite

GROUP_NORM = op.GROUP_NORM


def case(shape, groups, skip=True, x_bias=True, slope=0.1, state=False):
    """A case with a float32 skip connection where it is a state."""

    def make(dtype: torch.dtype, generator: torch.Generator) -> tuple:
        C = shape[1]
        x, other = (torch.randn(shape, generator=generator) for _ in range(2))
        weight, bias, of_x = (torch.randn(C, generator=generator) for _ in range(3))
        other = (other if state else other.to(dtype)) if skip else None
        return x.to(dtype), other, weight, bias, of_x if x_bias else None, groups, 1e-5, slope

    return make


class TestGroupNorm(OpSuite):
    op = GROUP_NORM
    cases = {
        "all": case((2, 6, 5, 9), 2),
        "norm alone": case((2, 8, 4, 7), 8, skip=False, x_bias=False, slope=1.0),
        "activation": case((2, 8, 7, 9), 4, skip=False),
        "sum": case((1, 9, 6, 11), 3, x_bias=False, slope=1.0),
        "one group": case((3, 5, 1, 20), 1),
        "one pixel": case((2, 4, 1, 1), 2),
        "many blocks": case((2, 24, 17, 26), 8),
        "empty": case((0, 4, 3, 3), 2),
    }


class TestGroupNormCpp(TestGroupNorm):
    backend_name = "cpp"
    half_layouts = ("contiguous", "channels_last")
    cases = {
        **TestGroupNorm.cases,
        "several tasks": case((2, 24, 61, 100), 8),
        "more channels than values of a task": case((1, 70000, 1, 3), 2),
    }


class TestGroupNormState(OpSuite):
    """Half features and a float32 skip connection."""

    op = GROUP_NORM
    cases = {"state": case((2, 6, 5, 9), 2, state=True)}
    half_layouts = ("contiguous", "channels_last")


class TestGroupNormParts(OpSuite):
    """Programs of several blocks, the last of them short."""

    op = GROUP_NORM
    cases = {"parts": case((2, 6, 7, 11), 2)}

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        if op.triton is None:
            pytest.skip("Triton cannot be imported")
        for name, value in (
            ("ELEMENTS", 64),
            ("BACKWARD_ELEMENTS", 64),
            ("PARTS", 4),
            ("PROGRAMS", 3),
        ):
            monkeypatch.setattr(op.triton, name, value)


@pytest.mark.native
@pytest.mark.slow
@pytest.mark.parametrize("suite", [TestGroupNorm, TestGroupNormCpp])
def test_opcheck(suite):
    arguments = suite().make("all", "float32")
    operation = getattr(torch.ops, f"lift_{suite.backend_name}").group_norm.default
    torch.library.opcheck(operation, tuple(arguments))
    leaves = [x.detach().requires_grad_() for x in arguments[:5]]
    torch.library.opcheck(operation, (*leaves, *arguments[5:]))
