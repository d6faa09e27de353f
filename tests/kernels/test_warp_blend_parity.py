"""The fused kernels of `warp` and `warp_blend` against the reference, over the matrix of inputs."""

import functools
import math

import pytest
import torch
from functorch.compile import make_boxed_func
from hypothesis import given
from hypothesis import strategies as st
from torch._dynamo.backends.common import aot_autograd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lift import kernels
from lift.kernels.ops.warp_blend import op
from tests.support.parity import FLOWS, LAYOUTS, forms, poison
from tests.support.warp_cases import (
    DTYPES,
    NAMES,
    PLAIN,
    PUBLIC,
    assert_parity,
    device_of,
    fused,
    make,
    results,
    towards,
)

pytestmark = pytest.mark.native

SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 1, 9),
    (1, 4, 6, 1),
    (1, 3, 7, 131),
    (0, 3, 4, 5),
    (2, 3, 0, 5),
    (2, 3, 4, 0),
]
MATRIX = sorted(
    {  # each axis is varied against a few of the others
        *((dtype, layout, (2, 3, 5, 7), "random") for dtype, layout in forms(DTYPES)),
        *(
            ("float32", layout, shape, "random")
            for layout in ("contiguous", "channels_last")
            for shape in SHAPES
        ),
        *(
            ("float32", layout, (1, C, 2, 3), "random")
            for layout, C in (("contiguous", 9), ("channels_last", 64), ("channels_last", 130))
        ),
        *(
            (dtype, layout, (2, 4, 6, 9), flow)
            for flow in FLOWS
            for dtype, layout in (("float32", "contiguous"), ("bfloat16", "channels_last"))
        ),
        *(
            (dtype, "contiguous", (1, 1, 2, 300), "far") for dtype in DTYPES
        ),  # flow beyond any block of pixels
    },
    key=str,
)

operations = pytest.mark.parametrize("operation", PUBLIC)
backends = pytest.mark.parametrize("backend", ["triton", "cpp"])


# -- the matrix ------------------------------------------------------------------------------------


@pytest.mark.slow
@operations
@backends
@pytest.mark.parametrize("case", MATRIX, ids=lambda c: "-".join(map(str, c)))
def test_values_and_gradients(operation, backend, case, monkeypatch):
    inputs = make(operation, backend, case)
    poison(monkeypatch)
    found = results(fused(operation, backend), inputs)
    monkeypatch.undo()
    assert_parity(operation, found, inputs)


@operations
@backends
@pytest.mark.parametrize("turn", range(3))
def test_every_tensor_may_have_a_layout_of_its_own(operation, backend, turn):
    inputs, layouts = make(operation, backend), list(LAYOUTS.values())
    inputs = [layouts[(turn + i) % len(layouts)](x) for i, x in enumerate(inputs)]
    grad = layouts[(turn + 2) % len(layouts)](towards(inputs[0]))
    assert_parity(operation, results(fused(operation, backend), inputs, grad), inputs, grad)


@operations
@backends
def test_the_gradient_of_a_sum_has_strides_of_zero(operation, backend):
    inputs = make(operation, backend)
    grad = inputs[0].new_ones(()).expand(inputs[0].shape)
    assert_parity(operation, results(fused(operation, backend), inputs, grad), inputs, grad)


@pytest.mark.slow
@operations
@backends
@given(data=st.data())
def test_any_shape_in_any_layout(operation, backend, data):
    sizes = st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(0, 9), st.integers(0, 9))
    dtype, shape = data.draw(st.sampled_from(["float32", "float16", "bfloat16"])), data.draw(sizes)
    torch.manual_seed(data.draw(st.integers(0, 99)))
    inputs = make(
        operation,
        backend,
        (dtype, "contiguous", shape, data.draw(st.sampled_from(list(FLOWS)))),
    )
    inputs = [LAYOUTS[data.draw(st.sampled_from(list(LAYOUTS)))](x) for x in inputs]
    assert_parity(operation, results(fused(operation, backend), inputs), inputs)


# -- which gradients are computed ------------------------------------------------------------------

WRT = [
    ("warp", {"image"}),
    ("warp", {"flow"}),
    *(("warp_blend", {name}) for name in NAMES["warp_blend"]),
    ("warp_blend", {"image0", "image1"}),
    ("warp_blend", {"flow0", "flow1", "occ0", "occ1"}),
    ("warp_blend", {"image1", "flow0"}),
]


@functools.cache
def with_all_gradients(operation: str, backend: str, layout: str) -> tuple[list, dict]:
    """Inputs, and the result with every gradient."""
    inputs = make(operation, backend, ("float32", layout, (1, 4, 4, 5), "random"))
    return inputs, results(fused(operation, backend), inputs)


@pytest.mark.slow
@backends
@pytest.mark.parametrize(
    ("operation", "wrt"), WRT, ids=lambda a: a if isinstance(a, str) else "+".join(sorted(a))
)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_a_gradient_is_the_same_whatever_else_is_computed(operation, backend, wrt, layout):
    inputs, everything = with_all_gradients(operation, backend, layout)
    some = results(fused(operation, backend), inputs, wrt=wrt)
    assert some.keys() == {"result"} | {f"gradient of {name}" for name in wrt}
    torch.testing.assert_close(some, {name: everything[name] for name in some}, atol=1e-6, rtol=0)


@backends
def test_gradients_that_are_not_needed_are_not_computed(backend):
    inputs = make("warp_blend", backend)
    backward = getattr(torch.ops, f"lift_{backend}").warp_blend_backward
    gradients = backward(torch.ones_like(inputs[0]), *inputs, 0b100110)
    assert [tuple(g.shape) for g in gradients] == [
        (0,),
        tuple(inputs[1].shape),
        tuple(inputs[2].shape),
        (0,),
        (0,),
        tuple(inputs[5].shape),
    ]


@backends
def test_one_tensor_may_be_two_arguments(backend):
    image, _, flow, _, occ, _ = make("warp_blend", backend)
    found = {}
    for name in (backend, "reference"):
        leaves = [x.detach().requires_grad_() for x in (image, flow, occ)]
        a, b, c = leaves
        out = kernels.warp_blend(a, a, b, b, c, c, backend=name)
        found[name] = (out, *torch.autograd.grad(out, leaves, towards(out)))
    torch.testing.assert_close(found[backend], found["reference"], atol=2e-5, rtol=0)


@operations
@backends
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_exactly_the_inputs_are_saved(operation, backend, dtype):
    inputs = [
        x.detach().requires_grad_()
        for x in make(operation, backend, (dtype, "contiguous", (2, 5, 5, 7), "random"))
    ]
    saved = {}

    def keep(x):
        saved[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        fused(operation, backend)(*inputs)
    assert sum(saved.values()) == sum(x.numel() * x.element_size() for x in inputs)
    assert saved.keys() == {x.untyped_storage().data_ptr() for x in inputs}


@operations
@backends
def test_second_derivatives_are_the_reference_s(operation, backend):
    inputs = make(operation, backend, ("float32", "contiguous", (1, 2, 4, 5), "random"))
    found = []
    for name in (backend, "reference"):
        leaves = [x.detach().requires_grad_() for x in inputs]
        out = PUBLIC[operation](*leaves, backend=name)
        first = torch.autograd.grad(out, leaves, towards(out), create_graph=True)
        found.append((*first, *torch.autograd.grad(sum(g.square().sum() for g in first), leaves)))
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)


# -- as an operation of PyTorch --------------------------------------------------------------------


@pytest.mark.slow
@backends
@pytest.mark.parametrize(
    ("operation", "layout"), [("warp", "channels_last"), ("warp_blend", "contiguous")]
)
def test_opcheck(operation, backend, layout):
    inputs = make(operation, backend, ("float32", layout, (2, 3, 4, 5), "half"))
    namespace = getattr(torch.ops, f"lift_{backend}")
    torch.library.opcheck(
        getattr(namespace, operation).default, [x.detach().requires_grad_() for x in inputs]
    )
    needs = 0b11 if operation == "warp" else 0b101101
    torch.library.opcheck(
        getattr(namespace, f"{operation}_backward").default,
        (torch.ones_like(inputs[0]), *inputs, needs),
    )


@pytest.mark.slow
@operations
@backends
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_compiled_without_a_break_it_is_the_same(operation, backend, dynamic):
    torch._dynamo.reset()
    ran = []

    def note(graph, examples):  # the names of the operations that a graph runs
        ran.append({str(node.target) for node in graph.graph.nodes if "lift_" in str(node.target)})
        return make_boxed_func(graph)

    function = fused(operation, backend)
    compiled = torch.compile(
        function,
        backend=aot_autograd(fw_compiler=note, bw_compiler=note),
        fullgraph=True,
        dynamic=dynamic,
    )
    for shape in ((2, 3, 4, 5), (2, 3, 6, 7)) if dynamic else ((2, 3, 4, 5),):
        for layout in ("contiguous", "channels_last"):
            inputs = make(operation, backend, ("float32", layout, shape, "half"))
            torch.testing.assert_close(
                results(compiled, inputs), results(function, inputs), atol=1e-6, rtol=0
            )
    name = f"lift_{backend}.{operation}"
    assert ran[:2] == [
        {f"{name}.default"},
        {f"{name}_backward.default"},
    ]  # the fused backward, not the reference's


@operations
@backends
def test_under_autocast_coordinates_stay_float32(operation, backend):
    inputs = make(operation, backend, ("bfloat16", "contiguous", (1, 3, 4, 5), "half"))
    device = device_of(backend)
    low = [x.bfloat16().requires_grad_() for x in inputs]  # half steps: bfloat16 holds them exactly
    with torch.autocast(device, torch.bfloat16):
        out = fused(operation, backend)(*low)
        full = fused(operation, backend)(*[x.float() for x in inputs])
    assert out.dtype == torch.bfloat16 and full.dtype == torch.float32
    assert torch.equal(out, fused(operation, backend)(*inputs))
    gradients = torch.autograd.grad(out, low, towards(out))
    expected = list(results(fused(operation, backend), inputs).values())[1:]
    torch.testing.assert_close(
        gradients, tuple(g.bfloat16() for g in expected), atol=1e-6, rtol=1e-2
    )


# -- sums ------------------------------------------------------------------------------------------


@pytest.mark.slow
@backends
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_thousand_gradients_meet_in_one_pixel(backend, dtype, deterministic, monkeypatch):
    """Summed in half precision, they would stop to grow at 256 or 2048."""
    image, flow = make("warp", backend, (dtype, "contiguous", (1, 1, 32, 40), "zero"))
    flow = flow + FLOWS["collapse"](1, 32, 40).round().to(flow.device)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: deterministic)
    gradient = results(fused("warp", backend), (image, flow), torch.ones_like(image))[
        "gradient of image"
    ]
    assert gradient.max() == gradient.sum() == 32 * 40


@operations
@backends
@pytest.mark.parametrize(
    "case",
    [PLAIN, ("bfloat16", "channels_last", (2, 4, 6, 9), "collapse")],
    ids=["float32", "bfloat16"],
)
def test_deterministic_gradients_are_right(operation, backend, case, deterministic):
    inputs = make(operation, backend, case)
    assert_parity(operation, results(fused(operation, backend), inputs), inputs)


@pytest.mark.slow
@backends
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_deterministic_sums_depend_on_no_order(backend, size, deterministic):
    image, flow = make("warp", backend, ("float32", "contiguous", (1, 2, 12, 20), "zero"))
    flow = flow + FLOWS["collapse"](1, 12, 20).round().to(flow.device)
    grad = size * torch.randn(1, 2, 240).exp().to(image.device)
    sums = []
    for order in (
        torch.arange(240),
        torch.arange(239, -1, -1),
        torch.randperm(240),
        grad.cpu()[0, 0].argsort(),
    ):
        given = grad[:, :, order.to(grad.device)].view(image.shape)
        sums.append(results(fused("warp", backend), (image, flow), given)["gradient of image"])
    torch.testing.assert_close(sums[0].sum((2, 3)), grad.double().sum(2).float())
    if (
        backend == "triton"
    ):  # elsewhere the order of the pixels may decide, but it is always the same
        assert all(torch.equal(x, sums[0]) for x in sums)


class Made(TorchDispatchMode):
    """Remembers the tensors that PyTorch makes."""

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        made = operation(*arguments, **(keywords or {}))
        self.tensors = [
            *getattr(self, "tensors", []),
            *(x for x in tree_leaves(made) if isinstance(x, torch.Tensor)),
        ]
        return made


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_deterministic_sums_take_but_one_more_tensor(dtype, deterministic, monkeypatch):
    """Eight bytes an element, read once and written once: no product of doubles on the way to the
    gradient.
    """
    image, flow = make("warp", "triton", (dtype, "contiguous", (1, 8, 12, 20), "zero"))
    grad = torch.ones_like(image)
    monkeypatch.setattr(
        op.triton, "launch_again", lambda *arguments: None
    )  # the interpreter makes tensors of its own
    with Made() as made:
        op.triton.warp_backward(grad, image, flow, 1)
    large = {x.data_ptr(): x.dtype for x in made.tensors if x.numel() == image.numel()}
    assert sorted(map(str, large.values())) == sorted([str(torch.int64), str(image.dtype)])


@backends
@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.filterwarnings(
    "ignore:invalid value encountered:RuntimeWarning"
)  # numpy's, in the interpreter
def test_a_gradient_that_is_not_finite_shows(backend, bad, deterministic):
    inputs = make("warp", backend)
    grad = torch.ones_like(inputs[0])
    grad[0, 0, 2, 2] = bad
    assert not results(fused("warp", backend), inputs, grad)["gradient of image"].isfinite().all()


def test_no_gradient_at_all_is_no_gradient(deterministic):
    inputs = make("warp", "triton")
    assert all(
        (g == 0).all()
        for g in list(
            results(fused("warp", "triton"), inputs, torch.zeros_like(inputs[0])).values()
        )[1:]
    )


# -- offsets ---------------------------------------------------------------------------------------


@pytest.mark.slow
@operations
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
def test_64_bit_offsets_equal_32_bit(operation, layout):
    inputs = make(operation, "triton", ("float32", layout, (2, 4, 4, 5), "random"))
    found = []
    from lift.kernels.launch import force_int64_offsets  # needs Triton

    for forced in (False, True):
        with force_int64_offsets(forced):
            found.append(results(fused(operation, "triton"), inputs))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_64_bit_offsets_are_taken_where_an_image_passes_31_bits():
    if op.triton is None:
        pytest.skip("Triton cannot be imported")
    narrow, wide = (
        torch.empty(9, 3, 20000, 30000, device="meta"),
        torch.empty(1, 4, 20000, 30000, device="meta"),
    )
    span = op.triton.image_span
    assert span(None) == 0 and span(narrow) < 2**31 <= span(wide)
    assert span(torch.empty_strided((1, 2, 4, 6), (0, 2**31, 6, 1), device="meta")) >= 2**31


@operations
def test_a_gradient_is_written_inside_its_memory_only(operation, monkeypatch):
    inputs = make(operation, "triton", ("float32", "contiguous", (2, 3, 4, 5), "outside"))
    buffers = []

    def zeros(gradient, dtype):
        B, C, H, W = gradient.shape
        buffers.append(torch.zeros(B + 2, C + 2, H + 2, W + 2, dtype=dtype, device=gradient.device))
        return buffers[-1][1:-1, 1:-1, 1:-1, 1:-1]

    monkeypatch.setattr(op.triton, "_zeros", zeros)
    results(fused(operation, "triton"), inputs)
    for buffer in buffers:
        inside = buffer[1:-1, 1:-1, 1:-1, 1:-1].clone()
        assert (inside != 0).any()
        buffer[1:-1, 1:-1, 1:-1, 1:-1] = 0
        assert (buffer == 0).all()
