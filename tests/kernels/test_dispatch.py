"""The flag: what decides, what refuses, and that a compiled graph obeys it."""

import os
import subprocess
import sys

import pytest
import torch

from lift import kernels
from lift.kernels import dispatch as backend
from lift.kernels import selfcheck
from lift.kernels.checks import capability

# Given the tensors of selfcheck.samples; what is not a tensor is written out, as a model would, so
# that dynamic shapes leave it fixed.
OPERATIONS = {
    "warp": lambda a, b: kernels.warp(*a, backend=b),
    "warp_blend": lambda a, b: kernels.warp_blend(*a, backend=b),
    "grid_sample": lambda a, b: kernels.grid_sample(*a, "bilinear", "border", True, backend=b),
    "correlation": lambda a, b: kernels.correlation(*a, 1, True, backend=b),
    "temporal_attention": lambda a, b: kernels.temporal_attention(
        *a[:3], window=4, shift=1, time_bias=a[3], window_bias=a[4], mask=a[5], backend=b
    )[0],
}


def tensors(name):
    return [a for a in selfcheck.samples(name) if isinstance(a, torch.Tensor)]


@pytest.fixture
def plain(monkeypatch):
    """No flag stated, and an operation `toy`: a fused implementation that never serves, one for
    small tensors, and the reference.
    """
    monkeypatch.setattr(backend, "_environment", "")
    monkeypatch.setattr(backend, "_operations", dict(backend._operations))
    backend.register(
        "toy",
        backend.Implementation("broken", lambda x: x, lambda *x: "it is broken"),
        backend.Implementation(
            "small",
            lambda x: x + 1,
            lambda *x: "the tensor is large" if x and x[0].numel() > 2 else None,
        ),
        backend.Implementation("reference", lambda x: x + 2, backend.always, fused=False),
    )


SMALL, LARGE = torch.zeros(2), torch.zeros(3)


def test_auto_takes_the_first_that_serves(plain):
    assert kernels.serving("toy", SMALL) == "small" and kernels.serving("toy", LARGE) == "reference"
    assert torch.equal(backend.call("toy", None, SMALL), SMALL + 1)
    assert torch.equal(backend.call("toy", None, LARGE), LARGE + 2)


def test_what_is_slow_is_taken_when_asked_for_only(plain):
    slow = backend.Implementation("slow", lambda x: x + 1, backend.always, automatic=False)
    backend.register("toy", slow, *backend._operations["toy"])
    assert (
        kernels.serving("toy", SMALL) == kernels.serving("toy", SMALL, backend="fused") == "small"
    )
    assert (
        kernels.serving("toy", LARGE) == "reference"
        and kernels.serving("toy", LARGE, backend="fused") == "slow"
    )
    assert kernels.serving("toy", SMALL, backend="slow") == "slow"


@pytest.mark.parametrize("name", OPERATIONS)
def test_auto_never_takes_an_interpreted_kernel(name):
    assert kernels.serving(name, *selfcheck.samples(name)) != "triton"


def test_fused_refuses_with_every_reason(plain):
    assert kernels.serving("toy", SMALL, backend="fused") == "small"
    with pytest.raises(RuntimeError, match="broken: it is broken; small: the tensor is large"):
        backend.call("toy", "fused", LARGE)


def test_an_implementation_can_be_named(plain):
    assert kernels.serving("toy", SMALL, backend="small") == "small"
    with pytest.raises(RuntimeError, match="it is broken"):
        backend.call("toy", "broken", SMALL)
    with pytest.raises(ValueError, match="auto, fused, reference, broken, small, got 'none'"):
        backend.call("toy", "none", SMALL)


def test_reasons_tell_why_not(plain):
    assert kernels.reasons("toy", LARGE) == {
        "broken": "it is broken",
        "small": "the tensor is large",
        "reference": None,
    }
    assert kernels.reasons("toy") == {"broken": "it is broken", "small": None, "reference": None}
    with pytest.raises(ValueError, match="no operation 'warpp'; there are .*warp_blend"):
        kernels.reasons("warpp")


@pytest.mark.parametrize(
    ("environment", "used", "call", "expected", "origin"),
    [
        ("", None, None, "auto", "the default"),
        ("reference", None, None, "reference", "LIFT_KERNELS"),
        ("reference", "fused", None, "fused", "use"),
        ("reference", "auto", None, "auto", "use"),
        ("reference", "fused", "reference", "reference", "the call"),
        ("", "reference", "auto", "reference", "use"),
        ("fused", None, "auto", "fused", "LIFT_KERNELS"),
    ],
)
def test_the_most_specific_statement_decides(
    monkeypatch, environment, used, call, expected, origin
):
    monkeypatch.setattr(backend, "_environment", environment)
    monkeypatch.setattr(backend, "_used", used)
    assert (backend.flag(call), backend.origin(call)) == (expected, origin)


def test_use_ends_with_its_block(plain):
    with pytest.raises(KeyError):
        with kernels.use("reference"):
            with kernels.use("fused"):
                assert backend.flag() == "fused"
            assert backend.flag() == "reference"
            raise KeyError
    assert backend.flag() == "auto"
    with (
        pytest.raises(ValueError, match="auto, fused, reference, got 'triton'"),
        kernels.use("triton"),
    ):
        pass


def test_a_wrong_environment_is_an_error_when_it_matters(monkeypatch):
    monkeypatch.setattr(backend, "_environment", "fast")
    with pytest.raises(
        ValueError, match="LIFT_KERNELS must be one of auto, fused, reference, got 'fast'"
    ):
        kernels.warp(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2))


def test_the_environment_is_read():
    program = "from lift.kernels import dispatch as backend; print(backend.flag(), 'by', backend.origin())"
    environment = os.environ | {
        "LIFT_KERNELS": "Reference",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "reference by LIFT_KERNELS"


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_a_reference_last_that_serves(name):
    reasons = kernels.reasons(name, *selfcheck.samples(name))
    assert list(reasons)[-1] == "reference" and reasons["reference"] is None


@pytest.mark.parametrize("name", OPERATIONS)
def test_fused_raises_where_nothing_fused_can_serve(name):
    arguments = selfcheck.samples(name)
    if any(i.fused and i.reason(*arguments) is None for i in backend.operations()[name]):
        pytest.skip("a fused implementation serves here")
    with pytest.raises(RuntimeError, match=f"{name}: .*use kernels='auto' or 'reference'"):
        OPERATIONS[name](tensors(name), "fused")


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", selfcheck.TOLERANCES, ids=str)
def test_every_implementation_that_serves_passes_its_self_check(name, dtype):
    for implementation in backend.operations()[name]:
        if implementation.reason(*selfcheck.samples(name, dtype)) is None:
            check = selfcheck.check(name, implementation, dtype)
            assert check.passed, (implementation.name, check)


# The plain attention under dynamic=True traces right, but takes minutes: six symbolic sizes, split
# by a window.
@pytest.mark.parametrize(
    ("name", "dynamic"),
    [(name, False) for name in OPERATIONS] + [(name, True) for name in list(OPERATIONS)[:3]],
)
def test_operations_compile_without_a_break(name, dynamic):
    torch._dynamo.reset()
    operation, results = OPERATIONS[name], []
    for function in (
        torch.compile(operation, backend="aot_eager", fullgraph=True, dynamic=dynamic),
        operation,
    ):
        given = [a.requires_grad_(a.is_floating_point()) for a in tensors(name)]
        out = function(given, None)
        results.append(
            (out, *torch.autograd.grad(out.sum(), [a for a in given if a.requires_grad]))
        )
    torch.testing.assert_close(*results)


def test_a_compiled_graph_may_depend_on_the_gpu(monkeypatch):
    """PyTorch's own question breaks a graph."""

    def asked(device):
        torch._dynamo.graph_break()
        return 8, 6

    monkeypatch.setattr(torch.cuda, "get_device_capability", asked)
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x: x + 1 if capability(x.device) < (9, 0) else x + 2, backend="eager", fullgraph=True
    )
    assert torch.equal(compiled(torch.zeros(3)), torch.ones(3))


def test_a_compiled_graph_follows_use(plain):
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x: backend.call("toy", None, x), backend="eager", fullgraph=True
    )
    for _ in range(2):
        assert torch.equal(compiled(SMALL), SMALL + 1)
        with kernels.use("reference"):
            assert torch.equal(compiled(SMALL), SMALL + 2)
