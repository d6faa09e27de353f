"""Launches of the Triton kernels of `bias_act`.

Channels have any stride; pixels, row by row, are read at one stride, which channels-last tensors,
planes and slices of channels have. Others (a crop, a transpose) are copied first.
"""

import math

import torch
import triton

from lift.kernels.checks import unsupported_by_triton
from lift.kernels.launch import (
    DISPATCH_KEYS,  # noqa: F401  for dispatch
    INTERPRETED,
    empty,
    image_span,
    needs_int64_offsets,
)
from lift.kernels.launch_memory import launch_again
from lift.kernels.ops.bias_act.reference import empty_grads, empty_output, upsampling
from lift.kernels.ops.bias_act.triton_kernels import (
    bias_act_bwd_kernel,
    bias_act_fwd_kernel,
    bias_act_upsample_bwd_kernel,
)
from lift.kernels.reduction import counters

ENOUGH_PROGRAMS = 1024  # fill any GPU; more would only make more partial sums
ELEMENTS = 2048  # of a block: 16 for each thread of four warps; half where addresses are many
PARTIAL_SUMS = 4096  # read at once


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `bias_act`, or None."""
    return unsupported_by_triton(INTERPRETED, *arguments[:1])


# -- arguments of the kernels ----------------------------------------------------------------------


def _pixels_in_rows(x: torch.Tensor | None) -> torch.Tensor | None:
    """x (B, C, H, W) with its pixels, row by row, at one stride; a copy where they are not."""
    if x is None or x.shape[2] == 1 or x.shape[3] == 1 or x.stride(2) == x.shape[3] * x.stride(3):
        return x
    return x.contiguous()


def _pixel_stride(x: torch.Tensor) -> int:
    return x.stride(2) if x.shape[3] == 1 else x.stride(3)


def _is_last(x: torch.Tensor | None) -> bool:
    return x is not None and x.stride(1) == 1 and x.shape[1] > 1


def _alignment(*images: torch.Tensor | None) -> int:
    """The largest power of two, up to 16, that divides C and channels-last pixel strides."""
    channels = next(x.shape[1] for x in images if x is not None)
    return math.gcd(16, channels, *(_pixel_stride(x) for x in images if _is_last(x)))


def _strides(prefix: str, x: torch.Tensor | None, align: int) -> dict[str, int]:
    """Strides of x (B, C, H, W) as (B, C, HW), the last as the kernels take it; 0 for None."""
    if x is None:
        return dict.fromkeys((f"{prefix}_b", f"{prefix}_c", f"{prefix}_p"), 0)
    pixel = _pixel_stride(x) // align if _is_last(x) else _pixel_stride(x)
    return {f"{prefix}_b": x.stride(0), f"{prefix}_c": x.stride(1), f"{prefix}_p": pixel}


def _block_sizes(*images: torch.Tensor | None, elements: int = ELEMENTS) -> dict[str, int]:
    """Block sizes: several channels where any of the images is channels-last."""
    C, H, W = next(x.shape[1:] for x in images if x is not None)
    BC = 1
    if any(map(_is_last, images)):
        BC = triton.next_power_of_2(C)
        if C > 16:
            BC = min((64, 32, 16), key=lambda n: -C % n)  # the fewest idle threads
    return {"BP": min(elements // BC, max(triton.next_power_of_2(H * W), 16)), "BC": BC}


def forward_arguments(out, x, bias, skip, slope: float) -> tuple[int, dict]:
    """The number of programs and the arguments of `bias_act_fwd_kernel`."""
    x, skip = _pixels_in_rows(x), _pixels_in_rows(skip)
    (B, C, H, W), k = out.shape, upsampling(out, skip)
    align = _alignment(out, x, skip)
    blocks = _block_sizes(out, x, skip, elements=ELEMENTS // 2 if k > 1 else ELEMENTS)
    blocks_per_image, channel_blocks = (
        triton.cdiv(H * W, blocks["BP"]),
        triton.cdiv(C, blocks["BC"]),
    )
    arguments = {
        "out": out,
        **_strides("so", out, align),
        "x": x,
        **_strides("sx", x, align),
        "bias": bias,
        "s_bias": 0 if bias is None else bias.stride(0),
        "skip": skip,
        **_strides("ss", skip, align),
        "slope": slope,
        "inverse": 1.0 / max(k, 1),
        "W": W,
        "HW": H * W,
        "w": W // max(k, 1),
        "h": H // max(k, 1),
        "units": C // align,
        "blocks_per_image": blocks_per_image,
        "channel_blocks": channel_blocks,
        "OUT_LAST": _is_last(out),
        "X_LAST": _is_last(x),
        "SKIP_LAST": _is_last(skip),
        "HAS_BIAS": bias is not None,
        "HAS_SKIP": skip is not None,
        "UPSAMPLE": k > 1,
        "ACT": slope < 1,
        "ALIGN": align,
        **blocks,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (out, x, skip))),
        "num_warps": 4,
    }
    return B * blocks_per_image * channel_blocks, arguments


def _programs_per_image(grad: torch.Tensor, BP: int) -> tuple[int, int]:
    """How many programs walk over the blocks of an image, and over how many blocks each."""
    B, C, H, W = grad.shape
    blocks = triton.cdiv(H * W, BP)
    per_program = triton.cdiv(B * blocks * triton.cdiv(C * BP, ELEMENTS), ENOUGH_PROGRAMS)
    return triton.cdiv(blocks, per_program), per_program


def backward_arguments(dx, dskip, dbias, grad, out, slope: float) -> tuple[int, dict]:
    """The number of programs and the arguments of `bias_act_bwd_kernel`.

    Args:
        dx, dskip, dbias: written; None where not needed.
        out: None where slope is 1.
    """
    grad, out = _pixels_in_rows(grad), _pixels_in_rows(out)
    B, C, H, W = grad.shape
    align = _alignment(dx, dskip, grad, out)
    wide = needs_int64_offsets(*map(image_span, (dx, dskip, grad, out)))
    blocks = _block_sizes(grad, dx, dskip, out, elements=ELEMENTS // 2 if wide else ELEMENTS)
    programs_per_image, blocks_per_program = _programs_per_image(grad, blocks["BP"])
    channel_blocks = triton.cdiv(C, blocks["BC"])
    rows, partial, arrived = B * programs_per_image, dbias, None
    if dbias is not None and rows > 1:
        partial, arrived = empty(rows, C), counters(channel_blocks)
    arguments = {
        "dx": dx,
        **_strides("sd", dx, align),
        "dskip": dskip,
        **_strides("ss", dskip, align),
        "dbias": dbias,
        "partial": partial,
        "counters": arrived,
        "grad": grad,
        **_strides("sg", grad, align),
        "out": out,
        **_strides("so", out, align),
        "slope": slope,
        "HW": H * W,
        "units": C // align,
        "blocks_per_program": blocks_per_program,
        "programs_per_image": programs_per_image,
        "channel_blocks": channel_blocks,
        "rows": rows,
        "HAS_DX": dx is not None,
        "HAS_DSKIP": dskip is not None,
        "HAS_DBIAS": dbias is not None,
        "ACT": slope < 1,
        "DX_LAST": _is_last(dx),
        "SKIP_LAST": _is_last(dskip),
        "GRAD_LAST": _is_last(grad),
        "OUT_LAST": _is_last(out),
        "ALIGN": align,
        **blocks,
        "BROWS": min(PARTIAL_SUMS // blocks["BC"], triton.next_power_of_2(rows)),
        "INT64_OFFSETS": wide,
        "num_warps": 4,
    }
    return B * programs_per_image * channel_blocks, arguments


def upsample_backward_arguments(dskip, grad, out, slope: float) -> tuple[int, dict]:
    """The number of programs and the arguments of `bias_act_upsample_bwd_kernel`."""
    grad, out = _pixels_in_rows(grad), _pixels_in_rows(out)
    (B, C, h, w), (H, W) = dskip.shape, grad.shape[2:]
    align = _alignment(dskip, grad, out)
    blocks = _block_sizes(dskip, grad, out, elements=ELEMENTS // 2)
    blocks_per_image, channel_blocks = (
        triton.cdiv(h * w, blocks["BP"]),
        triton.cdiv(C, blocks["BC"]),
    )
    arguments = {
        "dskip": dskip,
        **_strides("ss", dskip, align),
        "grad": grad,
        **_strides("sg", grad, align),
        "out": out,
        **_strides("so", out, align),
        "slope": slope,
        "inverse": h / H,
        "factor": H // h,
        "W": W,
        "H": H,
        "w": w,
        "h": h,
        "hw": h * w,
        "units": C // align,
        "blocks_per_image": blocks_per_image,
        "channel_blocks": channel_blocks,
        "ACT": slope < 1,
        "SKIP_LAST": _is_last(dskip),
        "GRAD_LAST": _is_last(grad),
        "OUT_LAST": _is_last(out),
        "ALIGN": align,
        **blocks,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (dskip, grad, out))),
        "num_warps": 4,
    }
    return B * blocks_per_image * channel_blocks, arguments


# -- forward and backward --------------------------------------------------------------------------


def bias_act_forward(x, bias, skip, slope):
    out = empty_output(x, skip)
    if out.numel() > 0:
        launch_again(bias_act_fwd_kernel, forward_arguments, out, x, bias, skip, slope)
    return out


def bias_act_backward(grad, out, dtype, last, factor, skip_dtype, skip_last, slope, needs):
    grads = empty_grads(grad, dtype, last, factor, skip_dtype, skip_last, needs)
    if grad.numel() == 0:
        return tuple(g.zero_() for g in grads)
    dx, dbias, dskip = (g if needs >> i & 1 else None for i, g in enumerate(grads))
    same = dskip if factor == 1 else None
    if dbias is not None or dx is not None or same is not None:
        launch_again(bias_act_bwd_kernel, backward_arguments, dx, same, dbias, grad, out, slope)
    if dskip is not None and factor > 1:
        launch_again(
            bias_act_upsample_bwd_kernel, upsample_backward_arguments, dskip, grad, out, slope
        )
    return grads


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype, layout and skip connection at least once."""
    last, planes = torch.channels_last, torch.contiguous_format
    for label, dtype, size, layout, skip_dtype, factor, slope in (
        ("bfloat16 96 last, skip", torch.bfloat16, (4, 96, 64, 64), last, torch.bfloat16, 1, 0.1),
        (
            "float16 24 last, upsampled",
            torch.float16,
            (1, 24, 272, 480),
            last,
            torch.float16,
            4,
            0.1,
        ),
        ("float32 32 planes", torch.float32, (1, 32, 540, 960), planes, None, 0, 0.1),
        ("bfloat16 6 last, state", torch.bfloat16, (4, 6, 64, 64), last, torch.float32, 1, 1.0),
        (
            "float16 5 last, odd, upsampled, 64-bit",
            torch.float16,
            (1, 5, 30002, 20002),
            last,
            torch.float16,
            2,
            0.1,
        ),
    ):
        x = torch.empty(size, dtype=dtype, device="meta").to(memory_format=layout)
        bias, skip = torch.empty(size[1], device="meta"), None
        if factor:
            small = (*size[:2], size[2] // factor, size[3] // factor)
            skip = torch.empty(small, dtype=skip_dtype, device="meta")
            skip = skip if skip_dtype == torch.float32 else skip.to(memory_format=layout)
        out = empty_output(x, skip)
        _, arguments = forward_arguments(out, x, bias, skip, slope)
        yield f"fwd {label}", bias_act_fwd_kernel, arguments
        saved = out if slope < 1 else None
        _, arguments = backward_arguments(x, None, bias, out, saved, slope)
        yield f"bwd {label}", bias_act_bwd_kernel, arguments
        if factor > 1:
            _, arguments = upsample_backward_arguments(skip, out, saved, slope)
            yield f"bwd of skip {label}", bias_act_upsample_bwd_kernel, arguments
