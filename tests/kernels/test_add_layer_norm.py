"""What `add_layer_norm` computes, what it saves, and which arguments it refuses."""

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels.ops.add_layer_norm import op

INTERPRETED = op.triton is not None and op.triton.INTERPRETED and not torch.cuda.is_available()
needs_interpreter = pytest.mark.skipif(not INTERPRETED, reason="needs interpreter")
backends = pytest.mark.parametrize(
    "backend", ["reference", pytest.param("triton", marks=needs_interpreter)]
)
X, Y = torch.randn(2, 3, 4, 24), torch.randn(2, 3, 4, 24)
WEIGHT, BIAS = torch.randn(24), torch.randn(24)


@backends
@pytest.mark.parametrize("shape", [(2, 3, 4, 24), (2, 1, 1, 24), (24,), (2, 3, 1, 24)])
def test_it_is_pytorchs_layer_norm_of_the_sum(shape, backend):
    y = torch.randn(shape)
    normed, s = kernels.add_layer_norm(X, y, WEIGHT, BIAS, backend=backend)
    assert torch.equal(s, X + y)
    torch.testing.assert_close(normed, F.layer_norm(X + y, (24,), WEIGHT, BIAS))


@backends
def test_without_a_second_summand_the_sum_is_the_first(backend):
    normed, s = kernels.add_layer_norm(X, None, WEIGHT, BIAS, 1e-3, backend=backend)
    assert torch.equal(s, X)
    torch.testing.assert_close(normed, F.layer_norm(X, (24,), WEIGHT, BIAS, 1e-3))


@backends
def test_the_normalized_sum_has_the_dtype_of_the_next_layer(backend):
    half = X.half(), Y.half()
    normed, s = kernels.add_layer_norm(*half, WEIGHT, BIAS, dtype=torch.float32, backend=backend)
    assert (normed.dtype, s.dtype) == (torch.float32, torch.float16)
    torch.testing.assert_close(normed, F.layer_norm(s.float(), (24,), WEIGHT, BIAS))
    with torch.autocast("cpu", torch.bfloat16):
        normed, s = kernels.add_layer_norm(X, Y, WEIGHT, BIAS, backend=backend)
    assert (normed.dtype, s.dtype) == (torch.bfloat16, torch.float32)


@backends
@pytest.mark.parametrize("used", [(1, 0), (0, 1), (1, 1)])
def test_both_outputs_pass_gradients_on(used, backend):
    def gradients(function):
        leaves = [x.clone().requires_grad_() for x in (X, Y[:, :1], WEIGHT, BIAS)]
        outputs = [out for out, use in zip(function(*leaves), used, strict=True) if use]
        loss = sum((out * (Y + i)).sum() for i, out in enumerate(outputs))
        return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)

    def expected(x, y, weight, bias):
        return F.layer_norm(x + y, (24,), weight, bias), x + y

    found = gradients(lambda *leaves: kernels.add_layer_norm(*leaves, backend=backend))
    for one, other in zip(found, gradients(expected), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@needs_interpreter
def test_the_sum_is_saved_and_not_what_it_is_of():
    x, y, found = X.clone().requires_grad_(), Y.clone().requires_grad_(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: found.append(t) or t, lambda t: t):
        _, s = kernels.add_layer_norm(x, y, WEIGHT, BIAS, backend="triton")
    assert {t.data_ptr() for t in found} == {t.data_ptr() for t in (s, WEIGHT, BIAS)}


@needs_interpreter
def test_a_program_of_many_rows_adds_them_up(monkeypatch):
    monkeypatch.setattr(op.triton, "PROGRAMS", 2)
    x, weight, bias = torch.randn(35, 700), torch.randn(700), torch.randn(700)

    def gradients(backend):
        leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
        normed, _ = kernels.add_layer_norm(leaves[0], None, *leaves[1:], backend=backend)
        return torch.autograd.grad((normed * x.flip(0)).sum(), leaves)

    for found, expected in zip(gradients("triton"), gradients("reference"), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


@needs_interpreter
def test_gradients_can_be_differentiated():
    def second(backend):
        leaves = [x.clone().requires_grad_() for x in (X, Y, WEIGHT, BIAS)]
        normed, s = kernels.add_layer_norm(*leaves, backend=backend)
        first = torch.autograd.grad((normed.square() * s).sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), leaves)

    for found, expected in zip(second("triton"), second("reference"), strict=True):
        # sums of terms that nearly cancel are as accurate as the largest terms
        torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize(
    "error, match, changed",
    [
        (TypeError, "x must be a tensor", {"x": 1}),
        (ValueError, "x must be .* C at least 1", {"x": torch.rand(2, 0)}),
        (ValueError, "y must be .2, 3, 4, 24. to fit x", {"y": torch.rand(5, 24)}),
        (TypeError, "y must be torch.float32", {"y": Y.half()}),
        (ValueError, "weight must be .24,.", {"weight": torch.rand(23)}),
        (ValueError, "bias must be .24,.", {"bias": torch.rand(1, 24)}),
        (ValueError, "eps must be larger than 0", {"eps": 0.0}),
        (TypeError, "dtype must be a floating dtype", {"dtype": torch.int32}),
    ],
)
def test_wrong_arguments_are_named(error, match, changed):
    arguments = {"x": X, "y": Y, "weight": WEIGHT, "bias": BIAS} | changed
    with pytest.raises(error, match=f"add_layer_norm: {match}"):
        kernels.add_layer_norm(**arguments)
