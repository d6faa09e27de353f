"""Chunked attention in plain PyTorch on a CPU: the definition, gradients, memory."""

from functools import partial

import pytest
import torch

from lift import kernels
from lift.kernels.ops.temporal_attention import chunked
from lift.kernels.ops.temporal_attention.op import temporal_attention_chunked
from lift.kernels.ops.temporal_attention.reference import temporal_attention_reference
from tests.support.chunked_attention_cases import CASES, doubled, make
from tests.support.parity import assert_close, assert_right_as_a_whole, poison
from tests.support.temporal_attention_cases import LAYOUTS

LARGE = [
    (1, 1, 15, 16, 16, 4, 32, 8, 0),
    (2, 1, 15, 18, 20, 2, 32, 8, 4),
    (1, 1, 15, 16, 28, 2, 32, 4, 2),
    (1, 1, 2, 16, 16, 4, 32, 4, 0),
    (2, 1, 15, 16, 16, 2, 32, 2, 0),
    (1, 1, 15, 16, 28, 4, 32, 1, 0),
    (1, 6, 6, 12, 12, 2, 16, 4, 0),
]
FLOATING = (0, 1, 2, 5, 6)  # where q, k, v, time_bias and window_bias stand


def results(function, given, wrt=FLOATING) -> dict[str, torch.Tensor]:
    given = [
        x.detach().requires_grad_() if i in wrt and x is not None else x
        for i, x in enumerate(given)
    ]
    leaves = {f"gradient {i}": given[i] for i in wrt if given[i] is not None}
    out, frame_weights = function(*given)
    towards = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    found = torch.autograd.grad(out, list(leaves.values()), towards) if leaves else ()
    return {"out": out.detach(), "frame_weights": frame_weights} | dict(
        zip(leaves, found, strict=True)
    )


# -- the definition --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("absent", [(), (5,), (6, 8), (7,), (5, 6, 7)], ids=str)
@pytest.mark.parametrize("chunk", [chunked.CHUNK, 500], ids=["one chunk", "many"])
def test_it_is_the_definition(case, absent, chunk, monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK", chunk)
    given = [None if i in absent else x for i, x in enumerate(make(case, bias_batch=case[1] == 1))]
    expected = results(temporal_attention_reference, given)
    poison(monkeypatch)
    found = results(temporal_attention_chunked, given)
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_low_precision_is_no_worse_than_the_references(case, dtype):
    given = make(case, dtype)
    found, low, exact = (
        results(*x)
        for x in (
            (temporal_attention_chunked, given),
            (temporal_attention_reference, given),
            (temporal_attention_reference, doubled(given)),
        )
    )
    for name in found:
        if exact[name].abs().max() < 1e-9:  # window_bias of a window of 1 cancels in the softmax
            assert found[name].abs().max() < 1e-5
            continue
        assert_close(name, found[name], low[name], exact[name], torch.float32)
        if name.startswith("gradient"):
            assert_right_as_a_whole(name, found[name], low[name], exact[name], torch.float32)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_taken(layout):
    given = make(CASES[1])
    laid = [LAYOUTS[layout](x) if i < 3 else x for i, x in enumerate(given)]
    expected = results(temporal_attention_reference, laid)
    for name, x in results(temporal_attention_chunked, laid).items():
        torch.testing.assert_close(x, expected[name], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("wrt", [(), *((i,) for i in FLOATING), (0, 2), (1, 6)], ids=str)
def test_only_needed_gradients_are_computed(wrt, monkeypatch):
    given = make(CASES[1])
    expected = results(temporal_attention_reference, given, wrt)
    poison(monkeypatch)
    found = results(temporal_attention_chunked, given, wrt)
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("content", [float("nan"), float("inf"), 1e6])
def test_masked_frames_change_nothing(content):
    given = make(CASES[1], torch.float32)
    expected = results(temporal_attention_chunked, given)
    for i in (1, 2):
        given[i] = torch.where(given[7][:, :, None, None, None, None], given[i], content)
    found = results(temporal_attention_chunked, given)
    assert all(torch.equal(found[name], x) for name, x in expected.items())
    assert (
        (found["gradient 1"][~given[7]] == 0).all()
        and (found["frame_weights"][0] == 0).all()
        and (found["out"][0] == 0).all()
    )


def test_nothing_comes_out_of_nothing():
    for empty in ({0: 0}, {1: 0}, {3: 0}, {5: 0}):
        case = tuple(empty.get(i, n) for i, n in enumerate((2, 1, 2, 3, 4, 2, 4, 2, 0)))
        given = (
            make(case)
            if case[0]
            else [x[:0] if i in (0, 1, 2, 5, 7) else x for i, x in enumerate(make(CASES[0]))]
        )
        found = results(temporal_attention_chunked, given)
        assert found["out"].shape == given[0].shape and found["frame_weights"].shape == (
            *given[0].shape[:2],
            given[1].shape[1],
        )
        assert all((x == 0).all() for name, x in found.items() if name.startswith("gradient"))


# -- as a PyTorch operation ------------------------------------------------------------------------


@pytest.mark.slow
def test_opcheck():
    q, k, v, window, shift, time_bias, window_bias, mask, scale = make(CASES[5], torch.float32)
    leaves = [x.requires_grad_() for x in (q, k, v, time_bias, window_bias)]
    torch.library.opcheck(
        torch.ops.lift_eager.temporal_attention.default, (*leaves, mask, window, shift, scale, True)
    )
    grad = torch.ones_like(leaves[0])
    q, k, v, *tables = (x.detach() for x in leaves)
    for needs in (31, 18):
        torch.library.opcheck(
            torch.ops.lift_eager.temporal_attention_backward.default,
            (grad, q, k, v, *tables, mask, window, shift, scale, True, needs),
        )


def test_it_compiles_without_a_break():
    torch._dynamo.reset()
    given = make(CASES[1], torch.float32)
    compiled = torch.compile(temporal_attention_chunked, backend="aot_eager", fullgraph=True)
    expected = results(temporal_attention_chunked, given)
    assert all(torch.equal(x, expected[name]) for name, x in results(compiled, given).items())


def test_second_derivatives_are_the_references():
    given, second = make(CASES[2]), []
    for function in (temporal_attention_chunked, temporal_attention_reference):
        leaves = [given[i].detach().requires_grad_() for i in FLOATING]
        out, _ = function(*leaves[:3], *given[3:5], *leaves[3:], *given[7:])
        first = torch.autograd.grad(out.square().sum(), leaves, create_graph=True)
        second.append(torch.autograd.grad(sum(g.square().sum() for g in first), leaves))
    for found, expected in zip(*second, strict=True):
        torch.testing.assert_close(found, expected)


def test_autocast_keeps_its_arithmetic():
    given = make(CASES[5], torch.bfloat16)
    expected = results(temporal_attention_chunked, given)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(temporal_attention_chunked, given)
    assert all(torch.equal(x, expected[name]) for name, x in found.items())


# -- selection and memory --------------------------------------------------------------------------


def test_it_is_selected_on_the_cpu_with_gradients_and_without():
    for window in (1, 2, 4, 8):
        given = make((1, 1, 3, 5, 6, 2, 32, window, 0), torch.float32)
        assert kernels.selected_backend("temporal_attention", *given) == "eager"
        given[6].requires_grad_()
        assert kernels.selected_backend("temporal_attention", *given) == "eager"
    elsewhere = [x.to("meta") if isinstance(x, torch.Tensor) else x for x in given]
    assert (
        "the tensors are on meta"
        in kernels.unsupported_reasons("temporal_attention", *elsewhere)["eager"]
    )


def peak(function) -> int:
    """Largest number of bytes that PyTorch holds at once during the call."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        function()
    now = largest = 0
    for event in sorted(
        (e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"),
        key=lambda e: e.start_ns(),
    ):
        now += event.nbytes()
        largest = max(largest, now)
    return largest


@pytest.mark.slow
@pytest.mark.parametrize("shape", LARGE, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("wrt", [(), FLOATING], ids=["forward", "gradients"])
def test_it_takes_no_more_memory_than_the_reference(shape, dtype, wrt):
    for given in (make(shape, dtype), make(shape, dtype, whole=True)):
        assert peak(partial(results, temporal_attention_chunked, given, wrt)) <= peak(
            partial(results, temporal_attention_reference, given, wrt)
        )


@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_it_saves_only_its_inputs_for_backward(shape):
    given, saved = make(shape, torch.float32), {}
    given = [x.requires_grad_() if i in FLOATING else x for i, x in enumerate(given)]

    def keep(x):
        saved[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        temporal_attention_chunked(*given)
    assert sum(saved.values()) == sum(x.nbytes for x in given if isinstance(x, torch.Tensor))
