"""The C++ gradients of grid_sample are PyTorch's, over the matrix of inputs."""

import itertools
import math
import sys
import types
import unittest

import pytest
import torch
from functorch.compile import make_boxed_func
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.backends.common import aot_autograd

from lift import kernels
from lift.kernels import extension
from lift.kernels.ops.grid_sample.reference import (
    MODES,
    PADDING_MODES,
    grid_sample_gather,
    grid_sample_reference,
)
from tests.support.parity import LAYOUTS, assert_close, assert_right_as_a_whole

pytestmark = pytest.mark.skipif(
    bool(extension.unsupported_reason()), reason=str(extension.unsupported_reason())
)

HOW = list(itertools.product(MODES, PADDING_MODES, (True, False)))
DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


# -- cases -----------------------------------------------------------------------------------------


def _edges(shape: tuple) -> torch.Tensor:
    """Numbers at the borders, half a pixel beyond them, and a little to either side."""
    values = [
        sign * (1 + shift) for sign in (-1, 1) for shift in (0, 2.0**-12, -(2.0**-12), 0.125)
    ] + [0.0]
    return torch.tensor(values)[torch.randint(len(values), shape)]


def _smooth(shape: tuple) -> torch.Tensor:
    """The image a little turned and magnified: read along runs of pixels."""
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, shape[1]), torch.linspace(-1, 1, shape[2]), indexing="ij"
    )
    return torch.stack((0.9 * x + 0.05 * y, 0.95 * y - 0.03 * x), -1).expand(shape).contiguous()


GRIDS = {
    "inside": lambda shape: torch.rand(shape) * 2 - 1,
    "smooth": _smooth,
    "edges": _edges,
    "outside": lambda shape: torch.randn(shape) * 6,
    "point": lambda shape: torch.full(shape, 0.123),
    "nan": lambda shape: torch.where(torch.rand(shape) < 0.4, math.nan, 0.3),
    "infinite": lambda shape: torch.tensor([math.inf, -math.inf, 0.3])[torch.randint(3, shape)],
    "beyond integers": lambda shape: torch.tensor([2.0**31, -(2.0**31), 2.0**40, -3e38, 0.3])[
        torch.randint(5, shape)
    ],
}
WILD = ("nan", "infinite", "beyond integers")

#         B, C, H, W, h, w
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (2, 3, 5, 7, 4, 9),
    (1, 2, 1, 9, 3, 5),
    (1, 4, 6, 1, 7, 1),
    (2, 1, 9, 70, 3, 150),
    (1, 33, 4, 5, 6, 3),
    (1, 40, 12, 80, 10, 90),
    (2, 9, 3, 4, 70, 1),
    (0, 3, 4, 5, 2, 2),
    (2, 0, 4, 5, 2, 2),
    (2, 3, 4, 5, 0, 3),
    (2, 3, 4, 5, 3, 0),
]


def make(
    shape: tuple, dtype: str = "float32", profile: str = "inside"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """input, grid and the gradient of the result."""
    B, C, H, W, h, w = shape
    grid = GRIDS[profile]((B, h, w, 2))
    input, grad = (
        torch.randn(B, C, H, W).to(DTYPES[dtype]),
        torch.randn(B, C, h, w).to(DTYPES[dtype]),
    )
    return input, grid.double() if dtype == "float64" else grid, grad


def results(function, input, grid, grad, how, wrt=(True, True)) -> list[torch.Tensor]:
    """The value, and the gradients with respect to `wrt`."""
    leaves = [x.detach().requires_grad_(want) for x, want in zip((input, grid), wrt, strict=True)]
    out = function(*leaves, *how)
    return [
        out.detach(),
        *torch.autograd.grad(out, [leaf for leaf in leaves if leaf.requires_grad], grad),
    ]


def fused(input, grid, *how):
    return kernels.grid_sample(input, grid, *how, backend="cpp")


def assert_parity(input, grid, grad, how, profile="inside", found=None) -> None:
    found = results(fused, input, grid, grad, how) if found is None else found
    low = results(grid_sample_reference, input, grid, grad, how)
    exact = (
        low
        if profile in WILD
        else results(grid_sample_reference, input.double(), grid.double(), grad.double(), how)
    )
    for name, ours, theirs, truth in zip(
        ("out", "dinput", "dgrid"), found, low, exact, strict=True
    ):
        assert torch.equal(ours.isnan(), theirs.isnan()), name
        ours, theirs, truth = (
            ours.nan_to_num(),
            theirs.nan_to_num(),
            truth.nan_to_num().to(torch.float64),
        )
        assert_close(name, ours, theirs, truth, grid.dtype)
        if truth.numel() > 100 and profile not in WILD:
            assert_right_as_a_whole(name, ours, theirs, truth, grid.dtype)


# -- the matrix ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOW, ids=lambda how: "-".join(map(str, how)))
@pytest.mark.parametrize("profile", GRIDS)
def test_every_mode_on_every_grid(how, profile):
    for shape in ((2, 3, 5, 7, 4, 9), (1, 16, 6, 66, 5, 70)):
        for layout in ("contiguous", "channels_last"):
            input, grid, grad = make(shape, profile=profile)
            input = LAYOUTS[layout](input)
            if how[1] == "reflection" and profile in (
                "infinite",
                "beyond integers",
            ):  # where it lands is rounding's to say
                out, dinput, dgrid = results(fused, input, grid, grad, how)
                assert (
                    dinput.isfinite().all()
                    and dgrid.isfinite().all()
                    and out.abs().max() <= input.abs().max()
                )
            else:
                assert_parity(input, grid, grad, how, profile)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_dtype_in_every_layout(dtype, layout):
    for how in (
        ("bilinear", "zeros", False),
        ("bilinear", "border", True),
        ("nearest", "reflection", False),
    ):
        for C in (3, 20):
            input, grid, grad = make((2, C, 5, 7, 4, 6), dtype)
            assert_parity(
                LAYOUTS[layout](input), grid.mT.contiguous().mT, LAYOUTS[layout](grad), how
            )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape(shape):
    for layout in ("contiguous", "channels_last"):
        input, grid, grad = make(shape, profile="smooth")
        assert_parity(LAYOUTS[layout](input), grid, grad, ("bilinear", "zeros", False))


@pytest.mark.parametrize("wrt", [(True, False), (False, True)], ids=["input", "grid"])
@pytest.mark.parametrize("C", [3, 20])
def test_a_gradient_is_the_same_alone(wrt, C):
    input, grid, grad = make((2, C, 5, 7, 4, 6))
    how = ("bilinear", "border", True)
    whole, part = (
        results(fused, input, grid, grad, how),
        results(fused, input, grid, grad, how, wrt),
    )
    assert torch.equal(part[1], whole[1 if wrt[0] else 2])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(
        st.integers(1, 3),
        st.integers(1, 35),
        *[st.integers(1, 12)] * 2,
        st.integers(0, 9),
        st.integers(0, 140),
    ),
    how=st.sampled_from(HOW),
    layout=st.sampled_from(sorted(LAYOUTS)),
    profile=st.sampled_from(["inside", "smooth", "point", "outside"]),
)
def test_any_shape(shape, how, layout, profile):
    input, grid, grad = make(shape, profile=profile)
    assert_parity(LAYOUTS[layout](input), grid, grad, how, profile)


@pytest.mark.slow
def test_pytorchs_own_samples(monkeypatch):
    asserting = types.ModuleType(
        "expecttest"
    )  # PyTorch's test module imports it, for tests of its own
    asserting.TestCase = unittest.TestCase
    monkeypatch.setitem(sys.modules, "expecttest", sys.modules.get("expecttest", asserting))
    from torch.testing._internal.common_methods_invocations import op_db

    info = next(info for info in op_db if info.name == "nn.functional.grid_sample")
    tried = 0
    for sample in info.sample_inputs("cpu", torch.float32, requires_grad=False):
        how = [
            sample.kwargs.get("mode", "bilinear"),
            sample.kwargs.get("padding_mode", "zeros"),
            bool(sample.kwargs.get("align_corners")),
        ]
        if sample.input.ndim == 4 and how[0] in MODES:
            out = grid_sample_reference(sample.input, sample.args[0], *how)
            assert_parity(sample.input, sample.args[0], torch.randn_like(out), how)
            tried += 1
    assert tried >= 12


def test_what_is_not_written_shows():
    torch.use_deterministic_algorithms(
        True
    )  # PyTorch then fills new memory with NaN, that of C++ too
    try:
        for C, how in itertools.product((3, 20), HOW):
            assert all(
                x.isfinite().all()
                for x in results(fused, *make((2, C, 5, 7, 4, 70), profile="point"), how)
            )
    finally:
        torch.use_deterministic_algorithms(False)


# -- determinism -----------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["smooth", "outside", "point"])
@pytest.mark.parametrize(
    ("C", "layout"), [(3, "contiguous"), (24, "contiguous"), (24, "channels_last")]
)
def test_bits_do_not_depend_on_the_number_of_threads(profile, C, layout):
    input, grid, grad = make((1, C, 40, 80, 50, 90), profile=profile)
    how, threads = ("bilinear", "border", True), torch.get_num_threads()
    try:
        found = []
        for n in (1, 2, 3, 7):
            torch.set_num_threads(n)
            found += [results(fused, LAYOUTS[layout](input), grid, grad, how) for _ in range(5)]
    finally:
        torch.set_num_threads(threads)
    assert all(
        torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True)
    )


# -- as an operation of PyTorch --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW, ids=lambda how: "-".join(map(str, how)))
def test_gradients_are_right_once_and_twice(how):
    input, grid = (
        torch.randn(1, 2, 3, 4, dtype=torch.float64),
        torch.rand(1, 2, 3, 2, dtype=torch.float64) * 3 - 1.5,
    )
    leaves = (input.requires_grad_(), grid.requires_grad_(how[0] == "bilinear"))
    function = lambda *leaves: fused(*leaves, *how)  # noqa: E731
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


@pytest.mark.parametrize("how", HOW, ids=lambda how: "-".join(map(str, how)))
def test_the_definition_in_gathers_is_pytorchs(how):
    input, grid, grad = make((2, 3, 5, 7, 4, 9), "float64", "outside")

    def in_gathers(input, grid, *how):  # under nearest, grid would have no gradient
        return grid_sample_gather(input, grid, *how) + 0 * grid.sum()

    found, expected = (
        results(function, input, grid, grad, how)
        for function in (in_gathers, grid_sample_reference)
    )
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("C", [3, 20])
def test_opcheck(C):
    input, grid, grad = make((1, C, 4, 5, 3, 4))
    torch.library.opcheck(
        torch.ops.lift_cpp.grid_sample, (input.requires_grad_(), grid.requires_grad_(), 0, 1, True)
    )
    for needs, layout in (
        (0, "contiguous"),
        (1, "channels_last"),
        (2, "channels_last"),
        (3, "contiguous"),
    ):
        arguments = (grad, LAYOUTS[layout](input.detach()), grid.detach(), 0, 1, True, needs, False)
        torch.library.opcheck(
            torch.ops.lift_cpp.grid_sample_backward,
            arguments,
            test_utils=("test_schema", "test_faketensor"),
        )


def test_it_compiles_without_a_break():
    torch._dynamo.reset()
    compiler = aot_autograd(fw_compiler=lambda graph, _: make_boxed_func(graph.forward))
    compiled = torch.compile(
        lambda *a: fused(*a, "bilinear", "border", True), backend=compiler, fullgraph=True
    )
    input, grid, grad = make((1, 3, 4, 5, 3, 4))
    for ours, theirs in zip(
        results(lambda i, g: compiled(i, g), input, grid, grad, ()),
        results(fused, input, grid, grad, ("bilinear", "border", True)),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


def test_autocast_on_a_cpu_samples_in_float32():
    """As F.grid_sample does there."""
    input, grid, _ = make((1, 3, 4, 5, 3, 4), "bfloat16")
    with torch.autocast("cpu", torch.bfloat16):
        out = fused(input, grid.bfloat16(), "bilinear", "border", True)
    expected = fused(input.float(), grid.bfloat16().float(), "bilinear", "border", True)
    assert out.dtype == torch.float32 and torch.equal(out, expected)


def test_it_is_selected_on_the_cpu_by_default():
    input, grid, _ = make((1, 3, 4, 5, 3, 4))
    assert kernels.selected_backend("grid_sample", input, grid, "bilinear", "zeros", False) == "cpp"
    for wrong, reason in ((input.to("meta"), "meta"), (input[:, :, :0], "sides from 1")):
        reasons = kernels.unsupported_reasons(
            "grid_sample", wrong, grid, "bilinear", "zeros", False
        )
        assert reason in reasons["cpp"]
