"""`time_mlp`: the public function, its schema and backends."""

import torch

from lift.kernels import autograd, dispatch
from lift.kernels.checks import check_same, check_tensor
from lift.kernels.ops.time_mlp.reference import FEATURES, time_mlp_reference

# -- the op ----------------------------------------------------------------------------------------

_ARGUMENTS = (
    "Tensor k_times, Tensor? q_times, Tensor weight1, Tensor bias1, Tensor? weight2, "
    "Tensor? bias2, ScalarType dtype"
)


def _fake(k_times, q_times, weight1, bias1, weight2, bias2, dtype) -> torch.Tensor:
    Tq = 1 if q_times is None else q_times.shape[1]
    C = weight1.shape[0] if weight2 is None else weight2.shape[0]
    return k_times.new_empty((k_times.shape[0], C, Tq, k_times.shape[1]), dtype=dtype)


TIME_MLP = autograd.Op(
    name="time_mlp",
    schema=f"({_ARGUMENTS}) -> Tensor",
    backward_schema=f"(Tensor grad, {_ARGUMENTS}, int needs) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    inputs=6,
    tensors=6,
    features=0,
    by_reference=(0, 1),
    fake=_fake,
    reference=time_mlp_reference,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    shapes = (2, 5), (2, 3), (12, FEATURES), (12,), (4, 12), (4,)
    return *(torch.randn(shape, generator=generator) for shape in shapes), dtype


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", TIME_MLP)
dispatch.register(
    "time_mlp",
    _triton,
    dispatch.Backend("reference", time_mlp_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def time_mlp(
    k_times: torch.Tensor,
    q_times: torch.Tensor | None,
    weight1: torch.Tensor,
    bias1: torch.Tensor,
    weight2: torch.Tensor | None = None,
    bias2: torch.Tensor | None = None,
    *,
    dtype: torch.dtype | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """A small MLP of the differences k_times - q_times, such as a bias of attention scores.

    Of a difference d the MLP reads d, |d|, log(1 + |d|), sign(d), exp(-|d|) and 1 / (1 + d^2). It
    is a linear layer, or two with an exact GELU between them. Autocast changes nothing. Only inputs
    are saved for backward.

    Args:
        k_times: (B, Tk), in intervals between the references; float32 or float64.
        q_times: (B, Tq), dtype of k_times; None for one time of 0.
        weight1, bias1: (N, 6) and (N,), of the first linear layer, any floating dtype.
        weight2, bias2: (C, N) and (C,), of the second; None for one layer alone, where C is N.
        dtype: of the result, a floating dtype; None for that of weight1.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, C, Tq, Tk), contiguous. Differentiable in the parameters; the reference also in times.

    Raises:
        TypeError, ValueError: an argument of another dtype, device, shape or range.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "time_mlp"
    check_tensor(op, "k_times", k_times)
    if k_times.ndim != 2:
        raise ValueError(f"{op}: k_times must be (B, Tk), got {tuple(k_times.shape)}")
    if q_times is not None:
        check_tensor(op, "q_times", q_times)
        shape = (k_times.shape[0], q_times.shape[-1] if q_times.ndim else 1)
        check_same(op, "q_times", q_times, "k_times", k_times, shape, k_times.dtype)
    check_tensor(op, "weight1", weight1)
    N = weight1.shape[0] if weight1.ndim else 0
    check_same(op, "weight1", weight1, "k_times", k_times, (N, FEATURES))
    check_same(op, "bias1", bias1, "weight1", weight1, (N,), weight1.dtype)
    if (weight2 is None) != (bias2 is None):
        raise ValueError(f"{op}: weight2 and bias2 must both be tensors, or both be None")
    if weight2 is not None:
        check_tensor(op, "weight2", weight2)
        C = weight2.shape[0] if weight2.ndim else 0
        check_same(op, "weight2", weight2, "weight1", weight1, (C, N), weight1.dtype)
        check_same(op, "bias2", bias2, "weight2", weight2, (C,), weight1.dtype)
    dtype = weight1.dtype if dtype is None else dtype
    if not dtype.is_floating_point:
        raise TypeError(f"{op}: dtype must be a floating dtype, got {dtype}")
    return dispatch.call(op, backend, k_times, q_times, weight1, bias1, weight2, bias2, dtype)
