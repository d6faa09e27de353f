"""Launches of the Triton kernels of `lucas_kanade` and `align`.

Images, flows and times are read with any strides.
"""

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
from lift.kernels.ops.lucas_kanade.reference import empty_aligned, empty_output
from lift.kernels.ops.lucas_kanade.triton_kernels import (
    align_smooth_kernel,
    lucas_kanade_smooth_kernel,
    lucas_kanade_solve_kernel,
    lucas_kanade_warp_kernel,
)

COLUMNS, ROWS = 64, 4  # of a program that solves or averages, a thread per column
PIXELS = 128  # of a program that warps: one per thread


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of either op, or None."""
    return unsupported_by_triton(INTERPRETED, *arguments[:1])


# -- arguments of the kernels ----------------------------------------------------------------------


def empty_warped(image0: torch.Tensor) -> torch.Tensor:
    """Uninitialised mean and difference of the warped images, (B, 2 C, H, W), contiguous."""
    B, C, H, W = image0.shape
    return image0.new_empty((B, 2 * C, H, W), dtype=torch.float32)


def warp_arguments(warped, image0, image1, flow0, flow1, t) -> tuple[int, dict]:
    """The number of programs and the arguments of `lucas_kanade_warp_kernel`."""
    B, C, H, W = image0.shape
    blocks_per_image = triton.cdiv(H * W, PIXELS)
    read = (image0, image1, flow0, flow1)
    arguments = {
        "warped": warped,
        "image0": image0,
        **strides("s0", "bcyx", image0),
        "image1": image1,
        **strides("s1", "bcyx", image1),
        "flow0": flow0,
        **strides("sf0", "bcyx", flow0),
        "flow1": flow1,
        **strides("sf1", "bcyx", flow1),
        "t": t,
        **strides("st", "b", t),
        "H": H,
        "W": W,
        "HW": H * W,
        "blocks_per_image": blocks_per_image,
        "C": C,
        "BP": PIXELS,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (warped, *read))),
        "num_warps": PIXELS // 32,
    }
    return B * blocks_per_image, arguments


def empty_weighted(image0: torch.Tensor) -> torch.Tensor:
    """Uninitialised weighted motion and weights, (B, 3, H, W), contiguous."""
    B, _, H, W = image0.shape
    return image0.new_empty((B, 3, H, W), dtype=torch.float32)


def solve_arguments(weighted, warped, flow0, flow1) -> tuple[int, dict]:
    """The number of programs and the arguments of `lucas_kanade_solve_kernel`."""
    programs, blocks = _blocks(flow0, flow1, weighted, warped)
    arguments = {"weighted": weighted, "warped": warped, "C": warped.shape[1] // 2, **blocks}
    return programs, arguments


def smooth_arguments(out, weighted, flow0, flow1) -> tuple[int, dict]:
    """The number of programs and the arguments of `lucas_kanade_smooth_kernel`."""
    programs, blocks = _blocks(flow0, flow1, out, weighted)
    return programs, {"out": out, "weighted": weighted, **blocks}


def align_arguments(aligned, missing, missing_before, rest, weighted, flow0, flow1, t):
    """The number of programs and the arguments of `align_smooth_kernel`."""
    programs, blocks = _blocks(flow0, flow1, aligned, weighted, rest)
    arguments = {
        "aligned": aligned,
        "missing": missing,
        "missing_before": missing_before,
        "rest": rest,
        **strides("sr", "bcyx", rest),
        "weighted": weighted,
        "t": t,
        **strides("st", "b", t),
        **blocks,
    }
    return programs, arguments


def _blocks(flow0, flow1, *others) -> tuple[int, dict]:
    """The number of programs of COLUMNS x ROWS pixels, and the arguments that these have."""
    B, _, H, W = flow0.shape
    BY = min(triton.next_power_of_2(H), ROWS)
    blocks_per_row, blocks_per_column = triton.cdiv(W, COLUMNS), triton.cdiv(H, BY)
    arguments = {
        "flow0": flow0,
        **strides("sf0", "bcyx", flow0),
        "flow1": flow1,
        **strides("sf1", "bcyx", flow1),
        "H": H,
        "W": W,
        "HW": H * W,
        "blocks_per_row": blocks_per_row,
        "blocks_per_column": blocks_per_column,
        "BX": COLUMNS,
        "BY": BY,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (flow0, flow1, *others))),
        "num_warps": COLUMNS // 32,
    }
    return B * blocks_per_row * blocks_per_column, arguments


# -- forward ---------------------------------------------------------------------------------------


def lucas_kanade_forward(image0, image1, flow0, flow1, t):
    if image0.numel() == 0:
        return empty_output(image0).zero_()  # without channels, sums of nothing
    weighted = _weighted_motion(image0, image1, flow0, flow1, t)
    out = empty_output(image0)
    launch_again(lucas_kanade_smooth_kernel, smooth_arguments, out, weighted, flow0, flow1)
    return out


def align_forward(state, luma0, luma1, t, steps):
    out, missing = empty_aligned(state)
    if state.numel() == 0:
        return out, missing
    flow0, flow1, rest = state.split(2, 1)
    missing_before = None
    for i in range(steps):
        is_last = i == steps - 1
        weighted = _weighted_motion(luma0, luma1, flow0, flow1, t)
        # Not in place: threads may share pixels.
        aligned = out if is_last else out.new_empty((len(out), 4, *out.shape[2:]))
        found = missing if is_last else torch.empty_like(missing)
        written = (aligned, found, missing_before, rest if is_last else None)
        launch_again(align_smooth_kernel, align_arguments, *written, weighted, flow0, flow1, t)
        missing_before, (flow0, flow1) = found, aligned[:, :4].split(2, 1)
    return out, missing


def _weighted_motion(image0, image1, flow0, flow1, t) -> torch.Tensor:
    """Weighted motion and weights of a step, (B, 3, H, W), before they are averaged."""
    warped = empty_warped(image0)
    launch_again(lucas_kanade_warp_kernel, warp_arguments, warped, image0, image1, flow0, flow1, t)
    weighted = empty_weighted(image0)
    launch_again(lucas_kanade_solve_kernel, solve_arguments, weighted, warped, flow0, flow1)
    return weighted


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype, one channel and several, each width of offsets."""
    last, planes = torch.channels_last, torch.contiguous_format
    for label, dtype, size, layout in (
        ("float32 luma", torch.float32, (1, 1, 540, 960), planes),
        ("float16 luma", torch.float16, (4, 1, 128, 128), planes),
        ("bfloat16 3 last", torch.bfloat16, (1, 3, 360, 640), last),
        ("float32 luma, odd, 64-bit", torch.float32, (1, 1, 40001, 30001), planes),
    ):
        B, _, H, W = size
        image = torch.empty(size, dtype=dtype, device="meta").to(memory_format=layout)
        flow, t = torch.empty(B, 2, H, W, device="meta"), torch.empty(B, device="meta")
        warped = empty_warped(image)
        _, arguments = warp_arguments(warped, image, image, flow, flow, t)
        yield f"warp {label}", lucas_kanade_warp_kernel, arguments
        if dtype == torch.float32 or size[1] > 1:  # else as of another case
            weighted = empty_weighted(image)
            _, arguments = solve_arguments(weighted, warped, flow, flow)
            yield f"solve {label}", lucas_kanade_solve_kernel, arguments
            if dtype == torch.float32:
                _, arguments = smooth_arguments(empty_output(image), weighted, flow, flow)
                yield f"smooth {label}", lucas_kanade_smooth_kernel, arguments
                state = flow.new_empty((B, 6, H, W))
                written = (*empty_aligned(state), None, state[:, 4:])
                _, arguments = align_arguments(*written, weighted, flow, flow, t)
                yield f"align {label}", align_smooth_kernel, arguments
