"""Launches of the Triton kernels of `add_layer_norm`.

The gradients of weight and bias are sums of many programs, added up in a fixed order.
"""

import torch
import triton

from lift.kernels.autograd import empty_grads
from lift.kernels.checks import TRITON_DTYPES, unsupported_by_triton
from lift.kernels.launch import (
    DISPATCH_KEYS,  # noqa: F401  for dispatch
    INTERPRETED,
    empty,
)
from lift.kernels.launch_memory import launch_again
from lift.kernels.ops.add_layer_norm.triton_kernels import (
    add_layer_norm_bwd_kernel,
    add_layer_norm_fwd_kernel,
)
from lift.kernels.reduction import counters

TILE = 2048  # values of a program at once, 16 per thread
PROGRAMS = 256  # of the backward, at most
PARTIAL_SUMS = 4096  # read at once
MAX_CHANNELS = 8192  # a row must fit into the registers of a program


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `add_layer_norm`, or None."""
    if not arguments:
        return unsupported_by_triton(INTERPRETED)
    x, *_, dtype = arguments
    if x.shape[-1] > MAX_CHANNELS:
        return f"{x.shape[-1]} channels: up to {MAX_CHANNELS} only"
    if dtype not in TRITON_DTYPES:
        return f"a result of {dtype}: float32, float16 or bfloat16 only"
    return unsupported_by_triton(INTERPRETED, x, min_side=None)


# -- arguments of the kernels ----------------------------------------------------------------------


def _blocks(x: torch.Tensor) -> dict:
    C = x.shape[-1]
    BC = triton.next_power_of_2(C)
    return {"C": C, "BR": max(1, TILE // BC), "BC": BC, "num_warps": max(4, BC // 1024)}


def _rows(y: torch.Tensor) -> tuple[torch.Tensor, int]:
    """y (..., C) without the innermost dimensions that it is expanded in, and their product."""
    if y.is_contiguous():
        return y, 1
    repeat, axis = 1, y.ndim - 1
    while axis > 0 and (y.stride(axis - 1) == 0 or y.shape[axis - 1] == 1):
        axis -= 1
        repeat *= y.shape[axis]
    return y[(slice(None),) * axis + (0,) * (y.ndim - 1 - axis)].contiguous(), repeat


def forward_arguments(normed, s, x, rows, repeat: int, weight, bias, eps) -> tuple[int, dict]:
    """The number of programs and the arguments of `add_layer_norm_fwd_kernel`."""
    blocks, N = _blocks(x), x.numel() // x.shape[-1]
    arguments = {
        "normed": normed,
        "s": s,
        "x": x,
        "y": rows,
        "weight": weight.contiguous(),
        "bias": bias.contiguous(),
        "N": N,
        "repeat": repeat,
        "eps": eps,
        "HAS_Y": rows is not None,
        **blocks,
    }
    return triton.cdiv(N, blocks["BR"]), arguments


def backward_arguments(ds, dparameters, grad, grad_s, s, weight, eps) -> tuple[int, dict]:
    """The number of programs and the arguments of `add_layer_norm_bwd_kernel`."""
    sizes, N = _blocks(s), s.numel() // s.shape[-1]
    blocks = triton.cdiv(triton.cdiv(N, sizes["BR"]), PROGRAMS)
    programs = triton.cdiv(N, sizes["BR"] * blocks)
    partial, counter = dparameters, None
    if programs > 1:
        partial, counter = empty(programs, *dparameters.shape), counters(1)
    arguments = {
        "ds": ds,
        "dparameters": dparameters,
        "partial": partial,
        "counter": counter,
        "grad": grad.contiguous(),
        "grad_s": None if grad_s is None else grad_s.contiguous(),
        "s": s,
        "weight": weight.contiguous(),
        "N": N,
        "eps": eps,
        "programs": programs,
        "blocks": blocks,
        "BROWS": max(1, min(PARTIAL_SUMS // sizes["BC"], triton.next_power_of_2(programs))),
        "HAS_GRAD_S": grad_s is not None,
        **sizes,
    }
    return programs, arguments


# -- forward and backward --------------------------------------------------------------------------


def add_layer_norm_forward(x, y, weight, bias, eps, dtype):
    normed = x.new_empty(x.shape, dtype=dtype)
    s = x.new_empty((0,) if y is None else x.shape)
    if x.numel() > 0:
        rows, repeat = (None, 1) if y is None else _rows(y)
        inputs = (normed, s, x, rows, repeat, weight, bias, eps)
        launch_again(add_layer_norm_fwd_kernel, forward_arguments, *inputs)
    return normed, s


def add_layer_norm_backward(grad, grad_s, s, y, weight, bias, eps, dtype, needs):
    """Gradients of the sum, nothing, weight and bias."""
    ds, dy, dweight, dbias = empty_grads((s, y, weight, bias), needs, 2)
    grad = torch.zeros_like(s) if grad is None else grad
    if grad_s is not None and grad_s.numel() == 0:  # there was one summand, so no sum
        grad_s = None
    if s.numel() == 0:
        return ds, dy, dweight.zero_(), dbias.zero_()
    ds = torch.empty_like(s) if ds.numel() == 0 else ds
    dparameters = s.new_empty((2, s.shape[-1]), dtype=torch.float32)
    inputs = (ds, dparameters, grad, grad_s, s, weight, eps)
    launch_again(add_layer_norm_bwd_kernel, backward_arguments, *inputs)
    found = zip((dweight, dbias), dparameters.unbind(), strict=True)
    return ds, dy, *(x if g.numel() > 0 else g for g, x in found)


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype, with and without a second summand."""
    for label, dtype, shape, adds in (
        ("bfloat16 256", torch.bfloat16, (1, 1, 68, 120, 256), True),
        ("float16 64", torch.float16, (1, 68, 120, 64), False),
        ("float32 192", torch.float32, (4, 1, 16, 16, 192), True),
    ):
        x = torch.empty(shape, dtype=dtype, device="meta")
        parameter = torch.empty(shape[-1], device="meta")
        y, s = (x, x) if adds else (None, x.new_empty((0,)))
        _, arguments = forward_arguments(x, s, x, y, 1, parameter, parameter, 1e-5)
        yield f"fwd {label}", add_layer_norm_fwd_kernel, arguments
        gradients = (x, x.new_empty((2, shape[-1]), dtype=torch.float32))
        _, arguments = backward_arguments(*gradients, x, x if adds else None, x, parameter, 1e-5)
        yield f"bwd {label}", add_layer_norm_bwd_kernel, arguments
