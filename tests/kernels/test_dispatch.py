"""The kernel flag: which setting wins, which errors it raises, and that compiled graphs obey it."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from lift import kernels
from lift.kernels import dispatch, extension, selfcheck
from lift.kernels.checks import capability

# Given the tensors of selfcheck.samples; what is not a tensor is written out, as a model would, so
# that dynamic shapes leave it fixed.
OPERATIONS = {
    "warp": lambda a, b: kernels.warp(*a, backend=b),
    "warp_blend": lambda a, b: kernels.warp_blend(*a, backend=b),
    "grid_sample": lambda a, b: kernels.grid_sample(*a, "bilinear", "border", True, backend=b),
    "correlation": lambda a, b: kernels.correlation(*a, 1, True, backend=b),
    "lucas_kanade": lambda a, b: kernels.lucas_kanade(*a, backend=b),
    "temporal_attention": lambda a, b: kernels.temporal_attention(
        *a[:3], window=4, shift=1, time_bias=a[3], window_bias=a[4], mask=a[5], backend=b
    )[0],
    "bias_act": lambda a, b: kernels.bias_act(*a, 0.1, backend=b),
    "add_layer_norm": lambda a, b: kernels.add_layer_norm(*a, backend=b)[0],
    "group_norm": lambda a, b: kernels.group_norm(
        a[0], a[2], a[3], 2, x_bias=a[4], skip=a[1], slope=0.1, backend=b
    ),
    "refine_inputs": lambda a, b: kernels.refine_inputs(*a, 2, torch.float32, backend=b),
    "refine_output": lambda a, b: kernels.refine_output(*a, 2, backend=b),
    "align": lambda a, b: kernels.align(*a, 2, backend=b)[0],
    "propagate": lambda a, b: kernels.propagate(*a, 3, backend=b),
    "convex_upsample": lambda a, b: kernels.convex_upsample(*a, backend=b),
    "global_motion": lambda a, b: kernels.global_motion(*a, 2, torch.float32, backend=b)[0],
    "flow_inputs": lambda a, b: kernels.flow_inputs(*a, 8, torch.float32, backend=b),
    "adjacent_frames": lambda a, b: kernels.adjacent_frames(*a, 3, 3, backend=b)[1],
    "path_inputs": lambda a, b: kernels.path_inputs(*a, 6, (0.25, 0.125, 1.0), backend=b)[1],
    "curve_flows": lambda a, b: kernels.curve_flows(*a, 2.0, 2.0, (-0.8, -0.9), backend=b),
    "change_map": lambda a, b: kernels.change_map(*a, backend=b),
    "frame_inputs": lambda a, b: kernels.frame_inputs(a[0], 16, torch.half, backend=b)[0],
    "time_mlp": lambda a, b: kernels.time_mlp(*a, backend=b),
    "census": lambda a, b: kernels.census(*a, backend=b),
}


def tensors(name):
    return [a for a in selfcheck.samples(name) if isinstance(a, torch.Tensor)]


@pytest.fixture
def plain(monkeypatch):
    """An op `toy`: a fused backend that supports nothing, one for small tensors, the reference."""
    monkeypatch.setattr(dispatch, "_operations", dict(dispatch._operations))
    dispatch.register(
        "toy",
        dispatch.Backend("broken", lambda x: x, lambda *x: "it is broken"),
        dispatch.Backend(
            "small",
            lambda x: x + 1,
            lambda *x: "the tensor is large" if x and x[0].numel() > 2 else None,
        ),
        dispatch.Backend("reference", lambda x: x + 2, dispatch.always_supported, fused=False),
    )


SMALL, LARGE = torch.zeros(2), torch.zeros(3)


def test_auto_selects_the_first_backend_that_supports_the_call(plain):
    assert (
        kernels.selected_backend("toy", SMALL) == "small"
        and kernels.selected_backend("toy", LARGE) == "reference"
    )
    assert torch.equal(dispatch.call("toy", None, SMALL), SMALL + 1)
    assert torch.equal(dispatch.call("toy", None, LARGE), LARGE + 2)


def test_slow_backends_are_selected_on_request_only(plain):
    slow = dispatch.Backend("slow", lambda x: x + 1, dispatch.always_supported, automatic=False)
    dispatch.register("toy", slow, *dispatch._operations["toy"])
    assert (
        kernels.selected_backend("toy", SMALL)
        == kernels.selected_backend("toy", SMALL, backend="fused")
        == "small"
    )
    assert (
        kernels.selected_backend("toy", LARGE) == "reference"
        and kernels.selected_backend("toy", LARGE, backend="fused") == "slow"
    )
    assert kernels.selected_backend("toy", SMALL, backend="slow") == "slow"


@pytest.mark.parametrize("name", OPERATIONS)
def test_auto_never_selects_an_interpreted_kernel(name):
    assert kernels.selected_backend(name, *selfcheck.samples(name)) != "triton"


def test_fused_raises_with_every_reason(plain):
    assert kernels.selected_backend("toy", SMALL, backend="fused") == "small"
    reasons = r"no fused backend supports .* \(broken: it is broken; small: the tensor is large\)"
    with pytest.raises(RuntimeError, match=reasons):
        dispatch.call("toy", "fused", LARGE)


def test_a_backend_can_be_named(plain):
    assert kernels.selected_backend("toy", SMALL, backend="small") == "small"
    with pytest.raises(RuntimeError, match="toy: broken does not support .*it is broken"):
        dispatch.call("toy", "broken", SMALL)
    with pytest.raises(ValueError, match="auto, fused, reference, broken, small, got 'none'"):
        dispatch.call("toy", "none", SMALL)


def test_unsupported_reasons_name_every_backend(plain):
    assert kernels.unsupported_reasons("toy", LARGE) == {
        "broken": "it is broken",
        "small": "the tensor is large",
        "reference": None,
    }
    assert kernels.unsupported_reasons("toy") == {
        "broken": "it is broken",
        "small": None,
        "reference": None,
    }
    with pytest.raises(ValueError, match="no operation 'warpp'; there are .*warp_blend"):
        kernels.unsupported_reasons("warpp")


def test_old_names_warn_and_work(plain):
    with pytest.warns(DeprecationWarning, match="use kernels.selected_backend"):
        assert kernels.serving("toy", LARGE, backend="auto") == "reference"
    with pytest.warns(DeprecationWarning, match="use kernels.unsupported_reasons"):
        assert kernels.reasons("toy", SMALL) == kernels.unsupported_reasons("toy", SMALL)
    fmap = torch.randn(1, 2, 3, 4)
    with pytest.warns(DeprecationWarning, match="left is deprecated; use fmap0"):
        found = kernels.correlation(left=fmap, right=fmap, radius=1, unit=True)
    assert torch.equal(found, kernels.correlation(fmap, fmap, 1, normalize=True))


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
def test_the_most_specific_setting_wins(monkeypatch, environment, used, call, expected, origin):
    monkeypatch.setattr(dispatch, "_environment", environment)
    with kernels.use(used) if used else nullcontext():
        assert (dispatch.flag(call), dispatch.flag_source(call)) == (expected, origin)


def test_use_ends_with_its_block(plain):
    with pytest.raises(KeyError):
        with kernels.use("reference"):
            with kernels.use("fused"):
                assert dispatch.flag() == "fused"
            assert dispatch.flag() == "reference"
            raise KeyError
    assert dispatch.flag() == "auto"
    with (
        pytest.raises(ValueError, match="auto, fused, reference, triton, .*cpp.*, got 'trition'"),
        kernels.use("trition"),
    ):
        pass


def test_a_wrong_environment_is_an_error_when_it_matters(monkeypatch):
    monkeypatch.setattr(dispatch, "_environment", "fast")
    with pytest.raises(ValueError, match="LIFT_KERNELS must be one of auto, .*, cpp.*, got 'fast'"):
        kernels.warp(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2))


def test_the_environment_and_use_may_name_a_backend(plain, monkeypatch):
    """Ops that have it and calls that it supports use it; `auto` selects for the others."""
    monkeypatch.setattr(dispatch, "_environment", "small")
    dispatch.register("other", dispatch._operations["toy"][-1])
    assert kernels.selected_backend("toy", SMALL) == "small"
    assert kernels.selected_backend("toy", LARGE) == "reference"
    assert kernels.selected_backend("other", SMALL) == "reference"
    with kernels.use("reference"):
        assert kernels.selected_backend("toy", SMALL) == "reference"
    with kernels.use("broken"):
        assert kernels.selected_backend("toy", SMALL) == "small"


@pytest.mark.slow
def test_the_environment_is_read():
    program = (
        "from lift.kernels import dispatch; print(dispatch.flag(), 'by', dispatch.flag_source())"
    )
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
def test_every_op_ends_with_a_reference_that_supports_everything(name):
    reasons = kernels.unsupported_reasons(name, *selfcheck.samples(name))
    assert list(reasons)[-1] == "reference" and reasons["reference"] is None


@pytest.mark.parametrize("name", OPERATIONS)
def test_fused_raises_where_no_fused_backend_supports_the_call(name, monkeypatch):
    backends = tuple(
        replace(backend, unsupported_reason=lambda *arguments: "not in this test")
        if backend.fused
        else backend
        for backend in dispatch.operations()[name]
    )
    monkeypatch.setitem(dispatch._operations, name, backends)
    with pytest.raises(RuntimeError, match=f"{name}: .*use kernels='auto' or 'reference'"):
        OPERATIONS[name](tensors(name), "fused")


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", selfcheck.TOLERANCES, ids=str)
def test_every_supported_backend_passes_its_self_check(name, dtype):
    for backend in dispatch.operations()[name]:
        if backend.unsupported_reason(*selfcheck.samples(name, dtype)) is None:
            check = selfcheck.check(name, backend, dtype)
            assert check.passed, (backend.name, check)


@pytest.mark.skipif(extension.module is None, reason=str(extension.failure))
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_self_check_reaches_every_cpp_kernel(name):
    reasons = kernels.unsupported_reasons(name, *selfcheck.samples(name))
    assert reasons.get("cpp") is None


# The plain attention under dynamic=True traces right, but takes minutes: six symbolic sizes, split
# by a window.
@pytest.mark.slow
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
        leaves = [a for a in given if a.requires_grad] if out.requires_grad else []
        results.append((out, *(_grads(out, leaves) if leaves else ())))
    torch.testing.assert_close(*results)


def _grads(out, leaves):
    """Zeros for what never gets a gradient, such as a time."""
    return torch.autograd.grad(out.sum(), leaves, materialize_grads=True)


def test_a_compiled_graph_may_depend_on_the_gpu(monkeypatch):
    """PyTorch's own query breaks a graph."""

    def breaks(device):
        torch._dynamo.graph_break()
        return 8, 6

    monkeypatch.setattr(torch.cuda, "get_device_capability", breaks)
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x: x + 1 if capability(x.device) < (9, 0) else x + 2, backend="eager", fullgraph=True
    )
    assert torch.equal(compiled(torch.zeros(3)), torch.ones(3))


def test_a_compiled_graph_follows_use(plain):
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x: dispatch.call("toy", None, x), backend="eager", fullgraph=True
    )
    for _ in range(2):
        assert torch.equal(compiled(SMALL), SMALL + 1)
        with kernels.use("reference"):
            assert torch.equal(compiled(SMALL), SMALL + 2)


def test_compiled_code_may_use_a_flag_inside_and_follows_the_flag_of_its_thread(plain):
    torch._dynamo.reset()

    @torch.compile(backend="eager", fullgraph=True)
    def compiled(x):
        outer = dispatch.call("toy", None, x)
        with kernels.use("reference"):
            return outer, dispatch.call("toy", None, x)

    assert [x[0].item() for x in compiled(SMALL)] == [1, 2]
    with kernels.use("reference"), ThreadPoolExecutor(1) as other_thread:
        assert [x[0].item() for x in compiled(SMALL)] == [2, 2]
        assert [x[0].item() for x in other_thread.submit(compiled, SMALL).result()] == [1, 2]
    assert dispatch.flag() == "auto"


def test_the_import_does_not_import_torchs_compiler():
    """Only a program that compiles needs it."""
    code = "import sys, lift.kernels; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_arguments_may_have_any_strides(name):
    """Rows that lie apart: every backend says whether it supports them, and computes the same."""
    plain = selfcheck.samples(name)
    strided = [
        torch.cat((x, x), -1)[..., : x.shape[-1]] if isinstance(x, torch.Tensor) and x.ndim else x
        for x in plain
    ]
    reasons = kernels.unsupported_reasons(name, *strided)
    for backend in dispatch.operations()[name]:
        if reasons[backend.name] is None:
            found, expected = backend.call(*strided), backend.call(*plain)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
