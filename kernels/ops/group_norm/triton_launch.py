"""Launches of the Triton kernels of `group_norm`.

Images are read and written as (B, C, HW): planes, channels-last and slices of these; other strides
(a crop, a transpose) are copied first.
"""

import functools

import torch
import triton

from lift.kernels.autograd import empty_grads, empty_like_layout
from lift.kernels.checks import unsupported_by_triton
from lift.kernels.launch import (
    DISPATCH_KEYS,  # noqa: F401  for dispatch
    INTERPRETED,
    image_span,
    needs_int64_offsets,
    pixel_strides,
    pixels_in_rows,
)
from lift.kernels.launch_memory import launch_again
from lift.kernels.ops.group_norm.reference import empty_statistics
from lift.kernels.ops.group_norm.triton_kernels import (
    group_norm_bwd_kernel,
    group_norm_bwd_sums_kernel,
    group_norm_fwd_kernel,
    group_norm_stats_kernel,
)

MAX_CHANNELS, MAX_GROUPS = 256, 32
ELEMENTS = 4096  # of a block: pixels times channels
BACKWARD_ELEMENTS = 2048  # of a block there, where a thread holds more values of each element
PARTS = 256  # of an image, at most, in the first launch; each program of the second reads them all
PROGRAMS = 1024  # of an image, at most, in the second launch


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `group_norm`, or None."""
    reason = unsupported_by_triton(INTERPRETED, *arguments[:1])
    if reason is None and arguments and arguments[0].shape[1] > MAX_CHANNELS:
        return f"{arguments[0].shape[1]} channels: up to {MAX_CHANNELS} only"
    if reason is None and len(arguments) > 5 and arguments[5] > MAX_GROUPS:
        return f"{arguments[5]} groups: up to {MAX_GROUPS} only"
    return reason


# -- arguments of the kernels ----------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _parts(C: int, HW: int, elements: int, most: int) -> tuple[int, int, int]:
    """How the first launch splits images: pixels of a block, pixels of a part, parts of an image.

    Args:
        elements: of a block.
        most: parts.
    """
    BP = min(elements // triton.next_power_of_2(C), triton.next_power_of_2(HW))
    span = BP * triton.cdiv(HW, BP * most)
    return BP, span, triton.cdiv(HW, span)


def _sizes(x: torch.Tensor, groups: int, elements: int) -> dict:
    """Sizes of the first launch for images x (B, C, H, W), and its blocks of so many elements."""
    _, C, H, W = x.shape
    BP, span, parts = _parts(C, H * W, elements, PARTS)
    return {
        "HW": H * W,
        "parts": parts,
        "span": span,
        "C": C,
        "G": groups,
        "GC": C // groups,
        "BP": BP,
        "BC": triton.next_power_of_2(C),
        "BG": triton.next_power_of_2(groups),
        "num_warps": 8,
    }


def _second_sizes(sizes: dict) -> dict:
    """Further sizes of the second launch."""
    program_span = sizes["BP"] * triton.cdiv(sizes["HW"], sizes["BP"] * PROGRAMS)
    return {
        "programs": triton.cdiv(sizes["HW"], program_span),
        "program_span": program_span,
        "BPARTS": triton.next_power_of_2(sizes["parts"]),
    }


def _inputs(x, skip, weight, bias, x_bias, slope: float) -> dict:
    """The inputs, as all kernels but the first take them."""
    return {
        "x": x,
        **pixel_strides("s", "bcp", x),
        "skip": skip,
        **pixel_strides("ss", "bcp", skip),
        "weight": weight,
        "bias": bias,
        "x_bias": x_bias,
        "slope": slope,
        "HAS_X_BIAS": x_bias is not None,
        "HAS_SKIP": skip is not None,
        "ACTIVATION": slope != 1,
    }


def _empty_sums(x: torch.Tensor, *shape: int) -> torch.Tensor:
    return x.new_empty(shape, dtype=torch.float32)


def empty_stats(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Uninitialised statistics of the parts of images x, (B, 2, parts, groups)."""
    B, C, H, W = x.shape
    return _empty_sums(x, B, 2, _parts(C, H * W, ELEMENTS, PARTS)[2], groups)


def stats_arguments(stats, x, x_bias, groups: int) -> tuple[int, dict]:
    """The number of programs and the arguments of `group_norm_stats_kernel`."""
    sizes = _sizes(x, groups, ELEMENTS)
    arguments = {
        "stats": stats,
        "x": x,
        **pixel_strides("s", "bcp", x),
        "x_bias": x_bias,
        **sizes,
        "HAS_X_BIAS": x_bias is not None,
        "INT64_OFFSETS": needs_int64_offsets(image_span(x)),
    }
    return len(x) * sizes["parts"], arguments


def forward_arguments(
    out, mean, rstd, stats, x, skip, weight, bias, x_bias, groups: int, eps: float, slope: float
) -> tuple[int, dict]:
    """The number of programs and the arguments of `group_norm_fwd_kernel`."""
    sizes = _sizes(x, groups, ELEMENTS)
    second = _second_sizes(sizes)
    arguments = {
        "out": out,
        **pixel_strides("so", "bcp", out),
        "mean": mean,
        "rstd": rstd,
        "stats": stats,
        **_inputs(x, skip, weight, bias, x_bias, slope),
        "eps": eps,
        **sizes,
        **second,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (x, skip, out))),
    }
    return len(x) * second["programs"], arguments


def empty_sums(x: torch.Tensor, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Uninitialised sums of the parts: (B, parts, 3, C) and, of groups, (B, 2, parts, groups)."""
    B, C, H, W = x.shape
    parts = _parts(C, H * W, BACKWARD_ELEMENTS, PARTS)[2]
    return _empty_sums(x, B, parts, 3, C), _empty_sums(x, B, 2, parts, groups)


def sums_arguments(
    sums,
    group_sums,
    grad,
    x,
    skip,
    weight,
    bias,
    x_bias,
    mean,
    rstd,
    groups: int,
    slope: float,
) -> tuple[int, dict]:
    """The number of programs and the arguments of `group_norm_bwd_sums_kernel`."""
    sizes = _sizes(x, groups, BACKWARD_ELEMENTS)
    arguments = {
        "sums": sums,
        "group_sums": group_sums,
        "grad": grad,
        **pixel_strides("sg", "bcp", grad),
        **_inputs(x, skip, weight, bias, x_bias, slope),
        "mean": mean,
        "rstd": rstd,
        **sizes,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (grad, x, skip))),
    }
    return len(x) * sizes["parts"], arguments


def backward_arguments(first: tuple, dx, dskip, dweight, dbias, dx_bias) -> tuple[int, dict]:
    """The number of programs and the arguments of `group_norm_bwd_kernel`.

    Args:
        first: what `sums_arguments` takes.
        dx, dskip: the gradients, or None where not needed.
        dweight, dbias, dx_bias: all but dx_bias, or none.
    """
    _, first = sums_arguments(*first)
    B, second = len(first["x"]), _second_sizes(first)
    parameter_programs = 0 if dweight is None else first["G"]
    BGC = triton.next_power_of_2(first["GC"])
    images = [first[name] for name in ("grad", "x", "skip")]
    arguments = {
        "dx": dx,
        **pixel_strides("sd", "bcp", dx),
        "dskip": dskip,
        **pixel_strides("sk", "bcp", dskip),
        "dweight": dweight,
        "dbias": dbias,
        "dx_bias": dx_bias,
        **{name: value for name, value in first.items() if name != "span"},
        "B": B,
        **second,
        "parameter_programs": parameter_programs,
        "BROWS": min(second["BPARTS"], 2048 // BGC),
        "BGC": BGC,
        "HAS_DX": dx is not None,
        "HAS_DSKIP": dskip is not None,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (*images, dx, dskip))),
    }
    pixels = dx is not None or dskip is not None
    return parameter_programs + (B * second["programs"] if pixels else 0), arguments


# -- forward and backward --------------------------------------------------------------------------


def group_norm_forward(x, skip, weight, bias, x_bias, groups, eps, slope):
    out = empty_like_layout(x)
    mean, rstd = (empty_statistics(x, groups) for _ in range(2))
    if x.numel() == 0:
        return out, mean.zero_(), rstd.zero_()
    x, skip = pixels_in_rows(x), pixels_in_rows(skip)
    weight, bias, x_bias = _parameters(weight, bias, x_bias)
    stats = empty_stats(x, groups)
    launch_again(group_norm_stats_kernel, stats_arguments, stats, x, x_bias, groups)
    inputs = (x, skip, weight, bias, x_bias, groups, eps, slope)
    launch_again(group_norm_fwd_kernel, forward_arguments, out, mean, rstd, stats, *inputs)
    return out, mean, rstd


def group_norm_backward(grad, x, skip, weight, bias, x_bias, groups, eps, slope, mean, rstd, needs):
    grads = empty_grads((x, skip, weight, bias, x_bias), needs, 2)
    if grad.numel() == 0 or needs == 0:
        return tuple(g.zero_() for g in grads)
    grad, x, skip = (pixels_in_rows(image) for image in (grad, x, skip))
    weight, bias, x_bias = _parameters(weight, bias, x_bias)
    inputs = (grad, x, skip, weight, bias, x_bias, mean, rstd, groups, slope)
    first = (*empty_sums(x, groups), *inputs)
    launch_again(group_norm_bwd_sums_kernel, sums_arguments, *first)
    needed = [g if needs >> i & 1 else None for i, g in enumerate(grads)]
    if needs >> 2:  # one needed parameter brings the gradients of all
        needed[2:4] = [_empty_sums(x, len(weight)) if g is None else g for g in needed[2:4]]
        if x_bias is not None and needed[4] is None:
            needed[4] = _empty_sums(x, len(weight))
    launch_again(group_norm_bwd_kernel, backward_arguments, first, *needed)
    return grads


def _parameters(*parameters: torch.Tensor | None) -> list[torch.Tensor | None]:
    return [None if p is None else p.contiguous() for p in parameters]


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype, layout, width of offsets; all options and none."""
    last, planes = torch.channels_last, torch.contiguous_format
    for label, dtype, size, layout, options, grads in (
        ("bfloat16 24 last", torch.bfloat16, (1, 24, 540, 960), last, True, False),
        ("float16 32 last", torch.float16, (4, 32, 128, 128), last, True, True),
        (
            "float32 24 planes, odd, 64-bit",
            torch.float32,
            (1, 24, 30001, 20001),
            planes,
            False,
            True,
        ),
    ):
        B, C, *_ = size
        groups = 8
        image = torch.empty(size, dtype=dtype, device="meta").to(memory_format=layout)
        skip = image if options else None
        weight = torch.empty(C, device="meta")
        x_bias = weight if options else None
        slope = 0.1 if options else 1.0
        mean = empty_statistics(image, groups)
        if not grads:
            stats = empty_stats(image, groups)
            _, arguments = stats_arguments(stats, image, x_bias, groups)
            yield f"stats {label}", group_norm_stats_kernel, arguments
            inputs = (image, skip, weight, weight, x_bias, groups, 1e-5, slope)
            _, arguments = forward_arguments(image, mean, mean, stats, *inputs)
            yield f"fwd {label}", group_norm_fwd_kernel, arguments
            continue
        inputs = (image, image, skip, weight, weight, x_bias, mean, mean, groups, slope)
        first = (*empty_sums(image, groups), *inputs)
        yield f"bwd sums {label}", group_norm_bwd_sums_kernel, sums_arguments(*first)[1]
        _, arguments = backward_arguments(first, image, skip, weight, weight, x_bias)
        yield f"bwd {label}", group_norm_bwd_kernel, arguments
