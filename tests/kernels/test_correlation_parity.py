"""The fused kernels of `correlation` against the reference, over the matrix of inputs."""

import math

import pytest
import torch
from functorch.compile import make_boxed_func
from hypothesis import given
from hypothesis import strategies as st
from torch._dynamo.backends.common import aot_autograd

from lift import kernels
from lift.kernels import dispatch
from lift.kernels.ops.correlation import op
from tests.support.correlation_cases import (
    DTYPES,
    PLAIN,
    assert_parity,
    device_of,
    fused,
    make,
    results,
    towards,
)
from tests.support.parity import LAYOUTS, forms, poison

pytestmark = pytest.mark.native

FUSED = [i.name for i in dispatch.operations()["correlation"] if i.fused]
backends = pytest.mark.parametrize("backend", FUSED)

MATRIX = sorted(
    {  # each axis is varied against a few of the others
        *(
            (dtype, layout, (2, 3, 2, 5), 1, layout != "expanded")
            for dtype, layout in forms(DTYPES)
        ),
        *(("float32", "channels_last", (1, 3, 3, 9), radius, True) for radius in (0, 3)),
        ("float32", "channels_last", (1, 2, 1, 9), 6, False),
        ("float32", "contiguous", (1, 3, 3, 7), 2, False),
        *(("bfloat16", "channels_last", (1, C, 1, 3), 1, True) for C in (24, 130, 256)),
        ("bfloat16", "contiguous", (1, 24, 1, 3), 1, True),
        *(
            ("float32", layout, (1, 20, 1, W), 1, True)
            for layout, W in (("contiguous", 65), ("channels_last", 130))
        ),  # over a block
        *(
            ("float32", "contiguous", shape, 1, True)
            for shape in ((1, 2, 1, 1), (1, 4, 5, 1), (0, 3, 4, 5), (2, 3, 0, 5))
        ),
    },
    key=str,
)


# -- the matrix ------------------------------------------------------------------------------------


@pytest.mark.slow
@backends
@pytest.mark.parametrize("case", MATRIX, ids=lambda c: "-".join(map(str, c)))
def test_values_and_gradients(backend, case, monkeypatch):
    maps, (*_, radius, normalize) = make(backend, case), case
    poison(monkeypatch)
    found = results(fused(backend, radius, normalize), maps)
    monkeypatch.undo()
    assert_parity(found, maps, radius, normalize)


@pytest.mark.slow
@backends
@given(data=st.data())
def test_any_shape_in_any_layout(backend, data):
    sizes = st.tuples(
        st.integers(0, 2), st.integers(2, 18), st.integers(0, 3), st.integers(0, 20)
    )  # C = 1 scaled has no gradient
    dtype, shape = data.draw(st.sampled_from(["float32", "float16", "bfloat16"])), data.draw(sizes)
    radius, normalize = data.draw(st.integers(0, 2)), data.draw(st.booleans())
    torch.manual_seed(data.draw(st.integers(0, 99)))
    maps = [
        LAYOUTS[data.draw(st.sampled_from(list(LAYOUTS)))](x)
        for x in make(backend, (dtype, "contiguous", shape, radius, normalize))
    ]
    assert_parity(results(fused(backend, radius, normalize), maps), maps, radius, normalize)


@pytest.mark.slow
@backends
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_gradient_of_the_result_may_lie_in_any_way(backend, layout):
    maps = make(backend)
    grad = LAYOUTS[layout](towards(torch.empty(1, 9, 2, 6)).to(maps[0].device))
    assert_parity(results(fused(backend, 1, True), maps, grad), maps, 1, True, grad)


@pytest.mark.slow
def test_one_program_may_compute_all_rows(monkeypatch):
    from lift.kernels import launch_memory  # needs Triton

    maps = make("triton")
    split = results(fused("triton", 1, True), maps)
    monkeypatch.setattr(op.triton, "ENOUGH_PROGRAMS", 0)
    launch_memory.forget()
    together = results(fused("triton", 1, True), maps)
    assert all(torch.equal(split[name], together[name]) for name in split)


@backends
def test_channels_of_zeros_have_a_gradient(backend):
    """Norms below EPS are scaled by a constant."""
    fmap0, fmap1 = make(backend)
    fmap0[0, :, 1], fmap1[:, :, :, 4] = 0, 1e-5 * fmap1[:, :, :, 4]
    assert_parity(results(fused(backend, 1, True), (fmap0, fmap1)), (fmap0, fmap1), 1, True)


# -- which gradients are computed ------------------------------------------------------------------


@pytest.mark.slow
@backends
@pytest.mark.parametrize("wrt", ["fmap0", "fmap1"])
def test_a_gradient_is_the_same_alone(backend, wrt):
    maps = make(backend)
    everything, some = (
        results(fused(backend, 1, True), maps, wrt=names) for names in (("fmap0", "fmap1"), (wrt,))
    )
    assert some.keys() == {"result", f"gradient of {wrt}"}
    assert all(torch.equal(some[name], everything[name]) for name in some)


@backends
def test_one_map_may_be_both(backend):
    leaf = make(backend)[0].requires_grad_()
    both = [
        torch.autograd.grad(
            kernels.correlation(leaf, leaf, 1, True, backend=name).sin().sum(), leaf
        )[0]
        for name in (backend, "reference")
    ]
    torch.testing.assert_close(*both, atol=2e-5, rtol=0)


@backends
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_exactly_the_inputs_are_saved(backend, dtype):
    maps = [x.requires_grad_() for x in make(backend, (dtype, *PLAIN[1:]))]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        fused(backend, 1, True)(*maps)
    assert sorted(x.data_ptr() for x in saved) == sorted(x.data_ptr() for x in maps)


@backends
def test_second_derivatives_are_the_reference_s(backend):
    maps, found = make(backend, ("float32", "contiguous", (1, 3, 4, 5), 1, True)), []
    for name in (backend, "reference"):
        leaves = [x.detach().requires_grad_() for x in maps]
        out = kernels.correlation(*leaves, 1, True, backend=name)
        first = torch.autograd.grad(out, leaves, towards(out), create_graph=True)
        found.append((*first, *torch.autograd.grad(sum(g.square().sum() for g in first), leaves)))
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)


@backends
@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.filterwarnings(
    "ignore:invalid value encountered:RuntimeWarning"
)  # numpy's, in the interpreter
def test_a_gradient_that_is_not_finite_shows(backend, bad):
    maps = make(backend)
    grad = torch.ones(1, 9, 2, 6, device=maps[0].device)
    grad[0, 4, 1, 2] = bad
    found = results(fused(backend, 1, False), maps, grad)
    assert (
        not found["gradient of fmap0"].isfinite().all()
        and not found["gradient of fmap1"].isfinite().all()
    )


# -- as an operation of PyTorch --------------------------------------------------------------------


@pytest.mark.slow
@backends
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_opcheck(backend, layout):
    maps = make(backend, ("float32", layout, (1, 2, 1, 3), 1, True))
    namespace = getattr(torch.ops, f"lift_{backend}")
    torch.library.opcheck(
        namespace.correlation.default, (*[x.detach().requires_grad_() for x in maps], 1, True)
    )
    grad = torch.ones(1, 9, 1, 3, device=maps[0].device)
    for needs in (0b11, 0b10):
        torch.library.opcheck(namespace.correlation_backward.default, (grad, *maps, 1, True, needs))


@pytest.mark.slow
@backends
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_compiled_without_a_break_it_is_the_same(backend, dynamic):
    torch._dynamo.reset()
    ran = []

    def note(graph, examples):  # the names of the operations that a graph runs
        ran.append({str(node.target) for node in graph.graph.nodes if "lift_" in str(node.target)})
        return make_boxed_func(graph)

    radius = 0 if dynamic else 1  # what is compiled does not depend on it
    function = fused(backend, radius, True)
    compiled = torch.compile(
        function,
        backend=aot_autograd(fw_compiler=note, bw_compiler=note),
        fullgraph=True,
        dynamic=dynamic,
    )
    for shape in ((2, 3, 2, 4), (2, 3, 3, 5)) if dynamic else ((2, 3, 2, 4),):
        for layout in ("contiguous", "channels_last"):
            maps = make(backend, ("float32", layout, shape, radius, True))
            torch.testing.assert_close(
                results(compiled, maps), results(function, maps), atol=1e-6, rtol=0
            )
    name = f"lift_{backend}.correlation"
    assert ran[:2] == [
        {f"{name}.default"},
        {f"{name}_backward.default"},
    ]  # the fused backward, not the reference's


@pytest.mark.slow
@backends
def test_under_autocast_maps_are_taken_as_they_come(backend):
    for dtype in ("float32", "bfloat16"):
        maps = make(backend, (dtype, *PLAIN[1:]))
        plain = results(fused(backend, 1, True), maps)
        with torch.autocast(device_of(backend), torch.bfloat16):
            found = results(fused(backend, 1, True), maps)
        assert found["result"].dtype == torch.float32 and all(
            torch.equal(found[name], plain[name]) for name in plain
        )


# -- limits and offsets ----------------------------------------------------------------------------


def test_too_many_channels_or_displacements_have_a_reason():
    if op.triton is None or kernels.unsupported_reasons("correlation")["triton"]:
        pytest.skip("not supported by Triton here")
    device = device_of("triton")
    wide, plain = torch.empty(1, 257, 2, 2, device=device), torch.empty(1, 256, 2, 2, device=device)
    assert (
        "maps of 257 channels: at most 256"
        in kernels.unsupported_reasons("correlation", wide, wide, 1)["triton"]
    )
    assert (
        "a radius of 7: at most 6"
        in kernels.unsupported_reasons("correlation", plain, plain, 7)["triton"]
    )
    assert kernels.unsupported_reasons("correlation", plain, plain, 6)["triton"] is None


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
def test_64_bit_offsets_equal_32_bit(layout):
    maps, found = make("triton", ("float32", layout, (2, 4, 1, 5), 1, True)), []
    from lift.kernels.launch import force_int64_offsets  # needs Triton

    for forced in (False, True):
        with force_int64_offsets(forced):
            found.append(results(fused("triton", 1, True), maps))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_64_bit_offsets_are_taken_where_an_image_passes_31_bits():
    if op.triton is None:
        pytest.skip("Triton cannot be imported")
    narrow, wide = (
        torch.empty(9, 3, 20000, 30000, device="meta"),
        torch.empty(1, 4, 20000, 30000, device="meta"),
    )
    assert op.triton.image_span(narrow) < 2**31 <= op.triton.image_span(wide)
