"""float16 gradients of about 10^4, as a gradient scaler makes them, do not overflow.

Sums are float32, so the results are right where float16 can hold them.
"""

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from tests.support import correlation_cases, warp_cases
from tests.support.parity import assert_close, assert_right_as_a_whole

pytestmark = [
    pytest.mark.native,  # what does not fit becomes infinite
    pytest.mark.filterwarnings("ignore:overflow encountered in cast"),
]

LARGEST = torch.finfo(torch.float16).max
SCALE = 1e4
both_forms = pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
backends = pytest.mark.parametrize("backend", ["triton", "cpp"])


def scaled(shape: torch.Size, device: torch.device) -> torch.Tensor:
    grad = SCALE * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return grad.clamp(-LARGEST, LARGEST).to(device, torch.float16)


def assert_gradients(found: dict, single: dict, exact: dict) -> None:
    """By the rule of `parity`, for the elements that float16 holds; some are near its end.

    `single` is the reference's in float32, rounded here to the dtypes of `found`.
    """
    largest = 0.0
    for name in found.keys() - {"result"}:
        fits = exact[name].abs().cpu() < LARGEST if found[name].dtype == torch.float16 else True
        ours, low, true = (x[name].detach().cpu() for x in (found, single, exact))
        ours, low, true = (
            torch.where(torch.as_tensor(fits), x, 0) for x in (ours, low.to(ours.dtype), true)
        )
        assert_close(name, ours, low, true, torch.float32)
        assert_right_as_a_whole(name, ours, low, true, torch.float32)
        if ours.dtype == torch.float16:
            assert torch.as_tensor(fits).float().mean() > 0.5, name
            largest = max(largest, true.abs().max().item())
    assert largest > LARGEST / 4


@pytest.mark.slow
@backends
@both_forms
@pytest.mark.parametrize("flow", ["half", "collapse"])  # of a pixel, and of all into one
def test_warp_blend(backend, layout, flow, maybe_deterministic):
    case = ("float16", layout, (1, 4, 12, 16), flow)
    inputs = warp_cases.make("warp_blend", backend, case)
    grad = scaled(inputs[0].shape, inputs[0].device)
    found = warp_cases.results(warp_cases.fused("warp_blend", backend), inputs, grad)
    single, exact = (
        warp_cases.results(
            warp_cases.REFERENCES["warp_blend"],
            [x.cpu().to(dtype) for x in inputs],
            grad.cpu().to(dtype),
        )
        for dtype in (torch.float32, torch.float64)
    )
    assert_gradients(found, single, exact)


@pytest.mark.slow
@backends
@both_forms
@pytest.mark.parametrize(("radius", "normalize"), [(0, False), (2, False), (3, True)])
def test_correlation(backend, layout, radius, normalize):
    maps = correlation_cases.make(backend, ("float16", layout, (1, 4, 2, 17), radius, normalize))
    function = correlation_cases.fused(backend, radius, normalize)
    grad = scaled(function(*maps).shape, maps[0].device)
    found = correlation_cases.results(function, maps, grad)
    reference = correlation_cases.fused("reference", radius, normalize)
    single, exact = (
        correlation_cases.results(
            reference, [x.cpu().to(dtype) for x in maps], grad.cpu().to(dtype)
        )
        for dtype in (torch.float32, torch.float64)
    )
    assert_gradients(found, single, exact)


@both_forms
@pytest.mark.parametrize("backend", ["cuda", "cpp"])
@pytest.mark.parametrize("reach", [0.1, 1.0])  # of the image: many locations read a pixel
def test_grid_sample(backend, layout, reach, maybe_deterministic):
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    if reason := kernels.unsupported_reasons("grid_sample")[backend]:
        pytest.skip(reason)
    device = torch.device("cuda" if backend == "cuda" else "cpu")
    input = torch.randn(2, 8, 12, 16).to(device, torch.float16).contiguous(memory_format=memory)
    grid = torch.rand(2, 9, 20, 2).mul(2).sub(1).mul(reach).to(device)
    grad = scaled((2, 8, 9, 20), device)

    def gradients(function, *tensors):
        leaves = [x.detach().requires_grad_() for x in tensors[:2]]
        found = torch.autograd.grad(
            function(*leaves, "bilinear", "border", True), leaves, tensors[2]
        )
        return dict(zip(("gradient of input", "gradient of grid"), found, strict=True))

    found = gradients(lambda *x: kernels.grid_sample(*x, backend=backend), input, grid, grad)
    single, exact = (
        gradients(F.grid_sample, *(x.cpu().to(dtype) for x in (input, grid, grad)))
        for dtype in (torch.float32, torch.float64)
    )
    assert_gradients(found, single, exact)
