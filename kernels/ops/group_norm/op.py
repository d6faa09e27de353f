"""`group_norm`: the public function, its schema and backends."""

import torch

from lift.kernels import autograd, dispatch, extension
from lift.kernels.checks import accumulate_dtype, check_image, check_same
from lift.kernels.ops.group_norm.reference import empty_statistics, group_norm_reference

# -- the op ----------------------------------------------------------------------------------------

_INPUTS = (
    "Tensor x, Tensor? skip, Tensor weight, Tensor bias, Tensor? x_bias, "
    "int groups, float eps, float slope"
)


def _fake(x, skip, weight, bias, x_bias, groups, eps, slope):
    return autograd.empty_like_layout(x), *(empty_statistics(x, groups) for _ in range(2))


def _call(namespace: str, *arguments) -> torch.Tensor:
    return autograd.run_op(namespace, "group_norm", *arguments)[0]


# Under autocast the op computes with what it gets, always in float32. The second and third output
# are the mean and 1 / standard deviation of each group, for the backward. It takes the activation's
# side from x and skip, which a residual block's first convolution saves too, not from the output.
GROUP_NORM = autograd.Op(
    name="group_norm",
    schema=f"({_INPUTS}) -> (Tensor, Tensor, Tensor)",
    backward_schema=f"(Tensor grad, {_INPUTS}, Tensor mean, Tensor rstd, int needs)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    inputs=5,
    tensors=5,
    features=2,
    fake=_fake,
    reference=group_norm_reference,
    saved_outputs=(1, 2),
    call=_call,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    x, skip = (torch.randn(2, 6, 11, 18, generator=generator).to(dtype) for _ in range(2))
    weight, bias, x_bias = (torch.randn(6, generator=generator) for _ in range(3))
    return 2 * x, skip, weight, bias, x_bias, 2, 1e-5, 0.1


def _unsupported_by_cpp(*arguments) -> str | None:
    """The reason why C++ does not support arguments of `group_norm`, or None."""
    reason = extension.unsupported_reason(*arguments[:1], dtypes=extension.FEATURES)
    if reason or len(arguments) < 2:
        return reason
    return extension.other_dtype(arguments[0].dtype, ("a skip connection", arguments[1]))


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", GROUP_NORM)
dispatch.register(
    "group_norm",
    _triton,
    dispatch.cpp_backend(GROUP_NORM, _unsupported_by_cpp),
    dispatch.Backend("reference", group_norm_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def group_norm(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    groups: int,
    eps: float = 1e-5,
    x_bias: torch.Tensor | None = None,
    skip: torch.Tensor | None = None,
    slope: float = 1.0,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """GroupNorm of a convolution's output, a skip connection and a leaky ReLU.

    The output is leaky_relu(GroupNorm(x + x_bias) * weight + bias + skip, slope). Statistics and
    arithmetic are float32 (float64 for float64) whatever x is, also under autocast.

    Args:
        x: (B, C, H, W), float32, float16, bfloat16 or float64. The fused backend takes up to 256
            channels in up to 32 groups.
        weight, bias: (C,), any floating dtype.
        groups: number of groups of consecutive channels; divides C.
        eps: added to the variance of a group; larger than 0.
        x_bias: (C,), of the convolution that made x without it; None for 0.
        skip: (B, C, H, W), in the dtype of x or in float32; None for 0.
        slope: of the leaky ReLU for negative values; 1 for no activation.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, C, H, W), dtype of x; channels-last where x is. Differentiable in every tensor.

    Raises:
        TypeError, ValueError: an argument of another dtype, device, shape or value.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "group_norm"
    check_image(op, "x", x)
    C = x.shape[1]
    for name, value in (("weight", weight), ("bias", bias), ("x_bias", x_bias)):
        if value is not None or name != "x_bias":
            check_same(op, name, value, "x", x, (C,))
    if skip is not None:
        check_same(op, "skip", skip, "x", x, tuple(x.shape))
        if skip.dtype not in (x.dtype, accumulate_dtype(x)):
            raise TypeError(
                f"{op}: skip must be {x.dtype} or {accumulate_dtype(x)} to fit x, got {skip.dtype}"
            )
    if groups < 1 or C % groups:
        raise ValueError(f"{op}: groups must divide the {C} channels of x, got {groups}")
    if not eps > 0:
        raise ValueError(f"{op}: eps must be larger than 0, got {eps}")
    return dispatch.call(
        op, backend, x, skip, weight, bias, x_bias, int(groups), float(eps), float(slope)
    )
