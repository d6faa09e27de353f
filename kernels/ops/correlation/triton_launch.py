"""Launches of the Triton kernels of `correlation`."""

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
from lift.kernels.ops.correlation.reference import empty_output
from lift.kernels.ops.correlation.triton_kernels import (
    correlation_bwd_both_kernel,
    correlation_bwd_kernel,
    correlation_fwd_kernel,
    correlation_inverse_norms_kernel,
)

MAX_CHANNELS = 256  # a program of the backward holds them all
MAX_RADIUS = 6
ENOUGH_PROGRAMS = 2048  # fill any GPU


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `correlation`, or None."""
    reason = unsupported_by_triton(INTERPRETED, *arguments[:1])
    if reason or not arguments:
        return reason
    fmap0, _, radius = arguments[:3]
    if fmap0.shape[1] > MAX_CHANNELS:
        return f"maps of {fmap0.shape[1]} channels: at most {MAX_CHANNELS}"
    if radius > MAX_RADIUS:
        return f"a radius of {radius}: at most {MAX_RADIUS}"
    return None


# -- arguments of the kernels ----------------------------------------------------------------------


def _columns(W: int, most: int) -> int:
    """Columns per program of rows of W columns."""
    return min(triton.next_power_of_2(W), most)


def inverse_norms_arguments(inv_norm0, inv_norm1, fmap0, fmap1) -> tuple[int, dict]:
    """The number of programs and the arguments of `correlation_inverse_norms_kernel`."""
    B, C, H, W = fmap0.shape
    BC = min(triton.next_power_of_2(C), 32) if fmap0.stride(1) == 1 else 1
    BP = _columns(W, 1024 // BC if BC > 1 else 128)
    blocks_per_row = triton.cdiv(W, BP)
    arguments = {
        "inv_norm0": inv_norm0,
        "inv_norm1": inv_norm1,
        "fmap0": fmap0,
        **strides("s0", "bcyx", fmap0),
        "fmap1": fmap1,
        **strides("s1", "bcyx", fmap1),
        "H": H,
        "W": W,
        "blocks_per_row": blocks_per_row,
        "C": C,
        "BP": BP,
        "BC": BC,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (inv_norm0, fmap0, fmap1))),
        "num_warps": 4,
    }
    return B * H * blocks_per_row, arguments


def forward_arguments(out, fmap0, fmap1, radius: int, normalize: bool) -> tuple[int, dict]:
    """The number of programs and the arguments of `correlation_fwd_kernel`."""
    B, C, H, W = fmap0.shape
    side = 2 * radius + 1
    BD = triton.next_power_of_2(side)
    BC = min(triton.next_power_of_2(C), 16) if fmap0.stride(1) == 1 else 1
    BP = _columns(W, max(2048 // (BD * BC), 1) if BC > 1 else min(1024 // BD, 256))
    blocks_per_row = triton.cdiv(W, BP)
    location_blocks = B * H * blocks_per_row
    rows_per_program = side if location_blocks >= ENOUGH_PROGRAMS else 1
    arguments = {
        "out": out,
        "fmap0": fmap0,
        **strides("s0", "bcyx", fmap0),
        "fmap1": fmap1,
        **strides("s1", "bcyx", fmap1),
        "H": H,
        "W": W,
        "blocks_per_row": blocks_per_row,
        "C": C,
        "RADIUS": radius,
        "NORMALIZE": normalize,
        "ROWS_PER_PROGRAM": rows_per_program,
        "BP": BP,
        "BD": BD,
        "BC": BC,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (fmap0, fmap1, out))),
        "num_warps": 4,
    }
    return location_blocks * (side // rows_per_program), arguments


def backward_arguments(
    dfmap, fmap, other, grad, inv_norm, radius: int, transposed: bool
) -> tuple[int, dict]:
    """The number of programs and the arguments of `correlation_bwd_kernel`.

    Args:
        dfmap: the gradient of fmap, written.
        inv_norm: of other; None without normalization.
        transposed: whether fmap is fmap1 and other is fmap0.
    """
    B, C, H, W = fmap.shape
    BC = triton.next_power_of_2(C)
    BP = _columns(W, max(2048 // BC, 1 if other.stride(1) == 1 else 32))
    blocks_per_row = triton.cdiv(W, BP)
    arguments = {
        "dfmap": dfmap,
        **strides("sd", "bcyx", dfmap),
        "fmap": fmap,
        **strides("sm", "bcyx", fmap),
        "other": other,
        **strides("so", "bcyx", other),
        "grad": grad,
        **strides("sg", "bdyx", grad),
        "inv_norm": inv_norm,
        "H": H,
        "W": W,
        "blocks_per_row": blocks_per_row,
        "C": C,
        "RADIUS": radius,
        "TRANSPOSED": transposed,
        "BP": BP,
        "BC": BC,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (dfmap, fmap, other, grad))),
        "num_warps": 4 if BP * BC <= 2048 else 8,
    }
    return B * H * blocks_per_row, arguments


def backward_both_arguments(dfmaps, fmaps, grad, inv_norms, radius: int) -> tuple[int, dict]:
    """The number of programs and the arguments of `correlation_bwd_both_kernel`.

    Args:
        dfmaps, fmaps, inv_norms: pairs, as `backward_arguments` takes each; the maps of a pair have
            the same strides.
    """
    programs, arguments = backward_arguments(
        dfmaps[0], *fmaps, grad, inv_norms[1], radius, transposed=False
    )
    own = ("dfmap", "fmap", "other", "so_b", "so_c", "so_y", "so_x", "inv_norm", "TRANSPOSED")
    arguments = {name: value for name, value in arguments.items() if name not in own}
    pairs = {"dfmap": dfmaps, "fmap": fmaps, "inv_norm": inv_norms}
    arguments |= {f"{name}{i}": x for name, pair in pairs.items() for i, x in enumerate(pair)}
    return 2 * programs, {**arguments, "programs": programs}


# -- forward and backward --------------------------------------------------------------------------


def _inverse_norms(fmap0, fmap1, normalize: bool) -> tuple[torch.Tensor | None, ...]:
    """Inverse norms of each map's channels, (B, HW); None without normalization."""
    if not normalize:
        return None, None
    B, _, H, W = fmap0.shape
    norms = tuple(fmap0.new_empty((B, H * W), dtype=torch.float32) for _ in range(2))
    launch_again(correlation_inverse_norms_kernel, inverse_norms_arguments, *norms, fmap0, fmap1)
    return norms


def correlation_forward(fmap0, fmap1, radius, normalize):
    out = empty_output(fmap0, radius)
    if fmap0.numel() == 0:
        return out.zero_()  # without channels, sums of nothing
    launch_again(correlation_fwd_kernel, forward_arguments, out, fmap0, fmap1, radius, normalize)
    return out


def correlation_backward(grad, fmap0, fmap1, radius, normalize, needs):
    grads = empty_grads((fmap0, fmap1), needs, 2)
    if fmap0.numel() == 0 or needs == 0:
        return grads
    inv_norm0, inv_norm1 = _inverse_norms(fmap0, fmap1, normalize)
    if needs & 3 == 3 and fmap0.stride() == fmap1.stride():
        pairs = grads, (fmap0, fmap1), grad, (inv_norm0, inv_norm1)
        launch_again(correlation_bwd_both_kernel, backward_both_arguments, *pairs, radius)
        return grads
    if needs & 1:
        inputs = (grads[0], fmap0, fmap1, grad, inv_norm1, radius)
        launch_again(correlation_bwd_kernel, backward_arguments, *inputs, False)
    if needs & 2:
        inputs = (grads[1], fmap1, fmap0, grad, inv_norm0, radius)
        launch_again(correlation_bwd_kernel, backward_arguments, *inputs, True)
    return grads


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype, layout, radius and split of work at least once."""
    last, planes = torch.channels_last, torch.contiguous_format
    odd = (1, 5, 30001, 20001)
    for label, dtype, size, layout, radius, normalize in (
        ("float32 64 last, radius 3, normalized", torch.float32, (1, 64, 270, 480), last, 3, True),
        ("bfloat16 64 last, radius 3, normalized", torch.bfloat16, (4, 64, 64, 64), last, 3, True),
        ("bfloat16 64 last, radius 0, normalized", torch.bfloat16, (4, 64, 64, 64), last, 0, True),
        ("float16 64 last, radius 6, normalized", torch.float16, (4, 64, 16, 16), last, 6, True),
        ("float16 24 last, radius 2, normalized", torch.float16, (1, 24, 270, 480), last, 2, True),
        (
            "float32 24 planes, radius 2, normalized",
            torch.float32,
            (1, 24, 180, 320),
            planes,
            2,
            True,
        ),
        ("float32 256 planes, radius 6", torch.float32, (1, 256, 68, 120), planes, 6, False),
        ("float16 5 last, radius 1, odd, 64-bit", torch.float16, odd, last, 1, False),
    ):
        B, _, H, W = size
        fmap = torch.empty(size, dtype=dtype, device="meta").to(memory_format=layout)
        grad = empty_output(fmap, radius)
        norm = torch.empty(B, H * W, device="meta") if normalize else None
        if normalize:
            _, arguments = inverse_norms_arguments(norm, norm, fmap, fmap)
            yield f"inverse norms {label}", correlation_inverse_norms_kernel, arguments
        _, arguments = forward_arguments(grad, fmap, fmap, radius, normalize)
        yield f"fwd {label}", correlation_fwd_kernel, arguments
        for name, transposed in (("fmap0", False), ("fmap1", True)):
            _, arguments = backward_arguments(fmap, fmap, fmap, grad, norm, radius, transposed)
            yield f"bwd {label}, {name}", correlation_bwd_kernel, arguments
        if dtype == torch.bfloat16:  # for training
            pairs = (fmap, fmap), (fmap, fmap), grad, (norm, norm)
            _, arguments = backward_both_arguments(*pairs, radius)
            yield f"bwd {label}, both", correlation_bwd_both_kernel, arguments
