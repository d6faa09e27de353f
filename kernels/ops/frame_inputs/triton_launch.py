"""Launch of the Triton kernel of `frame_inputs`. Frames are read with any strides."""

import torch
import triton

from lift.kernels.checks import TRITON_DTYPES, unsupported_by_triton, unsupported_gradient
from lift.kernels.launch import (
    DISPATCH_KEYS,  # noqa: F401  for dispatch
    INTERPRETED,
    image_span,
    needs_int64_offsets,
    strides,
)
from lift.kernels.launch_memory import launch_again
from lift.kernels.ops.frame_inputs.reference import empty_outputs
from lift.kernels.ops.frame_inputs.triton_kernels import ROWS, frame_inputs_kernel

COLUMNS = 256  # of a program, four per thread


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `frame_inputs`, or None."""
    reason = unsupported_by_triton(INTERPRETED, *arguments[:1])
    if reason or not arguments:
        return reason
    frames, _, dtype = arguments
    if frames.dtype != torch.float32:
        return f"frames of {str(frames.dtype).removeprefix('torch.')}: float32 only"
    if dtype not in TRITON_DTYPES:
        return f"an output of {str(dtype).removeprefix('torch.')}"
    return unsupported_gradient(frames=frames)


def frame_inputs_arguments(frames, outputs) -> tuple[int, dict]:
    """The number of programs and the arguments of `frame_inputs_kernel`."""
    stem, padded, luma2, quarter, luma4, luma8 = outputs
    H, W = frames.shape[2:]
    N, _, h, w = stem.shape
    columns = min(triton.next_power_of_2(w), COLUMNS)
    blocks_per_row, blocks_per_column = triton.cdiv(w, columns), h // ROWS.value
    arguments = {
        "stem": stem,
        "padded": padded,
        "luma2": luma2,
        "quarter": quarter,
        "luma4": luma4,
        "luma8": luma8,
        "frames": frames,
        **strides("s", "bcyx", frames),
        "H": H,
        "W": W,
        "WP": w,
        "PLANE": h * w,
        "blocks_per_row": blocks_per_row,
        "blocks_per_column": blocks_per_column,
        "PADDED": (h, w) != (H, W),
        "PADDED_X": w != W,
        "BX": columns,
        "INT64_OFFSETS": needs_int64_offsets(image_span(frames), image_span(stem)),
        "num_warps": max(columns // 128, 1),
    }
    return N * blocks_per_row * blocks_per_column, arguments


def frame_inputs_forward(frames, multiple, dtype):
    outputs = empty_outputs(frames, multiple, dtype)
    if frames.numel():
        launch_again(frame_inputs_kernel, frame_inputs_arguments, frames, outputs)
    return outputs


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype, padded and not, each width of offsets."""
    for label, dtype, size in (
        ("float16", torch.float16, (1, 3, 720, 1280)),
        ("bfloat16, padded rows", torch.bfloat16, (1, 3, 1080, 1920)),
        ("float32, odd, 64-bit", torch.float32, (1, 3, 40001, 30001)),
    ):
        frames = torch.empty(size, device="meta")
        outputs = empty_outputs(frames, 16, dtype)
        yield label, frame_inputs_kernel, frame_inputs_arguments(frames, outputs)[1]
