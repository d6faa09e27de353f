"""Inputs and comparisons for the tests of `correlation`: cases by name, results with gradients,
parity with the reference.
"""

import pytest
import torch

from lift import kernels
from lift.kernels.ops.correlation import op
from lift.kernels.ops.correlation.reference import correlation_reference
from tests.support.parity import LAYOUTS, assert_close, assert_right_as_a_whole

DTYPES = {
    str(d).removeprefix("torch."): d
    for d in (torch.float32, torch.float16, torch.bfloat16, torch.float64)
}
PLAIN = ("float32", "contiguous", (2, 3, 2, 6), 1, True)  # dtype, layout, shape, radius, unit
NAMES = ("left", "right")
INTERPRETED = op.triton is not None and op.triton.INTERPRETED


def device_of(implementation: str) -> str:
    return "cuda" if implementation == "triton" and torch.cuda.is_available() else "cpu"


def make(implementation: str, case: tuple = PLAIN) -> list[torch.Tensor]:
    """The two maps; skips what the implementation says it does not serve."""
    dtype, layout, shape, radius, unit = case
    maps = [
        LAYOUTS[layout](torch.randn(shape).to(device_of(implementation), DTYPES[dtype]))
        for _ in range(2)
    ]
    reason = kernels.reasons("correlation", *maps, radius, unit)[implementation]
    if reason:
        pytest.skip(reason)
    return maps


def fused(implementation: str, radius: int, unit: bool):
    return lambda left, right: kernels.correlation(
        left, right, radius, unit, backend=implementation
    )


def towards(out: torch.Tensor) -> torch.Tensor:
    """The same gradient of the result for every implementation."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(out.shape, generator=generator).to(out.device, out.dtype)


def results(function, maps, grad=None, asked=NAMES) -> dict[str, torch.Tensor]:
    """The result and the gradients asked for, given the result's gradient (None: a random one)."""
    leaves = [x.detach().requires_grad_(name in asked) for name, x in zip(NAMES, maps, strict=True)]
    out = function(*leaves)
    found = torch.autograd.grad(
        out, [x for x in leaves if x.requires_grad], towards(out) if grad is None else grad
    )
    return {"result": out.detach()} | dict(
        zip((f"gradient of {name}" for name in NAMES if name in asked), found, strict=True)
    )


def assert_parity(found: dict, maps, radius: int, unit: bool, grad=None) -> None:
    """`found` is what the reference has for these maps, by the rule of `parity`."""
    maps = [x.detach() for x in maps]
    grad = towards(found["result"]) if grad is None else grad
    low = results(lambda *leaves: correlation_reference(*leaves, radius, unit), maps, grad)
    exact = results(
        lambda *leaves: correlation_reference(*leaves, radius, unit),
        [x.double() for x in maps],
        grad.double(),
    )
    arithmetic = torch.float64 if maps[0].dtype == torch.float64 else torch.float32
    assert found.keys() == low.keys()
    for name in found:
        cut = name != "result" and found[name].dtype == torch.bfloat16 and INTERPRETED
        assert_close(name, found[name], low[name], exact[name], arithmetic, cut=cut)
        if name != "result" and not cut:
            assert_right_as_a_whole(name, found[name], low[name], exact[name], arithmetic)
