"""Cases, results with gradients, and parity with the reference, for `correlation`."""

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
PLAIN = ("float32", "contiguous", (1, 3, 2, 6), 1, True)  # dtype, layout, shape, radius, normalize
NAMES = ("fmap0", "fmap1")
INTERPRETED = op.triton is not None and op.triton.INTERPRETED


def device_of(backend: str) -> str:
    return "cuda" if backend == "triton" and torch.cuda.is_available() else "cpu"


def make(backend: str, case: tuple = PLAIN) -> list[torch.Tensor]:
    """The two maps; skips what the backend does not support."""
    dtype, layout, shape, radius, normalize = case
    maps = [
        LAYOUTS[layout](torch.randn(shape).to(device_of(backend), DTYPES[dtype])) for _ in range(2)
    ]
    reason = kernels.unsupported_reasons("correlation", *maps, radius, normalize)[backend]
    if reason:
        pytest.skip(reason)
    return maps


def fused(backend: str, radius: int, normalize: bool):
    return lambda fmap0, fmap1: kernels.correlation(
        fmap0, fmap1, radius, normalize, backend=backend
    )


def towards(out: torch.Tensor) -> torch.Tensor:
    """The same gradient of the result for every backend."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(out.shape, generator=generator).to(out.device, out.dtype)


def results(function, maps, grad=None, wrt=NAMES) -> dict[str, torch.Tensor]:
    """The result and the gradients with respect to `wrt`.

    Args:
        grad: the result's gradient; None for a random one.
    """
    leaves = [x.detach().requires_grad_(name in wrt) for name, x in zip(NAMES, maps, strict=True)]
    out = function(*leaves)
    found = torch.autograd.grad(
        out, [x for x in leaves if x.requires_grad], towards(out) if grad is None else grad
    )
    return {"result": out.detach()} | dict(
        zip((f"gradient of {name}" for name in NAMES if name in wrt), found, strict=True)
    )


def assert_parity(found: dict, maps, radius: int, normalize: bool, grad=None) -> None:
    """`found` is what the reference has for these maps, by the rule of `parity`."""
    maps = [x.detach() for x in maps]
    grad = towards(found["result"]) if grad is None else grad
    low = results(lambda *leaves: correlation_reference(*leaves, radius, normalize), maps, grad)
    exact = results(
        lambda *leaves: correlation_reference(*leaves, radius, normalize),
        [x.double() for x in maps],
        grad.double(),
    )
    arithmetic = torch.float64 if maps[0].dtype == torch.float64 else torch.float32
    assert found.keys() == low.keys()
    for name in found:
        assert_close(name, found[name], low[name], exact[name], arithmetic)
        if name != "result":
            assert_right_as_a_whole(name, found[name], low[name], exact[name], arithmetic)
