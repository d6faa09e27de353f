"""`add_layer_norm`: the public function, its schema and backends."""

import torch

from lift.kernels import autograd, dispatch
from lift.kernels.checks import autocast_dtype, check_same, check_tensor
from lift.kernels.ops.add_layer_norm.reference import add_layer_norm_reference

# -- the op ----------------------------------------------------------------------------------------

_ARGUMENTS = "Tensor x, Tensor? y, Tensor weight, Tensor bias, float eps, ScalarType dtype"


def _fake(x, y, weight, bias, eps, dtype) -> tuple[torch.Tensor, torch.Tensor]:
    return x.new_empty(x.shape, dtype=dtype), x.new_empty((0,) if y is None else x.shape)


def _call(namespace: str, x, y, weight, bias, eps, dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """As `add_layer_norm_reference`; the op takes contiguous x and returns no sum without y."""
    x = x.contiguous()
    y = None if y is None else y.expand(x.shape)
    normed, s = autograd.run_op(namespace, "add_layer_norm", x, y, weight, bias, eps, dtype)
    return normed, x if y is None else s


ADD_LAYER_NORM = autograd.Op(
    name="add_layer_norm",
    schema=f"({_ARGUMENTS}) -> (Tensor normed, Tensor s)",
    backward_schema=f"(Tensor? grad, Tensor? grad_s, {_ARGUMENTS}, int needs) -> "
    "(Tensor, Tensor, Tensor, Tensor)",
    inputs=4,
    tensors=4,
    features=2,
    fake=_fake,
    reference=add_layer_norm_reference,
    outputs=2,
    adds=True,
    call=_call,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    x, y = (torch.randn(2, 3, 5, 48, generator=generator).to(dtype) for _ in range(2))
    weight, bias = (torch.randn(48, generator=generator) for _ in range(2))
    return x, y, weight, bias, 1e-5, dtype


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", ADD_LAYER_NORM)
dispatch.register(
    "add_layer_norm",
    _triton,
    dispatch.Backend("reference", add_layer_norm_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def add_layer_norm(
    x: torch.Tensor,
    y: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float = 1e-5,
    *,
    dtype: torch.dtype | None = None,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add two tensors and normalize the sum over its last dimension.

    With weight and bias of an `nn.LayerNorm` this is the layer applied to x + y. Only the sum is
    saved for backward.

    Args:
        x: (..., C), such as the residual stream of a transformer: float32, float16, bfloat16 or
            float64.
        y: dtype of x, of a shape that broadcasts to that of x, such as the output of a layer; None
            normalizes x alone.
        weight, bias: (C,), any floating dtype.
        eps: added to the variance, larger than 0.
        dtype: of the normalized sum, a floating dtype; None for that in which a linear layer would
            compute: autocast's under autocast, else that of x.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        The normalized sum in `dtype`, then the sum in the dtype of x (x itself where y is None),
        each of the shape of x. Statistics are float32 (float64 for float64).

    Raises:
        TypeError, ValueError: an argument of another dtype, device, shape or range.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "add_layer_norm"
    check_tensor(op, "x", x)
    if x.ndim < 1 or x.shape[-1] < 1:
        raise ValueError(f"{op}: x must be (..., C) with C at least 1, got {tuple(x.shape)}")
    if y is not None:
        check_tensor(op, "y", y)
        shape = _broadcast(tuple(y.shape), tuple(x.shape))
        check_same(op, "y", y, "x", x, shape, x.dtype)
    for name, value in (("weight", weight), ("bias", bias)):
        check_same(op, name, value, "x", x, x.shape[-1:])
    if not eps > 0:
        raise ValueError(f"{op}: eps must be larger than 0, got {eps}")
    dtype = autocast_dtype(x) if dtype is None else dtype
    if not dtype.is_floating_point:
        raise TypeError(f"{op}: dtype must be a floating dtype, got {dtype}")
    return dispatch.call(op, backend, x, y, weight, bias, eps, dtype)


def _broadcast(shape: tuple[int, ...], full: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` if it broadcasts to `full`, else `full`."""
    ends = zip(reversed(shape), reversed(full), strict=False)
    fits = len(shape) <= len(full) and all(n in (1, m) for n, m in ends)
    return shape if fits else full
