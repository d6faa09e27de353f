"""The fused kernels of `temporal_attention` against the reference, over the matrix of inputs."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from lift import kernels
from lift.kernels.ops.temporal_attention import configs, op
from tests.support.gpu_session import needs_gpu_memory
from tests.support.parity import poison
from tests.support.temporal_attention_cases import (
    DTYPES,
    LAYOUTS,
    NAMES,
    assert_parity,
    device,
    fused,
    make,
    reference,
    results,
    towards,
)

if op.triton is None or op.triton.unsupported_reason():
    pytest.skip("Triton has neither a GPU nor its interpreter here", allow_module_level=True)

pytestmark = pytest.mark.native

#    B  Tq Tk H  W heads d window shift
MATRIX = [
    ((1, 1, 3, 8, 8, 2, 32, 8, 0), "float32"),  # one window of 8, whole
    ((1, 1, 2, 9, 5, 1, 16, 8, 3), "float32"),  # shifted; windows at the edges have fewer places
    ((1, 1, 2, 9, 8, 1, 32, 8, 0), "float16"),
    ((1, 1, 2, 9, 8, 1, 32, 8, 0), "bfloat16"),
    ((1, 1, 2, 8, 6, 1, 64, 8, 1), "float16"),  # keys have a kernel of their own
    ((1, 2, 2, 8, 5, 1, 16, 8, 0), "float32"),  # self-attention among frames
    ((1, 1, 2, 6, 5, 1, 16, 6, 2), "float32"),  # padded to 8
    ((2, 1, 3, 5, 4, 2, 16, 4, 0), "float32"),
    ((1, 1, 3, 4, 4, 2, 64, 4, 0), "bfloat16"),
    ((1, 5, 5, 4, 3, 1, 16, 4, 1), "float16"),  # five query frames: two blocks
    ((1, 3, 3, 3, 4, 1, 32, 3, 1), "float32"),
    ((1, 1, 1, 4, 4, 1, 16, 4, 0), "float32"),  # one frame
    ((1, 1, 32, 3, 2, 1, 16, 4, 0), "float32"),  # thirty-two frames
    ((1, 1, 32, 2, 2, 1, 16, 1, 0), "bfloat16"),
    ((2, 1, 5, 3, 5, 2, 16, 1, 0), "float32"),  # purely temporal
    ((1, 1, 2, 9, 8, 2, 32, 1, 0), "float16"),  # more locations than a program holds
    ((1, 1, 2, 1, 3, 9, 64, 1, 0), "float32"),  # more heads than a program holds
    ((1, 2, 3, 2, 3, 3, 16, 1, 0), "float32"),
    ((1, 1, 3, 3, 5, 2, 16, 2, 1), "float32"),
    ((1, 2, 2, 3, 2, 1, 64, 2, 0), "bfloat16"),
    ((1, 1, 1, 1, 1, 1, 16, 8, 7), "float32"),  # one pixel
]
SMALL = {
    "window": (2, 1, 2, 3, 4, 1, 16, 4, 0),
    "dkv": (2, 2, 2, 3, 4, 1, 16, 4, 0),
    "small window": (2, 1, 3, 2, 3, 2, 16, 1, 0),
}

# Heads of any size up to 128 channels, padded where it is no power of two.
WIDTHS = [
    ((1, 1, 2, 3, 2, 1, 8, 4, 1), "float32"),
    ((1, 2, 2, 2, 2, 2, 24, 3, 1), "float16"),
    ((1, 1, 2, 2, 3, 1, 48, 6, 0), "bfloat16"),
    ((1, 2, 2, 2, 2, 1, 96, 4, 3), "float32"),
    ((1, 1, 2, 2, 3, 1, 128, 4, 0), "float32"),
    ((1, 1, 2, 1, 2, 3, 8, 2, 1), "float32"),
    ((1, 2, 2, 2, 2, 2, 24, 1, 0), "float16"),
    ((1, 1, 2, 2, 3, 1, 48, 1, 0), "bfloat16"),
    ((1, 1, 2, 1, 2, 2, 96, 2, 0), "float32"),
    ((1, 1, 3, 1, 2, 5, 128, 1, 0), "float16"),
    ((1, 1, 2, 2, 2, 2, 5, 4, 1), "float32"),
]

families = pytest.mark.parametrize("family", SMALL)


def poisoned_results(monkeypatch, arguments, wrt=NAMES) -> dict:
    with monkeypatch.context() as patch:
        poison(patch)
        return results(fused, arguments, wrt)


# -- the matrix ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("case", "dtype"), MATRIX, ids=str)
def test_values_frame_weights_and_gradients(case, dtype, monkeypatch):
    arguments = make(case, dtype)
    assert_parity(poisoned_results(monkeypatch, arguments), arguments)


@pytest.mark.parametrize(("case", "dtype"), WIDTHS, ids=str)
def test_heads_of_any_width(case, dtype, monkeypatch):
    arguments = make(case, dtype)
    if case[1] == 1:  # the neighbours in memory are none of the head's channels
        arguments |= {n: LAYOUTS["of_layers"](arguments[n]) for n in ("q", "k", "v")}
    assert_parity(poisoned_results(monkeypatch, arguments), arguments)


@pytest.mark.slow
@families
@pytest.mark.parametrize(
    "wrt", [(), *((name,) for name in NAMES), ("q", "v"), ("k", "window_bias")], ids=str
)
def test_only_needed_gradients_are_computed(family, wrt, monkeypatch):
    arguments = make(SMALL[family])
    assert_parity(poisoned_results(monkeypatch, arguments, wrt), arguments)


@pytest.mark.slow
@families
@pytest.mark.parametrize(
    "without",
    [("time_bias",), ("window_bias",), ("mask",), ("time_bias", "window_bias", "mask", "scale")],
    ids=str,
)
def test_every_bias_and_the_mask_may_be_absent(family, without, monkeypatch):
    arguments = make(SMALL[family]) | dict.fromkeys(without)
    assert_parity(poisoned_results(monkeypatch, arguments), arguments)


@families
def test_one_time_bias_applies_to_the_whole_batch(family):
    arguments = make(SMALL[family])
    arguments["time_bias"] = arguments["time_bias"][:1]
    assert_parity(results(fused, arguments), arguments)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "layout"),
    [(list(SMALL)[i % 3], name) for i, name in enumerate(LAYOUTS)] + [("window", "heads_first")],
)
def test_every_layout_is_read_in_place(family, layout):
    arguments = make(SMALL[family])
    arguments |= {n: LAYOUTS[layout](arguments[n]) for n in ("q", "k", "v")}
    assert_parity(results(fused, arguments), arguments)


@pytest.mark.slow
@families
def test_an_expanded_gradient_is_taken(family):
    arguments = make(SMALL[family])
    ones = torch.ones((), device=device()).expand(arguments["q"].shape)
    found, expected = (
        results(fused, arguments, grad=ones),
        results(fused, arguments, grad=ones.contiguous()),
    )
    assert all(torch.equal(found[n], expected[n]) for n in found)


@pytest.mark.slow
@families
@pytest.mark.parametrize("content", [1e6, float("nan"), float("inf")])
def test_masked_frames_change_nothing(family, content):
    arguments, found = make(SMALL[family]), []
    for filling in (0.0, content):
        k, v = arguments["k"].clone(), arguments["v"].clone()
        k[0, -1], v[0, -1] = filling, filling
        found.append(results(fused, arguments | {"k": k, "v": v}))
    assert all(torch.equal(found[0][n], found[1][n]) for n in found[0])
    assert (found[1]["gradient of k"][0, -1] == 0).all() and (
        found[1]["frame_weights"][0, :, -1] == 0
    ).all()


@families
def test_a_clip_with_every_frame_masked_gives_zeros(family):
    arguments = make(SMALL[family])
    arguments["mask"][0] = False
    found = results(fused, arguments)
    assert_parity(found, arguments)
    assert (
        (found["out"][0] == 0).all()
        and (found["frame_weights"][0] == 0).all()
        and all((found[f"gradient of {n}"][0] == 0).all() for n in "qkv")
    )


@families
def test_large_scores_do_not_overflow(family):
    arguments = make(SMALL[family]) | {"scale": 300.0}
    found = results(fused, arguments)
    assert all(x.isfinite().all() for x in found.values())
    assert_parity({n: found[n] for n in ("out", "frame_weights")}, arguments)


@families
def test_nothing_comes_out_of_nothing(family):
    for change in ({1: 0}, {0: 0}, {3: 0}):
        case = tuple(change.get(i, n) for i, n in enumerate(SMALL[family]))
        arguments = make(case)
        found = results(fused, arguments)
        assert (
            found["out"].shape == arguments["q"].shape and found["frame_weights"].shape == case[:3]
        )
        assert all(
            found[f"gradient of {n}"].shape == arguments[n].shape
            and (found[f"gradient of {n}"] == 0).all()
            for n in NAMES
        )


@pytest.mark.slow
@settings(max_examples=settings.default.max_examples if torch.cuda.is_available() else 4)
@given(st.data())
def test_any_shape(data):
    window = data.draw(st.integers(1, 8), "window")
    sizes = [data.draw(st.integers(1, largest)) for largest in (2, 2, 3, 5, 4, 1)]
    case = (
        *sizes,
        data.draw(st.sampled_from([16, 32])),
        window,
        data.draw(st.integers(0, window - 1)),
    )
    arguments = make(case, data.draw(st.sampled_from(list(DTYPES))))
    assert_parity(results(fused, arguments), arguments)


# -- offsets past 2^31 -----------------------------------------------------------------------------


@pytest.mark.slow
@families
def test_offsets_of_64_bits_give_the_same(family):
    from lift.kernels.launch import force_int64_offsets  # needs Triton

    arguments = make(SMALL[family])
    expected = results(fused, arguments)
    with force_int64_offsets(True):
        found = results(fused, arguments)
    assert all(torch.equal(found[n], expected[n]) for n in expected)


@pytest.mark.slow
@pytest.mark.large
@pytest.mark.parametrize(
    ("family", "dimension"),
    [
        ("window", "B"),
        ("dkv", "Tk"),
        ("small window", "Tk"),
        ("window", "H"),
        ("dkv", "W"),
        ("small window", "W"),
        ("small window", "heads"),
        ("window", "heads"),
    ],
)
def test_offsets_past_2_31_are_followed(family, dimension):
    """Each stride fits 32 bits, the offset of the third of three does not."""
    needs_gpu_memory(3 * 2 * (2**31 + 2**20))  # not used: a CPU does not even provide it
    names = ("B", "Tq", "Tk", "H", "W", "heads")
    sizes = [3 if name == dimension else n for name, n in zip(names, SMALL[family], strict=False)]
    arguments = make((*sizes, *SMALL[family][6:]), "float16")
    expected, far = results(fused, arguments), {}
    for name in ("q", "k", "v"):
        x, i = arguments[name], {"B": 0, "Tk": 1, "H": 2, "W": 3, "heads": 4}[dimension]
        strides = [2**30 + 16 if j == i else stride for j, stride in enumerate(x.stride())]
        buffer = torch.empty(
            (x.shape[i] - 1) * strides[i] + x.numel(), dtype=x.dtype, device=device()
        )
        far[name] = buffer.as_strided(x.shape, strides).copy_(x)
    found = results(fused, arguments | far)
    assert all(torch.equal(found[n], expected[n]) for n in expected)


# -- as a PyTorch operation ------------------------------------------------------------------------


@pytest.mark.slow
@families
def test_opcheck(family):
    a = make((1, *SMALL[family][1:]))
    leaves = [a[n].requires_grad_() for n in NAMES]
    given = (*leaves, a["mask"], a["window"], a["shift"], a["scale"])
    for weights in (False, True):
        operation = torch.ops.lift_triton.temporal_attention.default
        torch.library.opcheck(operation, (*given, weights))
    given = (*given, True)
    out, _, lse = torch.ops.lift_triton.temporal_attention(*given)
    given = (*(x.detach() for x in leaves), *given[5:])
    for needs in (31, 18):
        torch.library.opcheck(
            torch.ops.lift_triton.temporal_attention_backward.default,
            (torch.ones_like(out), *given, out.detach(), lse, needs),
        )


@pytest.mark.slow
@families
def test_compiled_without_a_break_it_is_the_same(family):
    torch._dynamo.reset()
    arguments = make(SMALL[family])
    compiled = torch.compile(fused, backend="aot_eager", fullgraph=True)
    found, expected = results(compiled, arguments), results(fused, arguments)
    assert all(torch.equal(found[n], expected[n]) for n in expected)


@families
def test_backward_saves_the_inputs_the_output_and_one_number_per_row(family):
    arguments, saved = make(SMALL[family], "float16"), {}
    leaves = {n: x.requires_grad_() if n in NAMES else x for n, x in arguments.items()}

    def keep(x):
        saved[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        out, _ = fused(**leaves)
    tensors = [x for x in arguments.values() if isinstance(x, torch.Tensor)]
    lse_bytes = 4 * out.numel() // out.shape[-1]
    assert sum(saved.values()) == sum(x.nbytes for x in tensors) + out.nbytes + lse_bytes


@families
def test_second_derivatives_are_the_references(family):
    second = []
    for function in (fused, reference):
        arguments = make(SMALL[family])
        torch.manual_seed(0)
        leaves = {
            n: torch.randn_like(x).requires_grad_() if n in NAMES else x
            for n, x in arguments.items()
        }
        out, _ = function(**leaves)
        first = torch.autograd.grad(
            out, [leaves[n] for n in NAMES], towards(out), create_graph=True
        )
        second.append(
            torch.autograd.grad(sum(g.square().sum() for g in first), [leaves[n] for n in NAMES])
        )
    for a, b in zip(*second, strict=True):
        # gradients that cancel, as of a bias that all keys share, are rounding alone
        torch.testing.assert_close(a, b, atol=1e-3 * b.abs().max().item() + 3e-5, rtol=0)


def test_frame_weights_are_not_differentiable_and_one_tensor_may_be_two_arguments():
    arguments = make(SMALL["dkv"], masked=False)
    x = arguments["q"].detach().requires_grad_()
    out, frame_weights = fused(**arguments | {"q": x, "k": x, "v": x})
    assert out.requires_grad and not frame_weights.requires_grad
    (found,) = torch.autograd.grad(out, x, towards(out))
    y = x.detach().requires_grad_()
    (expected,) = torch.autograd.grad(
        reference(**arguments | {"q": y, "k": y, "v": y})[0], y, towards(out)
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_autocast_casts_queries_and_leaves_biases():
    arguments = make(SMALL["window"])
    with torch.autocast(device(), torch.bfloat16):
        out, frame_weights = fused(**arguments)
    expected = fused(**arguments | {n: arguments[n].bfloat16() for n in ("q", "k", "v")})
    assert (
        out.dtype == torch.bfloat16
        and torch.equal(out, expected[0])
        and torch.equal(frame_weights, expected[1])
    )


# -- choosing --------------------------------------------------------------------------------------

UNSUPPORTED = [
    ((1, 1, 2, 2, 2, 1, 136, 2, 0), {}, "136 channels a head: at most 128"),
    ((1, 1, 2, 2, 2, 1, 16, 9, 0), {}, "a window of 9: at most 8"),
    ((1, 1, 65, 1, 1, 1, 16, 1, 0), {}, "65 frames of keys: at most 64"),
    (
        (1, 1, 2, 2, 2, 1, 16, 2, 0),
        {"q": torch.float64, "k": torch.float64, "v": torch.float64},
        "queries of float64",
    ),
]


@pytest.mark.parametrize(
    ("case", "dtypes", "words"), UNSUPPORTED, ids=[words for _, _, words in UNSUPPORTED]
)
def test_unsupported_arguments_raise_with_the_reason(case, dtypes, words):
    arguments = make(case)
    arguments |= {n: arguments[n].to(dtype) for n, dtype in dtypes.items()}
    with pytest.raises(RuntimeError, match=words):
        fused(**arguments)
    kernels.temporal_attention(**arguments)  # auto takes another backend


@pytest.mark.parametrize(
    ("d", "dtype", "window", "architecture", "words"),
    [
        (128, torch.float16, 8, (8, 0), None),
        (128, torch.float32, 2, (7, 5), None),
        (64, torch.float32, 8, (7, 5), None),
        (96, torch.float32, 4, (9, 0), "96 channels a head in float32: at most 64"),
        (24, torch.float16, 4, (7, 5), "24 channels a head on a GPU before .* 8.0: 16, 32, 64"),
    ],
)
def test_on_a_gpu_large_windows_limit_heads(d, dtype, window, architecture, words, monkeypatch):
    monkeypatch.setattr(op.triton, "capability", lambda device: architecture)
    monkeypatch.setattr(op.triton, "INTERPRETED", True)  # no GPU is looked for
    with FakeTensorMode():
        q = torch.empty(1, 1, 4, 4, 1, d, dtype=dtype, device="cuda")
        reason = op.triton.unsupported_reason(q, q, q, window)
    assert reason is None if words is None else re.search(words, reason)


def test_auto_does_not_select_the_interpreter():
    arguments = make(SMALL["window"])
    q, k, v = (arguments[n] for n in "qkv")
    assert (kernels.selected_backend("temporal_attention", q, k, v, 4) == "triton") == (
        not op.triton.INTERPRETED
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["window_fwd", "window_bwd", "window_bwd_dkv"])
@pytest.mark.parametrize("change", [{"BN": 32}, {"BN": 64, "num_stages": 4}], ids=str)
def test_block_sizes_change_nothing_but_rounding(name, change, monkeypatch):
    arguments = make((1, 2 if "dkv" in name else 1, 2, 8, 7, 1, 16, 8, 0))
    plain = configs.config
    monkeypatch.setattr(
        configs,
        "config",
        lambda shape, gpu=None: plain(shape, gpu) | (change if shape.kernel == name else {}),
    )
    assert_parity(results(fused, arguments), arguments)


@families
def test_loops_are_counted_by_numbers_that_any_interpreter_takes(family, monkeypatch):
    """An integer is an array of one number in Triton's interpreter. That of Triton 3.6 passes it to
    int() as it is, and NumPy from 2.4 on refuses."""
    if not op.triton.INTERPRETED:
        pytest.skip("the kernels are compiled here")
    from triton.runtime import interpreter

    patch_tensor = interpreter._patch_lang_tensor

    def refuse(x):
        raise TypeError("only 0-dimensional arrays can be converted to Python scalars")

    def as_in_3_6(tensor, scope):
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", refuse)

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", as_in_3_6)
    arguments = make(SMALL[family])
    assert_parity(results(fused, arguments), arguments)
