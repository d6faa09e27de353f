"""What `group_norm` computes, what it saves, and the residual block that it is part of."""

import pytest
import torch
import torch.nn.functional as F

from lift import kernels
from lift.kernels import dispatch, extension
from lift.kernels.ops.group_norm import op
from lift.model.blocks import ResidualBlock
from lift.saved_tensors import saved_bytes

INTERPRETED = op.triton is not None and op.triton.INTERPRETED and not torch.cuda.is_available()
needs_interpreter = pytest.mark.skipif(not INTERPRETED, reason="needs interpreter")
needs_cpp = pytest.mark.skipif(extension.module is None, reason=str(extension.failure))
fused = [
    pytest.param("triton", marks=needs_interpreter),
    pytest.param("cpp", marks=needs_cpp),
]
backends = pytest.mark.parametrize("backend", ["reference", *fused[:1]])
float32_backends = pytest.mark.parametrize("backend", ["reference", *fused])
X, SKIP = torch.randn(2, 2, 6, 4, 7)
WEIGHT, BIAS, X_BIAS = torch.randn(3, 6)


@float32_backends
def test_it_is_what_pytorch_does_in_steps(backend):
    y = F.group_norm(X + X_BIAS.view(-1, 1, 1), 3, WEIGHT, BIAS)
    found = kernels.group_norm(X, WEIGHT, BIAS, 3, backend=backend, x_bias=X_BIAS)
    torch.testing.assert_close(found, y)
    found = kernels.group_norm(
        X, WEIGHT, BIAS, 3, x_bias=X_BIAS, skip=SKIP, slope=0.1, backend=backend
    )
    torch.testing.assert_close(found, F.leaky_relu(y + SKIP, 0.1))


@pytest.mark.parametrize("backend", fused)
@pytest.mark.parametrize("mean", [1e3, -1e5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_large_mean_costs_no_digits(mean, layout, backend):
    x = mean + torch.randn(1, 6, 30, 40).mul(8).round().div(8)  # exact in float32
    x = x.to(memory_format=layout)
    one, zero = torch.ones(6), torch.zeros(6)
    found = kernels.group_norm(x, one, zero, 2, backend=backend)
    exact = F.group_norm(x.double(), 2)
    assert (found - exact).abs().max() < 4e-7 * abs(mean)  # a few roundings of the mean


@pytest.mark.parametrize("backend", fused)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_first_pixel_unlike_all_others_costs_no_digits(layout, backend):
    x = torch.randn(1, 6, 60, 80).to(memory_format=layout)
    x[:, :, 0, 0] = 1e4
    found = kernels.group_norm(x, torch.ones(6), torch.zeros(6), 2, backend=backend)
    exact = F.group_norm(x.double(), 2)
    assert (found - exact).abs().max() < 2e-6 * exact.abs().max()


@backends
def test_dtype_and_layout_are_those_of_x(backend):
    x, skip = (v.bfloat16().contiguous(memory_format=torch.channels_last) for v in (X, SKIP))
    for state in (skip, skip.float()):
        out = kernels.group_norm(x, WEIGHT, BIAS, 2, skip=state, backend=backend)
        assert out.dtype == torch.bfloat16
        assert out.is_contiguous(memory_format=torch.channels_last) or backend == "reference"


@needs_interpreter
def test_saved_are_the_inputs_and_two_numbers_a_group():
    x = X.half().requires_grad_()
    out, saved = saved_bytes(
        lambda: kernels.group_norm(
            x, WEIGHT, BIAS, 3, x_bias=X_BIAS, skip=SKIP.half(), slope=0.1, backend="triton"
        )
    )
    inputs = 2 * x.nbytes + 3 * WEIGHT.nbytes
    # slices of one tensor count as that
    assert saved <= inputs + 2 * 2 * 3 * 4 + 3 * WEIGHT.nbytes


@needs_interpreter
def test_gradients_can_be_differentiated():
    def second(backend):
        x, skip, weight = (v.clone().requires_grad_() for v in (X, SKIP, WEIGHT))
        out = kernels.group_norm(x, weight, BIAS, 2, skip=skip, slope=0.1, backend=backend)
        (first,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), (x, skip, weight))

    for found, expected in zip(second("triton"), second("reference"), strict=True):
        # sums of terms that nearly cancel are as accurate as the largest terms
        torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


# -- in a residual block ---------------------------------------------------------------------------


@pytest.mark.parametrize("backend", fused)
def test_a_fused_residual_block_is_the_same(backend):
    block = ResidualBlock(8, norm=True)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    results = []
    for flag in ("reference", backend):
        block.backend, x = flag, torch.linspace(-1, 1, 280).view(1, 8, 5, 7).requires_grad_()
        out = block(x)
        grads = torch.autograd.grad(out.square().sum(), (x, *block.parameters()))
        results.append((out, *grads))
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@needs_cpp
def test_a_residual_block_on_a_cpu_saves_less_than_its_layers():
    """The inputs of both convolutions and both norms; its layers save an activation more."""
    x = torch.randn(1, 8, 30, 40, requires_grad=True)
    saved = []
    for flag in ("cpp", "reference"):
        block = ResidualBlock(8, norm=True, backend=flag)
        out, size = saved_bytes(lambda block=block: block(x), exclude=block.parameters())
        saved.append(size / x.nbytes)
    assert saved == pytest.approx([4, 5], abs=0.1)


def test_a_residual_block_of_reference_kernels_calls_its_layers():
    block, calls = ResidualBlock(8, norm=True, backend="reference"), []
    for layer in (block.conv1, block.norm1, block.conv2, block.norm2):
        layer.register_forward_hook(lambda layer, *_: calls.append(layer))
    block(torch.randn(1, 8, 5, 7))
    assert calls == [block.conv1, block.norm1, block.conv2, block.norm2]
    with dispatch.assume_available():
        assert dispatch.select("group_norm", "auto", X).fused


# -- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "words"),
    [
        ((X[0], WEIGHT, BIAS, 2), {}, ValueError, r"x must be \(B, C, H, W\), got \(6, 4, 7\)"),
        ((X, WEIGHT[:5], BIAS, 2), {}, ValueError, r"weight must be \(6,\) to fit x"),
        ((X, WEIGHT, None, 2), {}, TypeError, "bias must be a tensor, got NoneType"),
        ((X, WEIGHT, BIAS, 4), {}, ValueError, "groups must divide the 6 channels of x, got 4"),
        ((X, WEIGHT, BIAS, 0), {}, ValueError, "groups must divide the 6 channels of x, got 0"),
        ((X, WEIGHT, BIAS, 2, 0.0), {}, ValueError, "eps must be larger than 0, got 0.0"),
        ((X, WEIGHT, BIAS, 2), {"x_bias": X}, ValueError, r"x_bias must be \(6,\) to fit x"),
        ((X, WEIGHT, BIAS, 2), {"skip": X[:1]}, ValueError, r"skip must be \(2, 6, 4, 7\)"),
        (
            (X, WEIGHT, BIAS, 2),
            {"skip": X.half()},
            TypeError,
            "skip must be torch.float32 or torch.float32 to fit x, got torch.float16",
        ),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_wrong_arguments_are_named(arguments, keywords, error, words):
    with pytest.raises(error, match=words):
        kernels.group_norm(*arguments, **keywords)


def test_many_channels_and_groups_go_to_the_reference():
    if op.triton is None:
        pytest.skip("Triton cannot be imported")
    reasons = []
    for C, groups in ((300, 2), (64, 64), (64, 32)):
        x, w = torch.empty(1, C, 2, 2), torch.ones(C)
        arguments = (x, None, w, w, None, groups, 1e-5, 1.0)
        reasons.append(kernels.unsupported_reasons("group_norm", *arguments)["triton"])
    if not INTERPRETED:
        pytest.skip("the device is the reason")
    assert reasons == ["300 channels: up to 256 only", "64 groups: up to 32 only", None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_reference_has_a_gradient_of_the_weight_alone_beside_channels_last_features(dtype):
    """PyTorch's own backward ends the process there."""
    x = torch.randn(2, 6, 3, 2, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(6, dtype=dtype, requires_grad=True), torch.zeros(6, dtype=dtype)

    def gradient(x):
        out = kernels.group_norm(x, weight, bias, 2, backend="reference")
        return torch.autograd.grad(out.square().sum(), weight)[0]

    torch.testing.assert_close(gradient(x), gradient(x.contiguous()))


def test_maps_without_pixels_have_gradients_of_zero():
    """Where the mean is that of nothing."""
    for backend in ("cpp", "reference"):
        x = torch.zeros(1, 4, 3, 0, requires_grad=True)
        parameters = [torch.ones(4, requires_grad=True) for _ in range(2)]
        if kernels.unsupported_reasons("group_norm")[backend]:
            continue
        out = kernels.group_norm(x, *parameters, 2, backend=backend)
        for grad in torch.autograd.grad(out.sum(), parameters):
            assert torch.equal(grad, torch.zeros(4)), backend


@pytest.mark.parametrize("backend", ["triton", "cpp", "reference"])
def test_a_group_of_one_value_is_normalized_to_zero(backend):
    """Which `F.group_norm` refuses for one image, and takes for two."""
    x, weight, bias = torch.randn(1, 3, 1, 1), torch.ones(3), torch.tensor([0.5, -2.0, 3.0])
    if kernels.unsupported_reasons("group_norm", x, None, weight, bias, None, 3, 1e-5, 1.0)[
        backend
    ]:
        pytest.skip("not on this machine")
    out = kernels.group_norm(x, weight, bias, 3, backend=backend)
    torch.testing.assert_close(out.flatten(), bias, atol=1e-4, rtol=0)  # 1 / deviation is 316
