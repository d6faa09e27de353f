"""The fused kernels of `lucas_kanade` against the reference, over the matrix of inputs."""

import math

import pytest
import torch
from functorch.compile import make_boxed_func
from hypothesis import given
from hypothesis import strategies as st
from torch._dynamo.backends.common import aot_autograd

from lift import kernels
from lift.kernels import dispatch
from lift.kernels.ops.lucas_kanade import op
from lift.kernels.ops.lucas_kanade.reference import lucas_kanade_reference
from tests.support.lucas_kanade_cases import (
    DTYPES,
    FINITE_FLOWS,
    assert_parity,
    device_of,
    fused,
    make,
)
from tests.support.parity import LAYOUTS, forms, poison

pytestmark = pytest.mark.native

FUSED = [i.name for i in dispatch.operations()["lucas_kanade"] if i.fused]
backends = pytest.mark.parametrize(  # the interpreter takes a tenth of a second and more a call
    "backend", [pytest.param(i, marks=pytest.mark.slow) if i == "triton" else i for i in FUSED]
)

MATRIX = sorted(
    {  # each axis is varied against a few of the others
        *((dtype, layout, (1, 2, 2, 5), "random") for dtype, layout in forms(DTYPES)),
        *(("float32", "contiguous", (1, 1, 4, 9), flow) for flow in FINITE_FLOWS),
        *(
            ("float32", "contiguous", (1, 1, H, W), "random")
            for H, W in ((1, 1), (1, 12), (12, 1), (2, 2), (9, 8), (3, 65), (2, 131))
        ),
        *(("float32", "contiguous", (1, C, 1, 3), "random") for C in (3, 5)),
        *(("bfloat16", layout, (2, 2, 2, 5), "random") for layout in ("sliced", "transposed")),
        ("float64", "contiguous", (1, 1, 12, 67), "random"),
    },
    key=str,
)
PLANES = ("float32", "contiguous", (2, 1, 1, 5), "random")


# -- the matrix ------------------------------------------------------------------------------------


@backends
@pytest.mark.parametrize("case", MATRIX, ids=lambda c: "-".join(map(str, c)))
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # NumPy's
def test_values(backend, case, monkeypatch):
    inputs = make(backend, case)
    poison(monkeypatch)
    found = fused(backend)(*inputs)
    monkeypatch.undo()
    assert_parity(found, inputs)


@backends
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, of NaN
def test_a_flow_that_is_not_finite_spoils_three_pixels_around(backend, value):
    inputs = make(backend, ("float32", "contiguous", (1, 1, 9, 15), "half"))
    inputs[3][0, 0, 4, 5] = value
    found, exact = fused(backend)(*inputs), lucas_kanade_reference(*[x.double() for x in inputs])
    spoilt = ~found.isfinite()
    assert spoilt[0, 0, 1:8, 2:9].all() and spoilt.sum() == 49
    found, exact = (torch.where(spoilt, 0, x) for x in (found, exact))
    torch.testing.assert_close(found.double(), exact, atol=2e-4, rtol=0)


@pytest.mark.slow
@backends
@given(data=st.data())
def test_any_shape_in_any_layout(backend, data):
    sizes = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 4), st.integers(0, 20))
    dtype, shape = data.draw(st.sampled_from(["float32", "float16", "bfloat16"])), data.draw(sizes)
    torch.manual_seed(data.draw(st.integers(0, 99)))
    inputs = make(backend, (dtype, "contiguous", shape, "random"))
    inputs[:4] = [LAYOUTS[data.draw(st.sampled_from(list(LAYOUTS)))](x) for x in inputs[:4]]
    assert_parity(fused(backend)(*inputs), inputs)


@backends
def test_times_may_lie_in_any_way(backend):
    inputs = make(backend, ("float32", "contiguous", (3, 1, 1, 3), "random"))
    apart = torch.stack((inputs[4], inputs[4] + 9), 1)[:, 0]
    same = inputs[4][:1].expand(3)
    assert torch.equal(fused(backend)(*inputs[:4], apart), fused(backend)(*inputs))
    assert torch.equal(fused(backend)(*inputs[:4], same), fused(backend)(*inputs[:4], same.clone()))


@backends
def test_images_of_a_batch_do_not_mix(backend):
    inputs = make(backend, ("float32", "contiguous", (3, 1, 2, 8), "random"))
    together = fused(backend)(*inputs)
    for b in range(3):
        alone = fused(backend)(*(x[b : b + 1] for x in inputs))
        assert torch.equal(together[b : b + 1], alone)


@backends
def test_two_runs_give_the_same_bits(backend, maybe_deterministic):
    inputs = make(backend, PLANES)
    assert torch.equal(fused(backend)(*inputs), fused(backend)(*inputs))


@pytest.mark.skipif("cpp" not in FUSED, reason="there is no C++ backend")
def test_threads_change_no_bit():
    inputs = make("cpp", ("float32", "contiguous", (1, 1, 67, 130), "random"))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(fused("cpp")(*inputs))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], x) for x in found[1:])


# -- as an operation of PyTorch --------------------------------------------------------------------


@pytest.mark.slow
@backends
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_opcheck(backend, layout):
    inputs = make(backend, ("float32", layout, (1, 2, 1, 3), "half"))
    operation = getattr(torch.ops, f"lift_{backend}").lucas_kanade.default
    torch.library.opcheck(operation, tuple(inputs))
    torch.library.opcheck(operation, tuple(x.detach().requires_grad_() for x in inputs))


@pytest.mark.slow
@backends
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_compiled_without_a_break_it_is_the_same(backend, dynamic):
    torch._dynamo.reset()
    ran = []

    def note(graph, examples):  # the names of the operations that a graph runs
        ran.append({str(node.target) for node in graph.graph.nodes if "lift_" in str(node.target)})
        return make_boxed_func(graph)

    def step(image0, image1, flow0, flow1, t):
        return flow0 - t.view(-1, 1, 1, 1) * fused(backend)(image0, image1, flow0, flow1, t)

    compiled = torch.compile(
        step,
        backend=aot_autograd(fw_compiler=note, bw_compiler=note),
        fullgraph=True,
        dynamic=dynamic,
    )
    for shape in ((2, 2, 1, 5), (2, 2, 2, 7)) if dynamic else ((2, 1, 1, 5),):
        inputs = make(backend, ("float32", "contiguous", shape, "half"))
        inputs[2].requires_grad_()
        found, expected = compiled(*inputs), step(*inputs)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
        (gradient,) = torch.autograd.grad(found.sum(), inputs[2])
        assert (gradient == 1).all()
    assert ran[0] == {f"lift_{backend}.lucas_kanade.default"} and not any(ran[1::2])


@backends
def test_under_autocast_images_are_taken_as_they_come(backend):
    for dtype in ("float32", "bfloat16"):
        inputs = make(backend, (dtype, *PLANES[1:]))
        plain = fused(backend)(*inputs)
        with torch.autocast(device_of(backend), torch.bfloat16):
            assert torch.equal(fused(backend)(*inputs), plain)
            low = fused(backend)(*inputs[:2], *(x.bfloat16() for x in inputs[2:]))
        assert low.dtype == torch.float32


@backends
def test_tensors_without_data_have_its_shape(backend):
    inputs = [x.to("meta") for x in make(backend)]
    step = op.LUCAS_KANADE.bind(f"lift_{backend}")(*inputs)
    assert step.shape == (2, 2, 7, 13) and step.dtype == torch.float32 and step.is_meta


# -- limits and offsets ----------------------------------------------------------------------------


def test_what_is_not_supported_has_a_reason():
    inputs = make("cpp")
    reasons = kernels.unsupported_reasons("lucas_kanade", *(x.to("meta") for x in inputs))
    assert reasons["cpp"] == "the tensors are on meta, not on the CPU"
    assert reasons["reference"] is None
    assert kernels.selected_backend("lucas_kanade", *inputs) == "cpp"


def test_the_op_itself_checks_shapes_and_dtypes():
    image0, image1, flow0, flow1, t = make("cpp")
    call = op.LUCAS_KANADE.bind("lift_cpp")
    with pytest.raises(RuntimeError, match=r"flow1 must be \(2, 2, 7, 13\)"):
        call(image0, image1, flow0, flow1[:, :, 1:], t)
    with pytest.raises(RuntimeError, match="image1 has the wrong dtype"):
        call(image0, image1.double(), flow0, flow1, t)
    with pytest.raises(RuntimeError, match=r"t must be \(2,\)"):
        call(image0, image1, flow0, flow1, t[:1])


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
def test_64_bit_offsets_equal_32_bit(layout):
    inputs, found = make("triton", ("float32", layout, (2, 2, 1, 5), "random")), []
    from lift.kernels.launch import force_int64_offsets  # needs Triton

    for forced in (False, True):
        with force_int64_offsets(forced):
            found.append(fused("triton")(*inputs))
    assert torch.equal(*found)


def test_64_bit_offsets_are_taken_where_an_image_passes_31_bits():
    if op.triton is None:
        pytest.skip("Triton cannot be imported")
    for side, wide in ((20000, False), (40000, True)):
        image = torch.empty(9, 1, side, side, device="meta")
        flow, t = torch.empty(9, 2, side, side, device="meta"), torch.empty(9, device="meta")
        warped = op.triton.empty_warped(image)
        programs, warp = op.triton.warp_arguments(warped, image, image, flow, flow, t)
        weighted = op.triton.empty_weighted(image)
        _, solve = op.triton.solve_arguments(weighted, warped, flow, flow)
        _, smooth = op.triton.smooth_arguments(flow, weighted, flow, flow)
        assert all(i["INT64_OFFSETS"] == wide for i in (warp, solve, smooth))
        assert programs < 2**31
