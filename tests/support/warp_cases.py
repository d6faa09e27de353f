"""Cases, results with gradients, and parity with the reference, for `warp` and `warp_blend`."""

import pytest
import torch

from lift import kernels
from lift.kernels.ops.warp_blend import op
from lift.kernels.ops.warp_blend.reference import warp_blend_reference, warp_reference
from tests.support.parity import FLOWS, LAYOUTS, assert_close, assert_right_as_a_whole

REFERENCES = {"warp": warp_reference, "warp_blend": warp_blend_reference}
PUBLIC = {"warp": kernels.warp, "warp_blend": kernels.warp_blend}
NAMES = {
    "warp": ("image", "flow"),
    "warp_blend": ("image0", "image1", "flow0", "flow1", "occ0", "occ1"),
}
DTYPES = {
    str(d).removeprefix("torch."): d
    for d in (torch.float32, torch.float16, torch.bfloat16, torch.float64)
}
PLAIN = ("float32", "contiguous", (2, 3, 5, 7), "random")  # dtype, layout, shape, flow
INTERPRETED = op.triton is not None and op.triton.INTERPRETED


def device_of(backend: str) -> str:
    return "cuda" if backend == "triton" and torch.cuda.is_available() else "cpu"


def make(operation: str, backend: str, case: tuple = PLAIN) -> list[torch.Tensor]:
    """Inputs of the operation; skips what the backend does not support."""
    dtype, layout, (B, C, H, W), flow = case
    dtype = DTYPES[dtype]
    count = 1 if operation == "warp" else 2
    images = [torch.randn(B, C, H, W).to(dtype) for _ in range(count)]
    flows = [
        FLOWS[flow](B, H, W).to(torch.float64 if dtype == torch.float64 else torch.float32)
        for _ in range(count)
    ]
    occs = [3 * torch.randn(B, 1, H, W).to(dtype) for _ in range(count if count == 2 else 0)]
    inputs = [LAYOUTS[layout](x.to(device_of(backend))) for x in (*images, *flows, *occs)]
    reason = kernels.unsupported_reasons(operation, *inputs)[backend]
    if reason:
        pytest.skip(reason)
    return inputs


def results(function, inputs, grad=None, wrt=None) -> dict[str, torch.Tensor]:
    """The result and the gradients with respect to `wrt`, by name.

    Args:
        grad: the result's gradient; None for a random one.
        wrt: names of inputs; None for all.
    """
    operation = "warp" if len(inputs) == 2 else "warp_blend"
    leaves = [
        x.detach().requires_grad_(wrt is None or name in wrt)
        for name, x in zip(NAMES[operation], inputs, strict=True)
    ]
    out = function(*leaves)
    wanted = [name for name, x in zip(NAMES[operation], leaves, strict=True) if x.requires_grad]
    found = (
        torch.autograd.grad(
            out, [x for x in leaves if x.requires_grad], towards(out) if grad is None else grad
        )
        if wanted
        else ()
    )
    return {"result": out.detach()} | dict(
        zip((f"gradient of {name}" for name in wanted), found, strict=True)
    )


def towards(out: torch.Tensor) -> torch.Tensor:
    """The same gradient of the result for every backend."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(out.shape, generator=generator).to(out.device, out.dtype)


def fused(operation: str, backend: str):
    return lambda *inputs: PUBLIC[operation](*inputs, backend=backend)


def flips(flow: torch.Tensor) -> torch.Tensor:
    """(B, 2, H, W): where rounding x + dx to flow's dtype moves it over a whole pixel or the
    border, so that its gradient jumps.
    """
    H, W = flow.shape[2:]
    last = torch.tensor([W - 1, H - 1]).view(2, 1, 1)
    states = []
    for dtype in (flow.dtype, torch.float64):
        place = torch.stack(torch.meshgrid(torch.arange(W), torch.arange(H), indexing="xy")).to(
            dtype
        ) + flow.to(dtype)
        states.append(
            torch.stack(
                (place.floor().double(), (place > 0).double(), (place < last).double())
            ).nan_to_num(nan=-1)
        )
    return (states[0] != states[1]).any(0)


def assert_parity(operation: str, found: dict, inputs, grad=None) -> None:
    """`found` is what the reference has for these inputs, by the rule of `parity`."""
    inputs = [x.detach().cpu() for x in inputs]
    grad = towards(found["result"].cpu()) if grad is None else grad.cpu()
    wrt = {name.removeprefix("gradient of ") for name in found}
    low = results(REFERENCES[operation], inputs, grad, wrt)
    exact = results(REFERENCES[operation], [x.double() for x in inputs], grad.double(), wrt)
    arithmetic = torch.float64 if inputs[0].dtype == torch.float64 else torch.float32
    assert found.keys() == low.keys()
    for name in found:
        if "flow" in name:  # there, the side on which float32 falls decides
            flow = inputs[NAMES[operation].index(name.removeprefix("gradient of "))]
            exact[name] = torch.where(flips(flow), low[name].double(), exact[name])
        assert_close(name, found[name], low[name], exact[name], arithmetic)
        if name != "result":
            assert_right_as_a_whole(name, found[name], low[name], exact[name], arithmetic)
