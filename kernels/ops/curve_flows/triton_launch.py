"""Launches of the Triton kernels of `curve_flows`.

What was predicted is read with any strides.
"""

import torch
import triton

from lift.kernels.autograd import empty_grads
from lift.kernels.checks import unsupported_by_triton
from lift.kernels.launch import (
    DISPATCH_KEYS,  # noqa: F401  for dispatch
    INTERPRETED,
    empty,
    image_span,
    needs_int64_offsets,
    strides,
)
from lift.kernels.launch_memory import launch_again
from lift.kernels.ops.curve_flows.triton_kernels import (
    curve_flows_bwd_kernel,
    curve_flows_fwd_kernel,
)
from lift.kernels.ops.path_inputs.triton_launch import planes
from lift.kernels.reduction import counters

COLUMNS, ROWS = 64, 4  # of a program, a thread per column
BACKWARD_ROWS = 1  # more take registers beyond a step of occupancy, and spill


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `curve_flows`, or None."""
    if len(arguments) > 6 and torch.is_grad_enabled():
        for name, x in (("times", arguments[4]), ("t", arguments[6])):
            if x.requires_grad:
                return f"{name} requires a gradient"
    if len(arguments) > 2 and arguments[2].dtype != torch.float32:
        return "a state of float64"
    return unsupported_by_triton(INTERPRETED, *arguments[:1])


# -- arguments of the kernels ----------------------------------------------------------------------


def _arguments(
    rows,
    predicted,
    bias,
    differences,
    times,
    valid,
    t,
    confidence_logit,
    largest_weight,
    noise,
    *others,
) -> tuple[int, dict]:
    """The number of programs and what both kernels take.

    Args:
        rows: of a program, at most.
        noise: the agreement of both sides in noise.
        others: tensors that the kernel reads or writes too.
    """
    B, G, _, H, W = differences.shape
    BY = min(triton.next_power_of_2(H), rows)
    blocks_per_row, blocks_per_column = triton.cdiv(W, COLUMNS), triton.cdiv(H, BY)
    noise4, noise6 = [*map(float, noise), 0.0, 0.0][:2]
    arguments = {
        "predicted": predicted,
        **strides("sp", "bcyx", predicted),
        "bias": bias,
        "s_bias": 0 if bias is None else bias.stride(0),
        "differences": differences,
        **strides("sd", "b", differences),
        "times": times,
        **strides("st", "bg", times),
        "valid": valid,
        **strides("sv", "bg", valid),
        "t": t,
        "s_t": t.stride(0),
        "confidence_logit": float(confidence_logit),
        "largest_weight": float(largest_weight),
        "noise4": noise4,
        "noise6": noise6,
        "H": H,
        "W": W,
        "HW": H * W,
        "blocks_per_row": blocks_per_row,
        "blocks_per_column": blocks_per_column,
        "G": G,
        "BX": COLUMNS,
        "BY": BY,
        "HAS_BIAS": bias is not None,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (predicted, differences, *others))),
        "num_warps": COLUMNS // 32,
    }
    return B * blocks_per_row * blocks_per_column, arguments


def forward_arguments(out, predicted, bias, state, *rest) -> tuple[int, dict]:
    """The number of programs and the arguments of `curve_flows_fwd_kernel`."""
    state = planes(state)
    programs, arguments = _arguments(ROWS, predicted, bias, *rest, out, state)
    return programs, {"out": out, "state": state, **strides("ss", "bc", state), **arguments}


def backward_arguments(grads, grad, predicted, bias, state, *rest) -> tuple[int, dict]:
    """The number of programs and the arguments of `curve_flows_bwd_kernel`.

    Args:
        grads: of predicted, bias, state and differences, None where not needed.
    """
    grad = planes(grad)
    dpredicted, dbias, dstate, ddifferences = grads
    others = grad, dpredicted, dstate, ddifferences
    programs, arguments = _arguments(BACKWARD_ROWS, predicted, bias, *rest, *others)
    partial, counter, C = None, None, predicted.shape[1]
    if dbias is not None:
        partial, counter = empty(programs, C), counters(1)
    return programs, {
        "grad": grad,
        **strides("sg", "bc", grad),
        **arguments,
        "dpredicted": dpredicted,
        **strides("sdp", "bcyx", dpredicted),
        "dbias": dbias,
        "partial_sums": partial,
        "counter": counter,
        "programs": programs,
        "BROWS": 64,
        "BC": triton.next_power_of_2(C),
        "dstate": dstate,
        "ddifferences": ddifferences,
        "C": C,
        "HAS_DPREDICTED": dpredicted is not None,
        "HAS_DBIAS": dbias is not None,
        "HAS_DSTATE": dstate is not None,
        "HAS_DDIFFERENCES": ddifferences is not None,
    }


def _as_read(differences, times, valid, *others) -> tuple:
    """Inputs as the kernels read them."""
    return (differences.contiguous(), times, valid.view(torch.uint8), *others)


# -- launches --------------------------------------------------------------------------------------


def curve_flows_forward(predicted, bias, state, differences, *rest):
    out = torch.empty_like(state, memory_format=torch.contiguous_format)
    if out.numel() > 0:
        inputs = (out, predicted, bias, state, *_as_read(differences, *rest))
        launch_again(curve_flows_fwd_kernel, forward_arguments, *inputs)
    return out


def curve_flows_backward(grad, predicted, bias, state, differences, *rest):
    *rest, needs = rest
    grads = empty_grads((predicted, bias, state, differences), needs, 1)
    if grad.numel() == 0 or needs == 0:
        return tuple(g.zero_() for g in grads)
    needed = tuple(g if needs >> i & 1 else None for i, g in enumerate(grads))
    inputs = (grad, predicted, bias, state, *_as_read(differences, *rest))
    launch_again(curve_flows_bwd_kernel, backward_arguments, needed, *inputs)
    return grads


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): the largest number of gaps and the smallest, 64-bit offsets."""
    for label, dtype, size, G, layout in (
        ("bfloat16 6 gaps", torch.bfloat16, (1, 270, 480), 6, torch.channels_last),
        ("float32 2 gaps, 64-bit", torch.float32, (1, 40001, 30001), 2, torch.contiguous_format),
    ):
        B, H, W = size
        predicted = torch.empty(B, 8, H, W, dtype=dtype, device="meta").to(memory_format=layout)
        state = torch.empty(B, 6, H, W, device="meta")
        differences = torch.empty(B, G, 2, H, W, device="meta")
        bias, t = torch.empty(8, device="meta"), torch.empty(B, device="meta")
        times = torch.empty(B, G, device="meta")
        inputs = (predicted, bias, state, differences, times, times.to(torch.uint8), t)
        numbers = (2.0, 2.0, [-0.5, -0.5])
        _, arguments = forward_arguments(state, *inputs, *numbers)
        yield f"fwd {label}", curve_flows_fwd_kernel, arguments
        grads = (predicted, bias, state, differences)
        _, arguments = backward_arguments(grads, state, *inputs, *numbers)
        yield f"bwd {label}", curve_flows_bwd_kernel, arguments
