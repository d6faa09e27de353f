"""Gradients where 32 bits hold each stride and not the offsets, or not the number of elements."""

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels.ops.grid_sample import cuda
from tests.support.correlation_cases import fused as correlation
from tests.support.correlation_cases import results as of_correlation
from tests.support.gpu_session import needs_gpu_memory
from tests.support.warp_cases import fused as warp
from tests.support.warp_cases import results as of_warp

pytestmark = [pytest.mark.gpu, pytest.mark.large]

DEVICE = "cuda"
PAST = 2**31  # elements
MARGIN = 64 << 20  # bytes beside the large tensors


def far(x: torch.Tensor, dimension: int) -> torch.Tensor:
    """The values of x, with a stride of this dimension that fits 32 bits where offsets do not."""
    strides = list(x.stride())
    strides[dimension] = PAST // (x.shape[dimension] - 1) + 16
    elements = (x.shape[dimension] - 1) * strides[dimension] + x.numel()
    needs_gpu_memory(elements * x.element_size() + MARGIN)
    buffer = torch.empty(elements, dtype=x.dtype, device=x.device)
    return buffer.as_strided(x.shape, strides).copy_(x)


def assert_same(found: dict, expected: dict) -> None:
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-5)


# -- strides ---------------------------------------------------------------------------------------

OF_CORRELATION = [
    ("fmap0", 1),
    ("fmap0", 2),
    ("fmap1", 1),
    ("fmap1", 2),
    ("fmap1", 3),
    ("grad", 1),
    ("grad", 2),
]
OF_WARP_BLEND = [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), ("grad", 1)]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("which", "dimension"), OF_CORRELATION)
def test_correlation_follows_offsets_past_2_31(which, dimension, normalize):
    tensors = {
        "fmap0": torch.randn(1, 3, 3, 3),
        "fmap1": torch.randn(1, 3, 3, 3),
        "grad": torch.randn(1, 9, 3, 3),
    }
    tensors = {name: x.to(DEVICE) for name, x in tensors.items()}
    function = correlation("triton", 1, normalize)
    expected = of_correlation(function, [tensors["fmap0"], tensors["fmap1"]], tensors["grad"])
    tensors[which] = far(tensors[which], dimension)
    found = of_correlation(function, [tensors["fmap0"], tensors["fmap1"]], tensors["grad"])
    assert_same(found, expected)


@pytest.mark.parametrize(("which", "dimension"), OF_WARP_BLEND)
def test_warp_blend_follows_offsets_past_2_31(which, dimension):
    tensors = [torch.randn(1, C, 3, 3).to(DEVICE) for C in (3, 3, 2, 2, 1, 1)]
    grad = torch.randn(1, 3, 3, 3).to(DEVICE)
    expected = of_warp(warp("warp_blend", "triton"), tensors, grad)
    if which == "grad":
        grad = far(grad, dimension)
    else:
        tensors[which] = far(tensors[which], dimension)
    assert_same(of_warp(warp("warp_blend", "triton"), tensors, grad), expected)


# -- elements --------------------------------------------------------------------------------------

WARPED = [((1, 4, 23200, 23200), "contiguous"), ((1, 64, 5800, 5800), "channels_last")]


def furthest(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, channel by channel: all at once would take as much memory again."""
    return max((a - b).abs().max().item() for a, b in zip(found[0], expected[0], strict=True))


def image_gradient(shape: tuple, layout: str) -> None:
    """The gradient of an image that is warped by nothing is the gradient of the result."""
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    image = torch.zeros(shape, dtype=torch.float16, device=DEVICE).contiguous(memory_format=memory)
    grad = torch.randn(1, shape[1], 1, 1).to(DEVICE, torch.float16).expand(shape)  # of no size
    flow = torch.zeros(1, 2, *shape[2:], device=DEVICE)
    backward = torch.ops.lift_triton.warp_backward
    dimage, _ = backward(grad, image, flow, 0b01)
    assert furthest(dimage, grad) <= 2**-8


@pytest.mark.parametrize(("shape", "layout"), WARPED, ids=str)
def test_the_gradient_of_an_image_of_more_than_2_31_elements(shape, layout):
    elements = shape[1] * shape[2] * shape[3]
    assert elements > PAST
    needs_gpu_memory(elements * (2 + 2 + 4) + 16 * elements // shape[1] + 2 * MARGIN)
    image_gradient(shape, layout)


@pytest.mark.parametrize(("shape", "layout"), WARPED, ids=str)
def test_fixed_point_of_more_than_2_31_elements(shape, layout, deterministic):
    elements = shape[1] * shape[2] * shape[3]
    needs_gpu_memory(elements * (2 + 2 + 8) + 16 * elements // shape[1] + 2 * MARGIN)
    image_gradient(shape, layout)


SAMPLED = [((1, 3, 26800, 26800), "contiguous"), ((1, 64, 5800, 5800), "channels_last")]


@pytest.mark.skipif(cuda.unsupported_reason() is not None, reason=str(cuda.unsupported_reason()))
@pytest.mark.parametrize(("shape", "layout"), SAMPLED, ids=str)
def test_grid_sample_sums_in_fixed_point_past_2_31_elements(shape, layout):
    elements = shape[1] * shape[2] * shape[3]
    assert elements > PAST
    needs_gpu_memory(elements * 16 + 2 * MARGIN)  # as much as PyTorch takes
    grid_sample_gradient(shape, layout, "cuda")


def grid_sample_gradient(shape: tuple, layout: str, backend: str) -> None:
    """A few locations, some of which read the last pixels, against PyTorch's gradient."""
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    input = torch.zeros(shape, dtype=torch.float16, device=DEVICE).contiguous(memory_format=memory)
    grid = (torch.rand(1, 9, 40, 2) * 2 - 1).to(DEVICE)
    grid[:, :4, :20] = 1  # the last pixel, again and again
    grad = torch.randn(1, shape[1], 9, 40).to(DEVICE, torch.float16)
    leaf = input.requires_grad_()

    def gradient(function, deterministic: bool) -> torch.Tensor:
        torch.use_deterministic_algorithms(deterministic)
        try:
            return torch.autograd.grad(function(leaf, grid), leaf, grad)[0]
        finally:
            torch.use_deterministic_algorithms(False)

    how = ("bilinear", "border", True)
    found = gradient(lambda x, grid: kernels.grid_sample(x, grid, *how, backend=backend), True)
    expected = gradient(lambda x, grid: F.grid_sample(x.float(), grid, *how), False)
    assert furthest(found, expected) <= 2**-5  # the last pixel's sums are below 64
    assert found[0, :, -1, -1].abs().max() > 1
