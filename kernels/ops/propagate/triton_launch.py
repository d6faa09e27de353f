"""Launches of the Triton kernels of `propagate`. Images and states are read with any strides."""

import torch
import triton

from lift.kernels.checks import unsupported_by_triton, unsupported_gradient
from lift.kernels.launch import (
    DISPATCH_KEYS,  # noqa: F401  for dispatch
    INTERPRETED,
    image_span,
    needs_int64_offsets,
    strides,
)
from lift.kernels.launch_memory import launch_again
from lift.kernels.ops.propagate.reference import DIRECTIONS, empty_output
from lift.kernels.ops.propagate.triton_kernels import (
    propagate_blend_kernel,
    propagate_compare_kernel,
)

PIXELS = 128  # of a program: one per thread


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `propagate`, or None."""
    reason = unsupported_by_triton(INTERPRETED, *arguments[:1])
    if reason or not arguments:
        return reason
    luma0, luma1, state, _ = arguments
    return unsupported_gradient(luma0=luma0, luma1=luma1, state=state)


# -- arguments of the kernels ----------------------------------------------------------------------


def empty_differences(state: torch.Tensor) -> torch.Tensor:
    """Uninitialised differences of the images by each field, (B, fields, h, w), contiguous."""
    B, _, h, w = state.shape
    return state.new_empty((B, 1 + len(DIRECTIONS), h, w))


def compare_arguments(differences, state, luma0, luma1, distance) -> tuple[int, dict]:
    """The number of programs and the arguments of `propagate_compare_kernel`."""
    programs, shared = _shared(state, distance, differences, luma0, luma1)
    arguments = {
        "differences": differences,
        "luma0": luma0,
        **strides("s0", "byx", luma0[:, 0]),
        "luma1": luma1,
        **strides("s1", "byx", luma1[:, 0]),
        **shared,
    }
    return programs, arguments


def blend_arguments(out, differences, state, distance) -> tuple[int, dict]:
    """The number of programs and the arguments of `propagate_blend_kernel`."""
    programs, shared = _shared(state, distance, out, differences)
    return programs, {"out": out, "differences": differences, **shared}


def _shared(state, distance, *others) -> tuple[int, dict]:
    """The number of programs, and the arguments that both kernels have."""
    B, _, h, w = state.shape
    blocks_per_image = triton.cdiv(h * w, PIXELS)
    arguments = {
        "state": state,
        **strides("ss", "bcyx", state),
        "distance": min(distance, max(h, w)),  # farther away is the border too
        "h": h,
        "w": w,
        "hw": h * w,
        "blocks_per_image": blocks_per_image,
        "BP": PIXELS,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (state, *others))),
        "num_warps": PIXELS // 32,
    }
    return B * blocks_per_image, arguments


# -- forward ---------------------------------------------------------------------------------------


def propagate_forward(luma0, luma1, state, distance):
    out = empty_output(state)
    if state.numel() == 0:
        return out
    differences = empty_differences(state)
    compared = differences, state, luma0, luma1, distance
    launch_again(propagate_compare_kernel, compare_arguments, *compared)
    launch_again(propagate_blend_kernel, blend_arguments, out, differences, state, distance)
    return out


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype, each width of offsets."""
    for label, dtype, (h, w) in (
        ("float32", torch.float32, (270, 480)),
        ("float16", torch.float16, (64, 64)),
        ("float32, odd, 64-bit", torch.float32, (20001, 15001)),
    ):
        luma = torch.empty(1, 1, 2 * h, 2 * w, dtype=dtype, device="meta")
        state = torch.empty(1, 6, h, w, device="meta")
        differences = empty_differences(state)
        _, arguments = compare_arguments(differences, state, luma, luma, 8)
        yield f"compare {label}", propagate_compare_kernel, arguments
        if dtype == torch.float32:  # else as of another case
            _, arguments = blend_arguments(empty_output(state), differences, state, 8)
            yield f"blend {label}", propagate_blend_kernel, arguments
