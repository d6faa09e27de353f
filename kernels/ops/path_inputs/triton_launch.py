"""Launches of the Triton kernels of `path_inputs`.

Features, motions, times and validity are read with any strides, and so are images of a state.
"""

import torch
import triton

from lift.kernels.autograd import empty_grads
from lift.kernels.checks import unsupported_by_triton
from lift.kernels.launch import (
    DISPATCH_KEYS,  # noqa: F401  for dispatch
    INTERPRETED,
    image_span,
    needs_int64_offsets,
    strides,
)
from lift.kernels.launch_memory import launch_again
from lift.kernels.ops.path_inputs.reference import empty_outputs
from lift.kernels.ops.path_inputs.triton_kernels import (
    path_inputs_bwd_kernel,
    path_inputs_fwd_kernel,
)

PIXELS = 128  # of a program: one per thread
CHANNELS_LAST, PLANES = 32, 4  # channels of a block of features, by their layout


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `path_inputs`, or None."""
    if arguments:
        state, motions, times = arguments[1:4]
        if torch.is_grad_enabled() and (motions.requires_grad or times.requires_grad):
            return "motions or times require a gradient"
        if torch.float64 in (state.dtype, arguments[-1]):
            return "a state or an output of float64"
    return unsupported_by_triton(INTERPRETED, *arguments[:1])


# -- arguments of the kernels ----------------------------------------------------------------------


def planes(x: torch.Tensor) -> torch.Tensor:
    """x (..., H, W) with its pixels in rows, one after another; a copy where they are not."""
    rows = x.stride(-1) == 1 and x.stride(-2) == x.shape[-1]
    return x if rows else x.contiguous()


def _arguments(hidden, state, motions, times, valid, gaps, factors, *others) -> tuple[int, dict]:
    """The number of programs and what both kernels take.

    Args:
        others: tensors that the kernel reads or writes too.
    """
    B, C, H, W = hidden.shape
    blocks_per_image = triton.cdiv(H * W, PIXELS)
    state = planes(state)
    arguments = {
        "state": state,
        **strides("ss", "bc", state),
        "motions": motions,
        **strides("sm", "bgcyx", motions),
        "times": times,
        **strides("st", "bg", times),
        "valid": valid,
        **strides("sv", "bg", valid),
        **dict(zip(("inner", "motion", "outer"), map(float, factors), strict=True)),
        "H": H,
        "W": W,
        "HW": H * W,
        "blocks_per_image": blocks_per_image,
        "C": C,
        "G": motions.shape[1],
        "GAPS": gaps,
        "BP": PIXELS,
        "BC": min(triton.next_power_of_2(C), CHANNELS_LAST if hidden.stride(1) == 1 else PLANES),
        "LEVELS": (1 + 2 * gaps).bit_length(),
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (state, motions, *others))),
        "num_warps": PIXELS // 32,
    }
    return B * blocks_per_image, arguments


def forward_arguments(out, differences, hidden, *rest) -> tuple[int, dict]:
    """The number of programs and the arguments of `path_inputs_fwd_kernel`."""
    programs, arguments = _arguments(hidden, *rest, out, differences, hidden)
    return programs, {
        "out": out,
        "differences": differences,
        "hidden": hidden,
        **strides("sh", "bcyx", hidden),
        **arguments,
    }


def backward_arguments(grads, grad, grad_differences, hidden, *rest) -> tuple[int, dict]:
    """The number of programs and the arguments of `path_inputs_bwd_kernel`.

    Args:
        grad, grad_differences: of the outputs, None where one is not used.
        grads: of hidden and state, None where not needed.
    """
    if grad_differences is not None:
        grad_differences = planes(grad_differences)
    dhidden, dstate = grads
    programs, arguments = _arguments(hidden, *rest, grad, grad_differences, *grads)
    return programs, {
        "grad": grad,
        **strides("s", "bcyx", grad),
        "grad_differences": grad_differences,
        **strides("sg", "bgc", grad_differences),
        "dhidden": dhidden,
        **strides("sh", "bcyx", dhidden),
        "dstate": dstate,
        **arguments,
        "HAS_GRAD": grad is not None,
        "HAS_GRAD_DIFFERENCES": grad_differences is not None,
        "HAS_DHIDDEN": dhidden is not None,
        "HAS_DSTATE": dstate is not None,
    }


# -- launches --------------------------------------------------------------------------------------


def path_inputs_forward(hidden, state, motions, times, valid, gaps, factors, dtype):
    outputs = empty_outputs(hidden, motions, gaps, dtype)
    if outputs[0].numel() > 0:
        inputs = (hidden, state, motions, times, valid.view(torch.uint8), gaps, factors)
        launch_again(path_inputs_fwd_kernel, forward_arguments, *outputs, *inputs)
    return outputs


def path_inputs_backward(
    grad, grad_differences, hidden, state, motions, times, valid, gaps, factors, dtype, needs
):
    grads = empty_grads((hidden, state), needs, 1)
    if state.numel() == 0 or needs == 0:
        return tuple(g.zero_() for g in grads)
    needed = tuple(g if needs >> i & 1 else None for i, g in enumerate(grads))
    inputs = (hidden, state, motions, times, valid.view(torch.uint8), gaps, factors)
    launch_again(
        path_inputs_bwd_kernel, backward_arguments, needed, grad, grad_differences, *inputs
    )
    return grads


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): the most gaps and the fewest, each layout, 64-bit offsets."""
    last, contiguous = torch.channels_last, torch.contiguous_format
    for label, dtype, size, G, layout in (
        ("bfloat16 160 last, 6 gaps", torch.bfloat16, (1, 160, 270, 480), 6, last),
        ("float32 48 planes, 2 gaps, 64-bit", torch.float32, (1, 48, 20001, 20001), 2, contiguous),
    ):
        B, C, H, W = size
        hidden = torch.empty(size, dtype=dtype, device="meta").to(memory_format=layout)
        state = torch.empty(B, 6, H, W, device="meta")
        motions = torch.empty(B, G, 2, H, W, device="meta")
        times = torch.empty(B, G, device="meta")
        outputs = empty_outputs(hidden, motions, 6, dtype)
        inputs = (hidden, state, motions, times, times.to(torch.uint8), 6, [1.0, 1.0, 1.0])
        _, arguments = forward_arguments(*outputs, *inputs)
        yield f"fwd {label}", path_inputs_fwd_kernel, arguments
        _, arguments = backward_arguments((hidden, state), *outputs, *inputs)
        yield f"bwd {label}", path_inputs_bwd_kernel, arguments
