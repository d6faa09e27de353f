"""The Triton kernels of `correlation` follow offsets past 2^31 that come of strides below it.

In Triton's interpreter, with memory that is hardly touched; `test_correlation_gpu.py` fills it.
"""

import pytest
import torch

from lift.kernels.ops.correlation import op
from tests.support.correlation_cases import INTERPRETED, NAMES, fused, results
from tests.support.far_memory import far, reserved
from tests.support.parity import LAYOUTS

launch = pytest.importorskip("lift.kernels.launch")  # needs Triton
pytestmark = pytest.mark.skipif(not INTERPRETED, reason="needs Triton's interpreter")

DIMENSIONS = {"C": 1, "H": 2, "W": 3}
FAR = [*(("contiguous", name) for name in "CHW"), *(("channels_last", name) for name in "HW")]


def maps(layout: str) -> list[torch.Tensor]:
    return [LAYOUTS[layout](torch.randn(1, 3, 3, 3)) for _ in NAMES]


def backward(grad, fmap0, fmap1, radius: int) -> tuple[torch.Tensor, ...]:
    return torch.ops.lift_triton.correlation_backward(grad, fmap0, fmap1, radius, False, 0b11)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("layout", "dimension"), FAR)
def test_maps(layout, dimension, name):
    dense = dict(zip(NAMES, maps(layout), strict=True))
    distant = dense | {name: far(dense[name], DIMENSIONS[dimension])}
    expected, found = (results(fused("triton", 1, True), x.values()) for x in (dense, distant))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_the_gradient_of_the_result(dimension):
    fmap0, fmap1 = maps("contiguous")
    grad = torch.randn(1, 9, 3, 3)
    distant = far(grad, DIMENSIONS[dimension])
    expected, found = (backward(given, fmap0, fmap1, 1) for given in (grad, distant))
    assert all(map(torch.equal, found, expected))


@pytest.mark.slow
def test_the_gradient_of_169_displacements():
    """Each plane begins 25 million elements after the one before, as for maps of 5000 x 5000."""
    fmap0, fmap1 = torch.randn(2, 1, 4, 1, 9)
    grad = torch.randn(1, 169, 1, 9)
    distant = reserved(grad.shape, (0, 25_000_000, 9, 1), grad.dtype).copy_(grad)
    expected, found = (backward(given, fmap0, fmap1, 6) for given in (grad, distant))
    assert all(map(torch.equal, found, expected))


@pytest.mark.slow
@pytest.mark.parametrize("transposed", [False, True], ids=NAMES)
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_the_gradient_of_a_map(dimension, transposed):
    fmap0, fmap1 = maps("contiguous")
    grad = torch.randn(1, 9, 3, 3)
    distant = far(torch.zeros_like(fmap0), DIMENSIONS[dimension])
    fmap, other = (fmap1, fmap0) if transposed else (fmap0, fmap1)
    arguments = op.triton.backward_arguments(distant, fmap, other, grad, None, 1, transposed)
    launch.launch(op.triton.correlation_bwd_kernel, *arguments)
    assert torch.equal(distant, backward(grad, fmap0, fmap1, 1)[transposed])


@pytest.mark.slow
def test_the_planes_of_the_result():
    """The first two rows of 1.6 million: their 169 planes are all that is written."""
    shape = (1, 2, 1_600_000, 8)
    strides = torch.empty(shape, device="meta").stride()
    distant = [reserved(shape, strides, torch.float32) for _ in NAMES]
    for x in distant:
        x[:, :, :8].normal_()
    out = torch.empty(1, 169, *shape[2:], device="meta")
    out = reserved(out.shape, out.stride(), out.dtype)
    programs, arguments = op.triton.forward_arguments(out, *distant, 6, False)
    assert programs == shape[2] and 168 * out.stride(1) > 2**31
    launch.launch(op.triton.correlation_fwd_kernel, 2, arguments)
    expected = fused("triton", 6, False)(*[x[:, :, :8].contiguous() for x in distant])
    assert torch.equal(out[:, :, :2], expected[:, :, :2]) and not out[:, :, 2:8].any()


def test_norms_of_one_location_that_is_repeated_2_32_times():
    """Strides of 0 keep the map's own offsets small; those of its norms are not."""
    fmap = torch.empty(1, 4, 1, 1, device="meta").expand(1, 4, 2**16, 2**16)
    norm = torch.empty(1, 2**32, device="meta")
    _, arguments = op.triton.inverse_norms_arguments(norm, norm, fmap, fmap)
    assert arguments["INT64_OFFSETS"]
