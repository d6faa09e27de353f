"""Cases and parity with the reference, for `lucas_kanade`."""

import pytest
import torch

from lift import kernels
from lift.kernels.ops.lucas_kanade import op
from lift.kernels.ops.lucas_kanade.reference import lucas_kanade_reference
from tests.support.parity import FLOWS, LAYOUTS, assert_close

DTYPES = {
    str(d).removeprefix("torch."): d
    for d in (torch.float32, torch.float16, torch.bfloat16, torch.float64)
}
PLAIN = ("float32", "contiguous", (2, 1, 7, 13), "random")  # dtype, layout, shape, flow
FINITE_FLOWS = [name for name in FLOWS if name not in ("nan", "infinite")]
NAMES = ("image0", "image1", "flow0", "flow1", "t")
INTERPRETED = op.triton is not None and op.triton.INTERPRETED


def device_of(backend: str) -> str:
    return "cuda" if backend == "triton" and torch.cuda.is_available() else "cpu"


def make(backend: str, case: tuple = PLAIN) -> list[torch.Tensor]:
    """The inputs, a time for each image; skips what the backend does not support."""
    dtype, layout, shape, flow = case
    dtype, device, lay = DTYPES[dtype], device_of(backend), LAYOUTS[layout]
    accumulate = torch.float64 if dtype == torch.float64 else torch.float32
    B, _, H, W = shape
    images = [lay(torch.rand(shape).to(device, dtype)) for _ in range(2)]
    flows = [lay(FLOWS[flow](B, H, W).to(device, accumulate)) for _ in range(2)]
    if flow == "outside":  # without motion, which would hide the steps
        flows[1] = flows[0]
    inputs = [*images, *flows, torch.rand(B).to(device, accumulate)]
    reason = kernels.unsupported_reasons("lucas_kanade", *inputs)[backend]
    if reason:
        pytest.skip(reason)
    return inputs


def fused(backend: str):
    return lambda *inputs: kernels.lucas_kanade(*inputs, backend=backend)


def assert_parity(found: torch.Tensor, inputs) -> None:
    """`found` is what the reference has for these inputs, by the rule of `parity`."""
    low = lucas_kanade_reference(*inputs)
    exact = lucas_kanade_reference(*[x.double() for x in inputs])
    assert_close("step", found, low, exact, inputs[2].dtype)
