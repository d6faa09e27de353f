"""`bias_act`: the public function, its schema, its gradients and backends."""

import torch

from lift.kernels import autograd, dispatch
from lift.kernels.checks import check_image, check_same, check_tensor
from lift.kernels.ops.bias_act.reference import (
    bias_act_reference,
    empty_grads,
    empty_output,
    upsampling,
)

# -- gradients -------------------------------------------------------------------------------------

# The backward needs where the output is positive, no inputs: the next convolution saves the output
# anyway, and the convolution's own result is freed.


def _save(ctx, inputs, output) -> None:
    x, bias, skip, ctx.slope = inputs
    ctx.save_for_backward(*[output] * (ctx.slope < 1))
    ctx.x = x.dtype, autograd.is_channels_last(x)
    ctx.skip = None if skip is None else (skip.dtype, autograd.is_channels_last(skip))
    ctx.bias = None if bias is None else bias.dtype
    ctx.factor = upsampling(x, skip)


def _gradients(backward, ctx, grad) -> tuple[torch.Tensor | None, ...]:
    """Gradients of x, bias, skip and slope.

    At full resolution x and skip have one gradient between them, and without activation it is the
    incoming one, where dtypes and layouts agree.
    """
    if torch.is_grad_enabled():  # create_graph=True: the gradients will be differentiated
        return _differentiable_gradients(ctx, grad)
    dx, dbias, dskip = None, None, None
    for_x, for_bias, for_skip = ctx.needs_input_grad[:3]
    out = ctx.saved_tensors[0] if ctx.slope < 1 else None
    incoming = (grad.dtype, autograd.is_channels_last(grad)) if ctx.slope == 1 else None
    full = for_skip and ctx.factor == 1
    if for_x and ctx.x == incoming:
        dx, for_x = grad, False
    if full and ctx.skip == incoming:
        dskip, for_skip = grad, False
    shared = full and for_skip and ctx.skip == ctx.x
    needs = (for_x or shared) + 2 * for_bias + 4 * (for_skip and not shared)
    if needs:
        skip = ctx.skip or ctx.x
        found = backward(grad, out, *ctx.x, ctx.factor, *skip, ctx.slope, needs)
        dx = found[0] if for_x else dx
        dbias = found[1].to(ctx.bias) if for_bias else None
        dskip = found[0] if shared else found[2] if for_skip else dskip
    return dx, dbias, dskip, None


def _differentiable_gradients(ctx, grad) -> tuple[torch.Tensor | None, ...]:
    for_x, for_bias, for_skip = ctx.needs_input_grad[:3]
    if ctx.slope < 1:
        grad = torch.where(ctx.saved_tensors[0] > 0, grad, grad * ctx.slope)
    dbias, dskip = None, None
    if for_bias:
        dbias = grad.sum((0, 2, 3), dtype=torch.promote_types(grad.dtype, torch.float32))
        dbias = dbias.to(ctx.bias)
    if for_skip:
        dskip = grad if ctx.factor == 1 else _upsampling_transposed(grad, ctx.factor)
        dskip = dskip.to(ctx.skip[0])
    return grad.to(ctx.x[0]) if for_x else None, dbias, dskip, None


def _upsampling_transposed(grad: torch.Tensor, factor: int) -> torch.Tensor:
    B, C, H, W = grad.shape
    small = (B, C, H // factor, W // factor)
    return torch.ops.aten.upsample_bilinear2d_backward(grad, (H, W), small, False)


def _fake_backward(grad, out, dtype, last, factor, skip_dtype, skip_last, slope, needs):
    return empty_grads(grad, dtype, last, factor, skip_dtype, skip_last, needs)


# -- the op ----------------------------------------------------------------------------------------

# Under autocast the op computes with what it gets, whatever the dtypes of bias and skip are.
BIAS_ACT = autograd.Op(
    name="bias_act",
    schema="(Tensor x, Tensor? bias, Tensor? skip, float slope) -> Tensor",
    backward_schema="(Tensor grad, Tensor? out, ScalarType dtype, bool last, int factor, "
    "ScalarType skip_dtype, bool skip_last, float slope, int needs) -> (Tensor, Tensor, Tensor)",
    inputs=3,
    tensors=3,
    features=1,
    fake=lambda x, bias, skip, slope: empty_output(x, skip),
    reference=bias_act_reference,
    formula=autograd.Formula(_save, _gradients, _fake_backward),
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    x = torch.randn(2, 5, 6, 10, generator=generator).to(dtype)
    skip = torch.randn(2, 5, 3, 5, generator=generator).to(dtype)
    return x, torch.randn(5, generator=generator), skip, 0.1


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", BIAS_ACT)
dispatch.register(
    "bias_act",
    _triton,
    dispatch.Backend("reference", bias_act_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def bias_act(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    skip: torch.Tensor | None = None,
    slope: float = 0.1,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """What follows a convolution: leaky_relu(x + bias + upsample(skip)).

    Computed in float32, rounded once. The backward saves the output only, which the next
    convolution saves too, and nothing without activation.

    Args:
        x: (B, C, H, W), the output of a convolution without bias: float32, float16, bfloat16 or
            float64.
        bias: (C,), any floating dtype; None for none.
        skip: (B, C, H/k, W/k) for an integer k, any floating dtype, upsampled by k bilinearly as by
            `F.interpolate(align_corners=False)`; None for none.
        slope: negative slope of the leaky ReLU, above 0 and at most 1; 1 for no activation.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, C, H, W), dtype and layout of x. A float32 skip at full resolution is a state that x
        updates: the output has its dtype and layout.

    Raises:
        TypeError, ValueError: an argument of another dtype, device, shape or range.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "bias_act"
    check_image(op, "x", x)
    if bias is not None:
        check_same(op, "bias", bias, "x", x, (x.shape[1],))
    if skip is not None:
        _check_skip(op, skip, x)
    if not 0 < slope <= 1:
        raise ValueError(f"{op}: slope must be above 0 and at most 1, got {slope}")
    return dispatch.call(op, backend, x, bias, skip, float(slope))


def _check_skip(op: str, skip, x: torch.Tensor) -> None:
    check_tensor(op, "skip", skip)
    (B, C, H, W), k = x.shape, 1
    if skip.ndim == 4 and skip.shape[2] > 0:
        k = max(H // skip.shape[2], 1)
    if tuple(skip.shape) != (B, C, H // k, W // k) or H % k or W % k:
        raise ValueError(
            f"{op}: skip must be (B, C, H/k, W/k) for x {tuple(x.shape)} and an integer k, "
            f"got {tuple(skip.shape)}"
        )
    if skip.device != x.device:
        raise ValueError(f"{op}: skip must be on {x.device} like x, got {skip.device}")
