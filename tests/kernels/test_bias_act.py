"""What `bias_act` computes, its gradients and memory, and the convolution that it follows."""

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from benchmarks.harness.layouts import channels_last
from lift import kernels
from lift.kernels import dispatch
from lift.kernels.ops.bias_act import op
from lift.model.blocks import conv_act

INTERPRETED = op.triton is not None and op.triton.INTERPRETED and not torch.cuda.is_available()
BACKENDS = [
    "reference",
    pytest.param("triton", marks=pytest.mark.skipif(not INTERPRETED, reason="needs interpreter")),
]
backends = pytest.mark.parametrize("backend", BACKENDS)
X, BIAS = torch.randn(2, 3, 4, 8), torch.randn(3)


@backends
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_it_is_what_pytorch_does_in_steps(factor, backend):
    skip = torch.randn(2, 3, 4 // factor, 8 // factor)
    up = F.interpolate(skip, scale_factor=factor, mode="bilinear") if factor > 1 else skip
    expected = F.leaky_relu(X + BIAS.view(1, 3, 1, 1) + up, 0.1)
    torch.testing.assert_close(kernels.bias_act(X, BIAS, skip, backend=backend), expected)


@backends
def test_a_float32_state_gives_the_output_its_dtype_and_layout(backend):
    x = channels_last(X).half().requires_grad_()
    bias, state = BIAS.clone().requires_grad_(), torch.randn(2, 3, 4, 8, requires_grad=True)
    out = kernels.bias_act(x, bias, state, slope=1, backend=backend)
    assert out.dtype == torch.float32 and out.is_contiguous()
    torch.testing.assert_close(out, state + (x.float() + BIAS.view(1, 3, 1, 1)))
    grad = torch.randn(2, 3, 4, 8)
    dx, dbias, dstate = torch.autograd.grad(out, (x, bias, state), grad)
    assert torch.equal(dx, grad.half()) and torch.equal(dstate, grad)
    torch.testing.assert_close(dbias, grad.sum((0, 2, 3)))
    coarse = kernels.bias_act(x, bias, state[..., ::2, ::2], backend=backend)
    assert coarse.dtype == torch.float16


@pytest.mark.skipif(not INTERPRETED, reason="needs interpreter")
def test_x_and_skip_have_one_gradient_between_them():
    x, skip = (torch.randn(1, 2, 3, 4, requires_grad=True) for _ in range(2))
    for slope in (0.1, 1):
        out = kernels.bias_act(x, None, skip, slope, backend="triton")
        dx, dskip = torch.autograd.grad(out, (x, skip), torch.ones_like(out))
        assert dx.data_ptr() == dskip.data_ptr()


@pytest.mark.skipif(not INTERPRETED, reason="needs interpreter")
@pytest.mark.parametrize("slope, saved", [(0.1, 1), (1, 0)])
def test_nothing_but_the_output_is_saved(slope, saved):
    x, found = X.clone().requires_grad_(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: found.append(t) or t, lambda t: t):
        out = kernels.bias_act(x, BIAS, X, slope, backend="triton")
    assert [t.data_ptr() for t in found] == [out.data_ptr()] * saved


@pytest.mark.skipif(not INTERPRETED, reason="needs interpreter")
@pytest.mark.parametrize("factor", [1, 2])
def test_gradients_can_be_differentiated(factor):
    x, bias = torch.randn(1, 2, 2, 4), torch.randn(2)
    skip = torch.randn(1, 2, 2 // factor, 4 // factor)

    def second(backend):
        inputs = [t.clone().requires_grad_() for t in (x, bias, skip)]
        out = kernels.bias_act(*inputs, backend=backend)
        first = torch.autograd.grad(out.square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

    for found, expected in zip(second("triton"), second("reference"), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.skipif(not INTERPRETED, reason="needs interpreter")
@pytest.mark.parametrize("factor, slope", [(0, 0.1), (1, 0.1), (1, 1), (4, 0.1)])
def test_a_fused_convolution_is_the_layer_and_what_follows(factor, slope):
    layer = nn.Conv2d(3, 3, 3, 1, 1)
    skip = torch.randn(2, 3, 4 // factor, 8 // factor) if factor else None
    found = conv_act(layer, X, skip, slope, backend="triton")
    torch.testing.assert_close(found, conv_act(layer, X, skip, slope))


def test_a_convolution_on_a_cpu_is_the_layer_itself():
    calls = []
    layer = nn.Conv2d(3, 3, 3, 1, 1)
    layer.register_forward_hook(lambda *arguments: calls.append(arguments))
    expected = F.leaky_relu(layer(X) + X, 0.1)
    assert torch.equal(conv_act(layer, X, X), expected)
    assert len(calls) == 2
    assert kernels.selected_backend("bias_act", X, BIAS) == "reference"


def test_tensors_without_data_take_the_fused_backend():
    with dispatch.assume_available():
        assert dispatch.select("bias_act", "auto", X).fused


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ((X[0], BIAS), ValueError, r"x must be \(B, C, H, W\), got \(3, 4, 8\)"),
        ((X, BIAS[:2]), ValueError, r"bias must be \(3,\) to fit x \(2, 3, 4, 8\), got \(2,\)"),
        ((X, 0.5), TypeError, "bias must be a tensor, got float"),
        ((X, BIAS, X[..., :3]), ValueError, r"skip must be \(B, C, H/k, W/k\) for x"),
        ((X, BIAS, X[..., :3, :6]), ValueError, r"an integer k, got \(2, 3, 3, 6\)"),
        ((X, BIAS, X.to("meta")), ValueError, "skip must be on cpu like x, got meta"),
        ((X, BIAS, None, 0), ValueError, "slope must be above 0 and at most 1, got 0"),
    ],
    ids=lambda value: value[:28] if isinstance(value, str) else "",
)
def test_wrong_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        kernels.bias_act(*arguments)
