"""Launch of the Triton kernel of `adjacent_frames`; inputs are read with any strides."""

import torch
import triton

from lift.kernels.checks import unsupported_by_triton
from lift.kernels.launch import (
    DISPATCH_KEYS,  # noqa: F401  for dispatch
    INTERPRETED,
    strides,
)
from lift.kernels.launch_memory import launch_again
from lift.kernels.ops.adjacent_frames.reference import empty_outputs
from lift.kernels.ops.adjacent_frames.triton_kernels import adjacent_frames_kernel


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `adjacent_frames`, or None."""
    if arguments and arguments[0].dtype != torch.float32:
        return f"times of {str(arguments[0].dtype).removeprefix('torch.')}: float32 only"
    return unsupported_by_triton(INTERPRETED, *arguments[:1], min_side=None)


def kernel_arguments(outputs, times, mask, indices, left, per_side) -> tuple[int, dict]:
    """The number of programs and the arguments of `adjacent_frames_kernel`.

    mask and the last of the outputs are uint8 here.
    """
    ends, outer_times, exists = outputs
    B, T = times.shape
    return B, {
        "ends": ends,
        "outer_times": outer_times,
        "exists": exists,
        "times": times,
        **strides("st", "bt", times),
        "mask": mask,
        **strides("sm", "bt", mask),
        "indices": indices,
        **strides("si", "bt", indices),
        "left": left,
        "B": B,
        "T": T,
        "PER_SIDE": per_side,
        "BT": triton.next_power_of_2(T),
        "num_warps": 1,
    }


def adjacent_frames_forward(times, mask, indices, left, per_side):
    outputs = empty_outputs(times, per_side)
    if len(times) > 0:
        mask, exists = mask.view(torch.uint8), outputs[2].view(torch.uint8)
        written = (*outputs[:2], exists)
        launch_again(
            adjacent_frames_kernel, kernel_arguments, written, times, mask, indices, left, per_side
        )
    return outputs


def compile_cases():
    """(label, kernel, arguments): clips of fifteen frames."""
    times = torch.empty(4, 15, device="meta")
    inputs = (times, times.to(torch.uint8), times.to(torch.int64), 7, 3)
    ends, outer_times, exists = empty_outputs(times, 3)
    outputs = (ends, outer_times, exists.view(torch.uint8))
    yield "15 frames", adjacent_frames_kernel, kernel_arguments(outputs, *inputs)[1]
