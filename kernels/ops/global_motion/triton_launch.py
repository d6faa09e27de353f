"""Launches of the Triton kernels of `global_motion`.

Maps are read with any strides. The backward saves the inputs only, and its sums over pixels, those
of the prior and of the inverse temperature, are partial sums of the programs, which the last of
them adds up.
"""

import torch
import triton

from lift.kernels.autograd import empty_grads
from lift.kernels.checks import TRITON_DTYPES, unsupported_by_triton
from lift.kernels.launch import (
    DISPATCH_KEYS,  # noqa: F401  for dispatch
    INTERPRETED,
    empty,
    image_span,
    needs_int64_offsets,
    strides,
)
from lift.kernels.launch_memory import launch_again
from lift.kernels.ops.global_motion.reference import empty_output
from lift.kernels.ops.global_motion.triton_kernels import (
    global_motion_bwd_kernel,
    global_motion_dvolume_kernel,
    global_motion_fwd_kernel,
)
from lift.kernels.reduction import counters

PIXELS, DISPLACEMENTS, CHANNELS = 16, 16, 32  # of a program, and that it reads at once
PLANE_PIXELS = 128  # of a program of the correlation's gradient


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `global_motion`, or None."""
    reason = unsupported_by_triton(INTERPRETED, *arguments[:1])
    if reason is None and arguments:
        for name, dtype in (("features", arguments[1].dtype), ("a result", arguments[-1])):
            if dtype not in TRITON_DTYPES:
                return f"{name} of {str(dtype).removeprefix('torch.')}"
    return reason


# -- arguments of the kernels ----------------------------------------------------------------------


def _common_arguments(volume, left, inv_temperature, prior, t, radius: int) -> tuple[int, dict]:
    """The number of programs, and what two of the kernels take."""
    B, _, H, W = volume.shape
    blocks_per_image = triton.cdiv(H * W, PIXELS)
    arguments = {
        "volume": volume,
        **strides("sv", "bmyx", volume),
        "inv_temperature": inv_temperature,
        "prior": prior.contiguous(),
        "t": t,
        **strides("st", "b", t),
        "H": H,
        "W": W,
        "HW": H * W,
        "blocks_per_image": blocks_per_image,
        "C": left.shape[1],
        "RADIUS": radius,
        "BP": PIXELS,
        "BM": DISPLACEMENTS,
        "BC": CHANNELS,
        "num_warps": 4,
    }
    return B * blocks_per_image, arguments


def forward_arguments(
    out, state, volume, left, right, inv_temperature, prior, t, radius: int
) -> tuple[int, dict]:
    """The number of programs and the arguments of `global_motion_fwd_kernel`."""
    programs, common = _common_arguments(volume, left, inv_temperature, prior, t, radius)
    arguments = {
        "out": out,
        "state": state,
        **common,
        "left": left,
        **strides("s0", "bcyx", left),
        "right": right,
        **strides("s1", "bcyx", right),
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (out, state, volume, left, right))),
    }
    return programs, arguments


def backward_arguments(
    dsampled, dleft, dright, dparameters, grad, dstate, volume, left, *rest
) -> tuple[int, dict]:
    """The number of programs and the arguments of `global_motion_bwd_kernel`.

    Args:
        rest: inv_temperature, prior, t and radius.
    """
    programs, common = _common_arguments(volume, left, *rest)
    spans = map(image_span, (dsampled, dleft, dright, grad, dstate, volume))
    sums, counter = None, None
    if dparameters is not None:
        sums, counter = empty(programs, len(dparameters)), counters(1)
    arguments = {
        "dsampled": dsampled,
        "dleft": dleft,
        **strides("sd0", "bcyx", dleft),
        "dright": dright,
        **strides("sd1", "bcyx", dright),
        "sums": sums,
        "dparameters": dparameters,
        "counter": counter,
        "programs": programs,
        "BROWS": 16,
        "BSUMS": 128,
        "grad": grad,
        **strides("sg", "bcyx", grad),
        "dstate": dstate,
        **strides("ss", "bcyx", dstate),
        **common,
        "INT64_OFFSETS": needs_int64_offsets(*spans),
    }
    return programs, arguments


def dvolume_arguments(dvolume, dsampled, t, radius: int) -> tuple[int, dict]:
    """The number of programs and the arguments of `global_motion_dvolume_kernel`."""
    B, M, H, W = dvolume.shape
    blocks_per_plane = triton.cdiv(H * W, PLANE_PIXELS)
    arguments = {
        "dvolume": dvolume,
        **strides("sd", "bmyx", dvolume),
        "dsampled": dsampled,
        "t": t,
        **strides("st", "b", t),
        "H": H,
        "W": W,
        "HW": H * W,
        "blocks_per_plane": blocks_per_plane,
        "RADIUS": radius,
        "BP": PLANE_PIXELS,
        "INT64_OFFSETS": needs_int64_offsets(image_span(dvolume), image_span(dsampled)),
        "num_warps": 4,
    }
    return B * M * blocks_per_plane, arguments


# -- forward and backward --------------------------------------------------------------------------


def global_motion_forward(volume, left, right, inv_temperature, prior, t, radius, dtype):
    out, state = empty_output(volume, left, dtype)
    if out.numel() > 0:
        inputs = (volume, left, right, inv_temperature, prior, t, radius)
        launch_again(global_motion_fwd_kernel, forward_arguments, out, state, *inputs)
    return out, state


def global_motion_backward(
    grad, dstate, volume, left, right, inv_temperature, prior, t, radius, dtype, needs
):
    grads = empty_grads((volume, left, right, inv_temperature, prior), needs, 3)
    if volume.numel() == 0 or needs == 0:
        return tuple(g.zero_() for g in grads)
    dvolume, dleft, dright = (g if needs >> i & 1 else None for i, g in enumerate(grads[:3]))
    if grad is None:
        grad = torch.zeros_like(empty_output(volume, left, dtype)[0])
    B, M, H, W = volume.shape
    dparameters, dsampled = None, None
    if needs >> 3:
        dparameters = volume.new_empty(M + 1)
    if dvolume is not None:
        dsampled = volume.new_empty((B, M, H, W))
    inputs = (volume, left, inv_temperature, prior, t, radius)
    launch_again(
        global_motion_bwd_kernel,
        backward_arguments,
        dsampled,
        dleft,
        dright,
        dparameters,
        grad,
        dstate,
        *inputs,
    )
    if dvolume is not None:
        launch_again(global_motion_dvolume_kernel, dvolume_arguments, dvolume, dsampled, t, radius)
    found = (None, None) if dparameters is None else (dparameters[M], dparameters[:M])
    return *grads[:3], *(x if needs >> i & 1 else grads[i] for i, x in enumerate(found, 3))


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype, layout and width of offsets at least once."""
    last, planes = torch.channels_last, torch.contiguous_format
    for label, dtype, size, layout, radius in (
        ("bfloat16 256 last, radius 6", torch.bfloat16, (4, 256, 16, 16), last, 6),
        ("float16 64 last, radius 3", torch.float16, (1, 64, 68, 120), last, 3),
        ("float32 5 planes, odd, 64-bit", torch.float32, (1, 5, 30001, 20001), planes, 1),
    ):
        B, C, H, W = size
        left = torch.empty(size, dtype=dtype, device="meta").to(memory_format=layout)
        M = (2 * radius + 1) ** 2
        volume, sums = torch.empty(B, M, H, W, device="meta"), torch.empty(M + 1, device="meta")
        one, prior, t = (torch.empty(n, device="meta") for n in ((), (M,), (B,)))
        out, state = empty_output(volume, left, dtype)
        _, arguments = forward_arguments(out, state, volume, left, left, one, prior, t, radius)
        yield f"fwd {label}", global_motion_fwd_kernel, arguments
        if dtype == torch.float16:
            continue  # for inference
        rest = (volume, left, one, prior, t, radius)
        _, arguments = backward_arguments(volume, left, left, sums, out, state, *rest)
        yield f"bwd {label}", global_motion_bwd_kernel, arguments
        _, arguments = dvolume_arguments(volume, volume, t, radius)
        yield f"dvolume {label}", global_motion_dvolume_kernel, arguments
