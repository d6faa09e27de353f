"""Launches of the Triton kernels of `time_mlp`."""

import torch
import triton

from lift.kernels.autograd import empty_grads
from lift.kernels.checks import TRITON_DTYPES, unsupported_by_triton, unsupported_gradient
from lift.kernels.launch import (
    DISPATCH_KEYS,  # noqa: F401  for dispatch
    INTERPRETED,
    strides,
)
from lift.kernels.launch_memory import launch_again
from lift.kernels.ops.time_mlp.triton_kernels import time_mlp_bwd_kernel, time_mlp_fwd_kernel

TILE = 2048  # values of a program at once, 16 per thread
MAX_HIDDEN, MAX_CHANNELS = 2048, 256  # of a program's sums
MAX_RESULT = 1 << 31  # values; the kernels count them in 32 bits


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `time_mlp`, or None."""
    if not arguments:
        return unsupported_by_triton(INTERPRETED)
    k_times, q_times, weight1, bias1, weight2, bias2, dtype = arguments
    times = {"k_times": k_times, **({} if q_times is None else {"q_times": q_times})}
    if reason := unsupported_gradient(**times):
        return reason
    parameters = (weight1, bias1) if weight2 is None else (weight1, bias1, weight2, bias2)
    if any(x.dtype != torch.float32 for x in parameters):
        return "parameters of another dtype than float32"
    if dtype not in TRITON_DTYPES:
        return f"a result of {dtype}: float32, float16 or bfloat16 only"
    if weight1.shape[0] > MAX_HIDDEN:
        return f"{weight1.shape[0]} hidden units: up to {MAX_HIDDEN} only"
    if weight2 is not None and weight2.shape[0] > MAX_CHANNELS:
        return f"{weight2.shape[0]} channels: up to {MAX_CHANNELS} only"
    pairs = k_times.numel() * (1 if q_times is None else q_times.shape[1])
    if pairs * (weight1 if weight2 is None else weight2).shape[0] >= MAX_RESULT:
        return f"{pairs} pairs of times: too many for 32 bits"
    return unsupported_by_triton(INTERPRETED, k_times, min_side=None)


# -- arguments of the kernels ----------------------------------------------------------------------


def _inputs(k_times, q_times, weight1, bias1, weight2) -> dict:
    """What both kernels take."""
    Tq = 1 if q_times is None else q_times.shape[1]
    return {
        "k_times": k_times,
        **strides("sk", "bt", k_times),
        "q_times": q_times,
        **strides("sq", "bt", q_times),
        "weight1": weight1.contiguous(),
        "bias1": bias1.contiguous(),
        "weight2": None if weight2 is None else weight2.contiguous(),
        "Tq": Tq,
        "Tk": k_times.shape[1],
        "pairs": k_times.numel() * Tq,
        "N": weight1.shape[0],
        "C": (weight1 if weight2 is None else weight2).shape[0],
    }


def forward_arguments(out, k_times, q_times, weight1, bias1, weight2, bias2) -> tuple[int, dict]:
    """The number of programs and the arguments of `time_mlp_fwd_kernel`."""
    arguments = _inputs(k_times, q_times, weight1, bias1, weight2)
    BN = triton.next_power_of_2(weight1.shape[0])
    BP = min(triton.next_power_of_2(arguments["pairs"]), max(1, TILE // BN))
    arguments |= {
        "out": out,
        "bias2": None if bias2 is None else bias2.contiguous(),
        "BP": BP,
        "BN": BN,
    }
    blocks = triton.cdiv(arguments["pairs"], BP)
    return blocks if weight2 is None else blocks * arguments["C"], arguments


def backward_arguments(grads, grad, k_times, q_times, weight1, bias1, weight2) -> tuple[int, dict]:
    """The number of programs and the arguments of `time_mlp_bwd_kernel`.

    Args:
        grads: of the parameters, written; None for those that there are not.
    """
    names = "dweight1", "dbias1", "dweight2", "dbias2"
    arguments = _inputs(k_times, q_times, weight1, bias1, weight2)
    BN = min(triton.next_power_of_2(weight1.shape[0]), 32 if weight2 is None else 8)
    BC = 1 if weight2 is None else triton.next_power_of_2(weight2.shape[0])
    arguments |= {
        **dict(zip(names, grads, strict=True)),
        "grad": grad.contiguous(),
        "BP": min(triton.next_power_of_2(arguments["pairs"]), max(1, TILE // (BN * BC))),
        "BN": BN,
        "BC": BC,
    }
    return triton.cdiv(weight1.shape[0], BN), arguments


# -- forward and backward --------------------------------------------------------------------------


def time_mlp_forward(k_times, q_times, weight1, bias1, weight2, bias2, dtype):
    B, Tk = k_times.shape
    Tq = 1 if q_times is None else q_times.shape[1]
    C = (weight1 if weight2 is None else weight2).shape[0]
    out = k_times.new_empty((B, C, Tq, Tk), dtype=dtype)
    if out.numel() > 0:
        inputs = k_times, q_times, weight1, bias1, weight2, bias2
        launch_again(time_mlp_fwd_kernel, forward_arguments, out, *inputs)
    return out


def time_mlp_backward(grad, k_times, q_times, weight1, bias1, weight2, bias2, dtype, needs):
    """Gradients of the parameters; the times have none."""
    inputs = k_times, q_times, weight1, bias1, weight2, bias2
    found = list(empty_grads(inputs, needs, 0))
    parameters = inputs[2:]
    if grad.numel() == 0:
        return tuple(x.zero_() for x in found)
    grads = [None if x is None else torch.empty_like(x).contiguous() for x in parameters]
    launch_again(time_mlp_bwd_kernel, backward_arguments, grads, grad, *inputs[:5])
    for i, x in enumerate(grads, 2):
        if needs >> i & 1:
            found[i] = x
    return tuple(found)


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): a bias of attention scores, and an embedding of times."""
    for label, dtype, (B, Tk), N, C in (
        ("8 heads float32", torch.float32, (4, 15), 32, 8),
        ("256 channels bfloat16", torch.bfloat16, (4, 1), 256, None),
    ):
        k_times, q_times = (torch.empty(B, T, device="meta") for T in (Tk, 1))
        first = torch.empty(N, 6, device="meta"), torch.empty(N, device="meta")
        second, origin = (None, None), None
        if C is not None:
            second = torch.empty(C, N, device="meta"), torch.empty(C, device="meta")
            origin = q_times
        out = torch.empty(B, C or N, 1, Tk, dtype=dtype, device="meta")
        _, arguments = forward_arguments(out, k_times, origin, *first, *second)
        yield f"fwd {label}", time_mlp_fwd_kernel, arguments
        grads = (*first, *second)
        _, arguments = backward_arguments(grads, out, k_times, origin, *first, second[0])
        yield f"bwd {label}", time_mlp_bwd_kernel, arguments
