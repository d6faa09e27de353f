"""Launches of the Triton kernels of `census`.

Images are read with any strides. The distance is symmetric, so the gradient of the second image is
that of the first with the images exchanged.
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
from lift.kernels.ops.census.reference import count
from lift.kernels.ops.census.triton_kernels import census_bwd_kernel, census_fwd_kernel
from lift.kernels.reduction import counters

PIXELS = 128  # of a program, one per thread
ROWS_OF_SUMS = 2048  # partial sums read at once


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `census`, or None."""
    return unsupported_by_triton(INTERPRETED, *arguments[:1])


def _common_arguments(image0, image1, *others) -> tuple[int, dict]:
    """The number of programs, and what both kernels take."""
    B, _, H, W = image0.shape
    blocks_per_image = triton.cdiv(H * W, PIXELS)
    arguments = {
        "image0": image0,
        **strides("s0", "bcyx", image0),
        "image1": image1,
        **strides("s1", "bcyx", image1),
        "H": H,
        "W": W,
        "HW": H * W,
        "blocks_per_image": blocks_per_image,
        "share": 1 / count(image0),
        "BP": PIXELS,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (image0, image1, *others))),
        "num_warps": PIXELS // 32,
    }
    return B * blocks_per_image, arguments


def forward_arguments(loss, image0, image1) -> tuple[int, dict]:
    """The number of programs and the arguments of `census_fwd_kernel`."""
    programs, arguments = _common_arguments(image0, image1)
    return programs, {
        "loss": loss,
        "partial": empty(programs),
        "counter": counters(1),
        "programs": programs,
        "BROWS": ROWS_OF_SUMS,
        **arguments,
    }


def backward_arguments(dimage0, grad, image0, image1) -> tuple[int, dict]:
    """The number of programs and the arguments of `census_bwd_kernel`."""
    programs, arguments = _common_arguments(image0, image1, dimage0)
    written = {"dimage0": dimage0, **strides("sd", "bcyx", dimage0)}
    return programs, {**written, "grad": grad, **arguments}


def census_forward(image0, image1):
    loss = image0.new_empty((), dtype=torch.float32)
    launch_again(census_fwd_kernel, forward_arguments, loss, image0, image1)
    return loss


def census_backward(grad, image0, image1, needs):
    """Gradients of both images."""
    grads = empty_grads((image0, image1), needs, 2)
    for i, images in enumerate(((image0, image1), (image1, image0))):
        if needs >> i & 1:
            launch_again(census_bwd_kernel, backward_arguments, grads[i], grad, *images)
    return grads


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype, layout and width of offsets."""
    last, planes = torch.channels_last, torch.contiguous_format
    for label, dtype, size, layout in (
        ("float32", torch.float32, (4, 3, 256, 256), planes),
        ("bfloat16 last", torch.bfloat16, (4, 3, 256, 256), last),
        ("float16, odd, 64-bit", torch.float16, (1, 3, 40001, 30001), planes),
    ):
        image = torch.empty(size, dtype=dtype, device="meta").to(memory_format=layout)
        loss = torch.empty((), device="meta")
        yield f"fwd {label}", census_fwd_kernel, forward_arguments(loss, image, image)[1]
        _, arguments = backward_arguments(image, loss, image, image)
        yield f"bwd {label}", census_bwd_kernel, arguments
