"""`grid_sample` is F.grid_sample, with half inputs sampled at float32 places."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from lift import kernels
from lift.kernels import grid_sample
from lift.kernels.ops.grid_sample import reference

MODES = list(
    itertools.product(("bilinear", "nearest"), ("zeros", "border", "reflection"), (True, False))
)


@pytest.mark.parametrize(("mode", "padding_mode", "align_corners"), MODES)
def test_it_is_pytorchs(mode, padding_mode, align_corners):
    results = []
    for sample in (grid_sample, F.grid_sample):
        torch.manual_seed(1)
        leaves = [
            torch.randn(2, 3, 5, 6).requires_grad_(),
            (torch.rand(2, 4, 7, 2) * 3 - 1.5).requires_grad_(),
        ]
        out = sample(*leaves, mode, padding_mode, align_corners)
        results.append((out, *torch.autograd.grad(out.sin().sum(), leaves)))
    (out, *gradients), (expected, *exact) = results
    assert torch.equal(out, expected)
    torch.testing.assert_close(gradients, exact)  # the order of sums is the backend's own


def test_defaults_are_pytorchs():
    input, grid = torch.randn(1, 2, 5, 6), torch.rand(1, 4, 7, 2) * 3 - 1.5
    assert torch.equal(grid_sample(input, grid), F.grid_sample(input, grid, align_corners=False))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_take_a_float32_grid(dtype):
    input, grid = torch.randn(1, 2, 5, 6).to(dtype), torch.rand(1, 4, 7, 2) * 2 - 1
    out = grid_sample(input, grid, align_corners=True)
    assert torch.equal(out, F.grid_sample(input.float(), grid, align_corners=True).to(dtype))
    assert grid_sample(input, grid.to(dtype)).dtype == dtype


@pytest.mark.parametrize("padding_mode", ["border", "reflection"])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_numbers_that_are_not_finite_stay_inside_the_input(padding_mode, align_corners, value):
    input = torch.randn(1, 2, 5, 6).requires_grad_()
    grid = torch.zeros(1, 4, 7, 2)
    grid[0, 1, :, 0] = grid[0, 2, :, 1] = value
    grid.requires_grad_()
    out = grid_sample(input, grid, "bilinear", padding_mode, align_corners)
    out.square().sum().backward()
    assert out.isfinite().all() and input.grad.isfinite().all() and grid.grad.isfinite().all()
    assert out.abs().max() <= input.abs().max()
    if value != value:
        corner = grid_sample(
            input, torch.tensor([[[[-1.0, 0.0]]]]), "bilinear", padding_mode, align_corners
        )
        assert torch.equal(out[0, :, 1, 0], corner[0, :, 0, 0])


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_on_a_gpu_the_value_is_pytorchs_in_one_pass(monkeypatch, padding_mode, deterministic):
    """With deterministic sums too: PyTorch lacks but the gradient."""
    given = []
    monkeypatch.setattr(
        reference.F,
        "grid_sample",
        lambda input, grid, *how: given.append(grid) or input.new_empty((1, 2, 4, 7)),
    )
    torch.use_deterministic_algorithms(deterministic)
    try:
        with FakeTensorMode():
            input, grid = (
                torch.empty(1, 2, 5, 6, device="cuda"),
                torch.empty(1, 4, 7, 2, device="cuda"),
            )
            reference.grid_sample_value(input, grid, "bilinear", padding_mode, True)
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(given) == 1 and given[0] is grid


WRONG = [
    (
        {"grid": torch.zeros(2, 4, 7, 3)},
        ValueError,
        r"grid must be \(2, 4, 7, 2\).*got \(2, 4, 7, 3\)",
    ),
    (
        {"grid": torch.zeros(1, 4, 7, 2)},
        ValueError,
        r"grid must be \(2, 4, 7, 2\).*got \(1, 4, 7, 2\)",
    ),
    (
        {"grid": torch.zeros(2, 4, 7, 2, dtype=torch.float64)},
        TypeError,
        "grid must be torch.float32.*got torch.float64",
    ),
    ({"grid": None}, TypeError, "grid must be a tensor, got NoneType"),
    (
        {"input": torch.zeros(3, 5, 6)},
        ValueError,
        r"input must be \(B, C, H, W\), got \(3, 5, 6\)",
    ),
    (
        {"mode": "cubic"},
        ValueError,
        "mode must be one of bilinear, nearest, bicubic, got 'cubic'",
    ),
    (
        {"padding_mode": "wrap"},
        ValueError,
        "padding_mode must be one of zeros, border, reflection, got 'wrap'",
    ),
]


@pytest.mark.parametrize(("change", "error", "words"), WRONG, ids=[w[2][:24] for w in WRONG])
def test_wrong_arguments_are_named(change, error, words):
    with pytest.raises(error, match=words):
        grid_sample(**{"input": torch.zeros(2, 3, 5, 6), "grid": torch.zeros(2, 4, 7, 2)} | change)


# -- calls that go on to PyTorch -------------------------------------------------------------------

#    input, grid, mode
VOLUME = (2, 3, 4, 5, 6), (2, 2, 3, 4, 3), "bilinear"
PASSED_ON = {
    "volume": VOLUME,
    "nearest volume": (*VOLUME[:2], "nearest"),
    "bicubic": ((2, 3, 5, 6), (2, 4, 7, 2), "bicubic"),
}
passed_on = pytest.mark.parametrize("case", PASSED_ON)


def made(case: str, dtype: torch.dtype = torch.float32) -> tuple:
    torch.manual_seed(1)
    shape, places, mode = PASSED_ON[case]
    grid = torch.rand(places, dtype=dtype) * 3 - 1.5
    return torch.randn(shape, dtype=dtype).requires_grad_(), grid.requires_grad_(), mode


@passed_on
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [True, False])
def test_volumes_and_bicubic_are_pytorchs_own(case, padding_mode, align_corners):
    results = []
    for sample in (grid_sample, F.grid_sample):
        *leaves, mode = made(case)
        out = sample(*leaves, mode, padding_mode, align_corners)
        results.append((out, *torch.autograd.grad(out.sin().sum(), leaves)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@passed_on
def test_calls_for_pytorch_say_so(case):
    arguments = made(case)
    words = "mode 'bicubic'" if case == "bicubic" else "5 dimensions"
    reasons = kernels.unsupported_reasons("grid_sample", *arguments)
    assert reasons.pop("reference") is None
    assert reasons and all(words in reason for reason in reasons.values())
    assert kernels.selected_backend("grid_sample", *arguments) == "reference"
    with pytest.raises(RuntimeError, match=words):
        grid_sample(*arguments, backend="fused")
    with kernels.use("fused"), pytest.raises(RuntimeError, match=words):
        grid_sample(*arguments)
    with pytest.raises(ValueError, match="backend must be one of"):
        grid_sample(*arguments, backend="nonsense")


@passed_on
def test_autocast_and_wrong_arguments_do_what_pytorch_does(case):
    input, grid, mode = made(case)
    with torch.autocast("cpu", torch.bfloat16):
        found = grid_sample(input.bfloat16(), grid, mode)
        expected = F.grid_sample(input.bfloat16(), grid, mode, align_corners=False)
    assert found.dtype == expected.dtype and torch.equal(found, expected)
    for wrong in (
        (input, grid.double(), mode),
        (input, grid[..., :1], mode),
        (input, grid[:1], mode),
        (input, grid, mode, "wrap"),
        (input[:, :, :0], grid, mode),
    ):
        with pytest.raises((RuntimeError, ValueError)) as expected:
            F.grid_sample(*wrong, align_corners=False)
        with pytest.raises(expected.type) as found:
            grid_sample(*wrong, align_corners=False)
        assert str(found.value) == str(expected.value)


@passed_on
def test_calls_for_pytorch_can_be_traced_and_batched(case):
    input, grid, mode = made(case)
    expected = F.grid_sample(input, grid, mode, align_corners=True)

    def sample(input, grid):
        return grid_sample(input, grid, mode, align_corners=True)

    torch._dynamo.reset()
    compiled = torch.compile(sample, backend="eager", fullgraph=True)
    assert torch.equal(compiled(input, grid), expected)
    assert sample(input.to("meta"), grid.to("meta")).shape == expected.shape
    several = torch.func.vmap(sample)(torch.stack([input] * 2), torch.stack([grid] * 2))
    torch.testing.assert_close(several, torch.stack([expected] * 2))
