"""Launches of the Triton kernels of `propagate`. They read with any strides."""

import torch
import triton

from lift.kernels.checks import unsupported_by_triton
from lift.kernels.launch import (
    DISPATCH_KEYS,  # noqa: F401  for dispatch
    INTERPRETED,
    image_span,
    needs_int64_offsets,
    strides,
)
from lift.kernels.launch_memory import launch_again
from lift.kernels.ops.propagate.reference import empty_output, empty_weights
from lift.kernels.ops.propagate.triton_kernels import (
    propagate_blend_kernel,
    propagate_bwd_kernel,
    propagate_compare_kernel,
)

PIXELS = 128  # of a program: one per thread


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `propagate`, or None."""
    return unsupported_by_triton(INTERPRETED, *arguments[:1])


# -- arguments of the kernels ----------------------------------------------------------------------


def compare_arguments(differences, state, luma0, luma1, distance) -> tuple[int, dict]:
    """The number of programs and the arguments of `propagate_compare_kernel`."""
    programs, shared = _shared(state, distance, differences, luma0, luma1)
    arguments = {
        "differences": differences,
        "luma0": luma0,
        **strides("s0", "byx", luma0[:, 0]),
        "luma1": luma1,
        **strides("s1", "byx", luma1[:, 0]),
        "state": state,
        **strides("ss", "bcyx", state),
        **shared,
    }
    return programs, arguments


def blend_arguments(out, weights, differences, state, distance) -> tuple[int, dict]:
    """The number of programs and the arguments of `propagate_blend_kernel`."""
    programs, shared = _shared(state, distance, out, differences)
    arguments = {
        "out": out,
        "weights": weights,
        "differences": differences,
        "state": state,
        **strides("ss", "bcyx", state),
        **shared,
        "SAVE": weights.ndim > 1,
    }
    return programs, arguments


def backward_arguments(dstate, grad, weights, distance) -> tuple[int, dict]:
    """The number of programs and the arguments of `propagate_bwd_kernel`."""
    programs, shared = _shared(grad, distance, dstate, weights)
    arguments = {
        "dstate": dstate,
        "grad": grad,
        **strides("sg", "bcyx", grad),
        "weights": weights,
        **shared,
    }
    return programs, arguments


def _shared(state, distance, *others) -> tuple[int, dict]:
    """The number of programs, and the arguments that all kernels have."""
    B, _, h, w = state.shape
    blocks_per_image = triton.cdiv(h * w, PIXELS)
    arguments = {
        "distance": min(distance, max(h, w)),  # farther away is beyond the border too
        "h": h,
        "w": w,
        "hw": h * w,
        "blocks_per_image": blocks_per_image,
        "BP": PIXELS,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (state, *others))),
        "num_warps": PIXELS // 32,
    }
    return B * blocks_per_image, arguments


# -- forward and backward --------------------------------------------------------------------------


def propagate_forward(luma0, luma1, state, distance, save):
    out, weights = empty_output(state), empty_weights(state, save)
    if state.numel() == 0:
        return out, weights
    differences = empty_weights(state, True)
    launch_again(
        propagate_compare_kernel, compare_arguments, differences, state, luma0, luma1, distance
    )
    launch_again(
        propagate_blend_kernel, blend_arguments, out, weights, differences, state, distance
    )
    return out, weights


def propagate_backward(grad, weights, distance):
    dstate = empty_output(grad)
    if grad.numel() > 0:
        launch_again(propagate_bwd_kernel, backward_arguments, dstate, grad, weights, distance)
    return dstate


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype, with and without a gradient, 64-bit offsets."""
    for label, dtype, (h, w), save in (
        ("float32", torch.float32, (270, 480), False),
        ("float16, training", torch.float16, (64, 64), True),
        ("float32, training, odd, 64-bit", torch.float32, (20001, 15001), True),
    ):
        luma = torch.empty(1, 1, 2 * h, 2 * w, dtype=dtype, device="meta")
        state = torch.empty(1, 6, h, w, device="meta")
        out, weights = empty_output(state), empty_weights(state, save)
        differences = empty_weights(state, True)
        _, arguments = compare_arguments(differences, state, luma, luma, 8)
        yield f"compare {label}", propagate_compare_kernel, arguments
        _, arguments = blend_arguments(out, weights, differences, state, 8)
        yield f"blend {label}", propagate_blend_kernel, arguments
        if save:
            _, arguments = backward_arguments(out, state, weights, 8)
            yield f"bwd {label}", propagate_bwd_kernel, arguments
