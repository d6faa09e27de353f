"""Launch of the Triton kernel of `change_map`. Images are read with any strides."""

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
from lift.kernels.ops.change_map.reference import empty_output
from lift.kernels.ops.change_map.triton_kernels import change_map_kernel

COLUMNS, ROWS = 64, 8  # of a program, a thread per column


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `change_map`, or None."""
    reason = unsupported_by_triton(INTERPRETED, *arguments[:1])
    if reason or not arguments:
        return reason
    return unsupported_gradient(image0=arguments[0], image1=arguments[1])


def change_map_arguments(out, image0, image1) -> tuple[int, dict]:
    """The number of programs and the arguments of `change_map_kernel`."""
    B, _, H, W = image0.shape
    BY = min(triton.next_power_of_2(H // 2), ROWS)
    blocks_per_row, blocks_per_column = triton.cdiv(W // 2, COLUMNS), triton.cdiv(H // 2, BY)
    arguments = {
        "out": out,
        "image0": image0,
        **strides("s0", "bcyx", image0),
        "image1": image1,
        **strides("s1", "bcyx", image1),
        "H": H,
        "W": W,
        "blocks_per_row": blocks_per_row,
        "blocks_per_column": blocks_per_column,
        "BX": COLUMNS,
        "BY": BY,
        "INT64_OFFSETS": needs_int64_offsets(image_span(image0), image_span(image1)),
        "num_warps": COLUMNS // 32,
    }
    return B * blocks_per_row * blocks_per_column, arguments


def change_map_forward(image0, image1):
    out = empty_output(image0)
    if out.numel():
        launch_again(change_map_kernel, change_map_arguments, out, image0, image1)
    return out


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): images of a stream, and each width of offsets."""
    for label, dtype, size in (
        ("float32", torch.float32, (1, 3, 1088, 1920)),
        ("bfloat16, odd, 64-bit", torch.bfloat16, (1, 3, 40002, 30002)),
    ):
        image = torch.empty(size, dtype=dtype, device="meta")
        arguments = change_map_arguments(empty_output(image), image, image)[1]
        yield label, change_map_kernel, arguments
