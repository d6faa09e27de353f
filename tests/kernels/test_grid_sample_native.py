"""The CUDA gradients of grid_sample on a GPU: PyTorch's values, determinism, CUDA graphs."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels.ops.grid_sample import cuda
from lift.kernels.ops.grid_sample.reference import MODES, PADDING_MODES
from tests.support.parity import assert_close, assert_same_sums

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        cuda.unsupported_reason() is not None, reason=str(cuda.unsupported_reason())
    ),
]

HOW = list(itertools.product(MODES, PADDING_MODES, (True, False)))


def make(
    C: int, dtype: torch.dtype, last: bool, reach: float = 1.5
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """input, grid and the gradient of the result."""
    layout = torch.channels_last if last else torch.contiguous_format
    input, grad = (
        torch.randn(2, C, *size).to("cuda", dtype).contiguous(memory_format=layout)
        for size in ((37, 70), (45, 90))
    )
    return input, (torch.rand(2, 45, 90, 2) * 2 - 1).mul(reach).cuda(), grad


def gradients(input, grid, grad, how, backend="cuda"):
    leaves = [input.detach().requires_grad_(), grid.detach().requires_grad_()]
    return torch.autograd.grad(kernels.grid_sample(*leaves, *how, backend=backend), leaves, grad)


@pytest.mark.parametrize("how", HOW, ids=lambda how: "-".join(map(str, how)))
@pytest.mark.parametrize("dtype", cuda.DTYPES, ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_gradients_are_pytorchs(how, dtype, last, maybe_deterministic):
    for C in (3, 9, 32):
        input, grid, grad = make(C, dtype, last)
        found = gradients(input, grid, grad, how)
        leaves = [input.detach().requires_grad_(), grid.detach().requires_grad_()]
        torch.use_deterministic_algorithms(False)  # PyTorch's own gradient raises there
        out = F.grid_sample(leaves[0].float(), leaves[1], *how)
        expected = torch.autograd.grad(out, leaves, grad.float())
        torch.use_deterministic_algorithms(maybe_deterministic)
        for name, ours, theirs in zip(("dinput", "dgrid"), found, expected, strict=True):
            assert_close(name, ours, theirs.to(ours.dtype), theirs.double(), torch.float32)


@pytest.mark.parametrize("reach", [0.0, 1.0, 20.0])
@pytest.mark.parametrize("C", [3, 64])
def test_deterministic_gradients_are_the_same_over_20_runs(C, reach):
    torch.use_deterministic_algorithms(True)
    try:
        input, grid, grad = make(C, torch.float32, C == 64, reach)
        first, *others = (
            gradients(input, grid, grad, ("bilinear", "border", True)) for _ in range(20)
        )
        assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("padding", ["border", "reflection"])
def test_a_nan_reads_the_first_pixel(padding, maybe_deterministic):
    input, grid, grad = make(8, torch.float32, True)
    grid[:, ::3, :, 0] = float("nan")
    as_first = grid.nan_to_num(nan=-1.0)
    for align in (True, False):
        out, expected = (
            kernels.grid_sample(input, places, "bilinear", padding, align, backend="cuda")
            for places in (grid, as_first)
        )
        torch.testing.assert_close(out, expected)
        found, wanted = (
            gradients(input, places, grad, ("bilinear", padding, align))
            for places in (grid, as_first)
        )
        torch.testing.assert_close(found[0], wanted[0], atol=1e-4, rtol=1e-4)
        assert (found[1][:, ::3, :, 0] == 0).all() and found[1].isfinite().all()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_tensors_on_another_device_than_the_current(maybe_deterministic):
    input, grid, grad = make(16, torch.float32, True)
    expected = gradients(input, grid, grad, ("bilinear", "border", True))
    found = gradients(*(x.to("cuda:1") for x in (input, grid, grad)), ("bilinear", "border", True))
    assert torch.cuda.current_device() == 0
    torch.testing.assert_close(
        [x.cpu() for x in found], [x.cpu() for x in expected], atol=1e-4, rtol=1e-4
    )


def test_they_run_on_the_stream_in_force(maybe_deterministic):
    """Behind long work on another stream; on the default one they would read what is not written
    yet.
    """
    input, grid, grad = make(16, torch.float32, True)
    expected = gradients(input, grid, grad, ("bilinear", "border", True))
    late = torch.zeros_like(grad)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(50_000_000)
        late.copy_(grad)
        found = torch.ops.lift_cuda.grid_sample_backward(
            late, input, grid, 0, 1, True, 3, maybe_deterministic
        )
    torch.cuda.synchronize()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_graph_captures_them(maybe_deterministic):
    input, grid, grad = make(16, torch.float32, True)
    arguments = (grad, input, grid, 0, 1, True, 3, maybe_deterministic)
    expected = torch.ops.lift_cuda.grid_sample_backward(*arguments)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = torch.ops.lift_cuda.grid_sample_backward(*arguments)
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(found[1], expected[1])  # each location sums its channels in order
    sizes = torch.ops.lift_cuda.grid_sample_backward(grad.abs(), *arguments[1:])[0]
    addends = 1 if maybe_deterministic else most_addends(input, grid)
    assert_same_sums("dinput", found[0], expected[0], sizes, addends)


def most_addends(input, grid) -> int:
    """How many locations read one pixel at most, with corners aligned and the border repeated."""
    (B, _, H, W), size = input.shape, torch.tensor([input.shape[3] - 1, input.shape[2] - 1])
    x, y = ((grid.cpu() + 1) / 2 * size).clamp(min=0).minimum(size).long().unbind(-1)
    places = (torch.arange(B).view(B, 1, 1) * H + y) * W + x
    return 4 * int(places.flatten().bincount().max())  # as one of four corners
