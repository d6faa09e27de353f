"""The warning where plain PyTorch computes a call: when it comes, how often, and when not."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lift import kernels
from lift.kernels import checks, dispatch, fallback

SMALL, LARGE = torch.zeros(2), torch.zeros(30)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """Ops `toy` and `toy2` with kernels for small tensors on the CPU, none warned of yet."""
    monkeypatch.setattr(dispatch, "_operations", dict(dispatch._operations))
    monkeypatch.setattr(fallback, "_warned", set())
    kernel = dispatch.Backend(
        "cpp",
        lambda x: x,
        lambda *x: f"{x[0].numel()} values: 2 only" if x and x[0].numel() > 2 else None,
        device="cpu",
    )
    plain = dispatch.Backend("reference", lambda x: x, dispatch.always_supported, fused=False)
    for name in ("toy", "toy2"):
        dispatch.register(name, kernel, plain)


def set_kernel(name, **changes):
    kernel, plain = dispatch._operations[name]
    dispatch.register(name, replace(kernel, **changes), plain)


def warned(*calls):
    """The messages of the warnings that some calls raise."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name, x, *backend in calls:
            dispatch.call(name, *(backend or [None]), x)
    assert all(issubclass(w.category, kernels.FallbackWarning) for w in caught)
    return [str(w.message) for w in caught]


def test_a_reason_in_the_call_is_said_once_for_each_op():
    first, second = warned(("toy", LARGE), ("toy", torch.zeros(40)), ("toy2", LARGE))
    assert "toy: computed by reference" in first and "cpp does not support" in first
    assert "30 values: 2 only" in first and "unsupported_reasons('toy', ...)" in first
    assert second.startswith("toy2: ")
    assert warned(("toy", LARGE), ("toy2", LARGE)) == []


def test_a_reason_in_the_machine_is_said_once_for_all_ops():
    for name in ("toy", "toy2"):
        set_kernel(name, unsupported_reason=lambda *x: "the extension is not built; build it")
    (message,) = warned(("toy", SMALL), ("toy2", SMALL), ("toy2", LARGE))
    assert "any call here (the extension is not built; build it)" in message


def test_a_named_backend_that_does_not_support_a_call_is_said(monkeypatch):
    """Whatever device it is for, and whatever computes the call instead."""
    another = dispatch.Backend("triton", None, lambda *x: "no CUDA device", device="cuda")
    dispatch.register("toy", another, *dispatch._operations["toy"])
    monkeypatch.setattr(dispatch, "_environment", "triton")
    (message,) = warned(("toy", SMALL), ("toy", SMALL))
    assert message.startswith("toy: computed by cpp, because triton does not support any call here")
    with kernels.use("cpp"):
        assert len(warned(("toy", LARGE), ("toy", LARGE))) == 1


@pytest.mark.parametrize(
    ("call", "changes"),
    [
        (("toy", SMALL), {}),
        (("toy", LARGE, "reference"), {}),
        (("toy", LARGE), {"device": "cuda"}),
        (("toy", LARGE), {"automatic": False}),
        (("toy", LARGE), {"unsupported_reason": lambda *x: checks.ByDesign("no gradient")}),
        (("toy", LARGE.to("meta")), {}),
    ],
    ids=["supported", "asked for", "another device", "interpreted", "by design", "meta"],
)
def test_no_warning_where_nothing_is_lost(call, changes):
    set_kernel("toy", **changes)
    assert warned(call) == []


def test_no_warning_where_nothing_is_computed():
    with FakeTensorMode() as mode:
        assert warned(("toy", mode.from_tensor(LARGE))) == []
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x: dispatch.call("toy", None, x), backend="eager", fullgraph=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", kernels.FallbackWarning)
        compiled(LARGE)
        with kernels.use("reference"):
            dispatch.call("toy", None, LARGE)


def test_the_warning_points_at_the_call_of_the_public_function(monkeypatch):
    for name in ("warp", "correlation"):
        backends = [
            replace(b, unsupported_reason=lambda *x: "not here", device="cpu") if b.fused else b
            for b in dispatch._operations[name]
        ]
        monkeypatch.setitem(dispatch._operations, name, tuple(backends))
    with pytest.warns(kernels.FallbackWarning) as caught:
        kernels.warp(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2))
        fallback._warned.clear()
        kernels.correlation(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), 1)
    assert {warning.filename for warning in caught} == {__file__}
