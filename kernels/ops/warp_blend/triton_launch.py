"""Launches of the Triton kernels of `warp` and `warp_blend`.

Images are read with any strides. Flow, visibility and the incoming gradient are read in pixel order
and may be slices of more channels, channels_last or expanded; other strides (a crop, a transpose)
are copied first. The backward saves the inputs only and recomputes samples and weights.

The gradient of an image is summed by float32 atomics, in any order, into a float32 buffer. Under
`torch.use_deterministic_algorithms(True)` it is summed in 64-bit fixed point, where order does not
matter: the unit is 2^-62 H W max|grad|, so the sum cannot overflow, and rounding stays below that
of float32 for all but vanishing gradients. The CUDA gradients of `grid_sample` sum in the same way,
but need a grid and each image's weighted gradient in memory, which this kernel avoids.
"""

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
    strides,
)
from lift.kernels.launch_memory import launch_again
from lift.kernels.ops.warp_blend.triton_kernels import warp_blend_bwd_kernel, warp_blend_fwd_kernel


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `warp` or `warp_blend`, or None."""
    return unsupported_by_triton(INTERPRETED, *arguments[:1])


# -- arguments of the kernels ----------------------------------------------------------------------


def block_sizes(C: int, stride_c: int) -> dict[str, int]:
    """Block sizes for C channels that lie `stride_c` elements apart, for four warps.

    Planes: one pixel per thread, so that flow and pixels are loaded by the same thread and nothing
    is exchanged. Channels last: four elements per thread, one load of 8 or 16 bytes.
    """
    if stride_c != 1 or C < 3:
        return {"BP": 128, "BC": 1}
    BC = triton.next_power_of_2(C)
    if C > 16:
        BC = min((64, 32, 16), key=lambda n: -C % n)  # the fewest idle threads
    return {"BP": 512 // BC, "BC": BC}


def _common_arguments(out, image0, image1, flow0, flow1, occ0, occ1) -> dict:
    """What both kernels take: the inputs, sizes and blocks; `out` is the output or its gradient."""
    _, C, H, W = out.shape
    blocks = block_sizes(C, image0.stride(1))
    return {
        **pixel_strides("s", "bcp", out),
        "image0": image0,
        **strides("s0", "bcyx", image0),
        "image1": image1,
        **strides("s1", "bcyx", image1),
        "flow0": flow0,
        **pixel_strides("sf0", "bcp", flow0),
        "flow1": flow1,
        **pixel_strides("sf1", "bcp", flow1),
        "occ0": occ0,
        **pixel_strides("so0", "bp", occ0),
        "occ1": occ1,
        **pixel_strides("so1", "bp", occ1),
        "H": H,
        "W": W,
        "HW": H * W,
        "blocks_per_image": triton.cdiv(H * W, blocks["BP"]),
        "C": C,
        **blocks,
        "BLEND": image1 is not None,
        "num_warps": 4,
    }


def forward_arguments(out, image0, image1, flow0, flow1, occ0, occ1) -> tuple[int, dict]:
    """The number of programs and the arguments of `warp_blend_fwd_kernel`.

    image1, flow1, occ0 and occ1 are None for `warp`.
    """
    flow0, flow1, occ0, occ1 = (pixels_in_rows(x) for x in (flow0, flow1, occ0, occ1))
    inputs = (image0, image1, flow0, flow1, occ0, occ1)
    return _with_programs(
        {
            "out": out,
            **_common_arguments(out, *inputs),
            "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (*inputs, out))),
        }
    )


def backward_arguments(grad, inputs: tuple, grads: tuple, scale) -> tuple[int, dict]:
    """The number of programs and the arguments of `warp_blend_bwd_kernel`.

    Args:
        inputs: image0, image1, flow0, flow1, occ0, occ1, as in `forward_arguments`.
        grads: of the inputs, None where not needed; those of images are accumulated into.
        scale: of fixed-point sums; None where image gradients are float32.
    """
    images, maps = inputs[:2], inputs[2:]
    inputs = (*images, *(pixels_in_rows(x) for x in maps))
    grad = pixels_in_rows(grad)
    dimage0, dimage1, dflow0, dflow1, docc0, docc1 = grads
    arguments = {
        "grad": grad,
        **_common_arguments(grad, *inputs),
        "dimage0": dimage0,
        **strides("sd0", "bcyx", dimage0),
        "dimage1": dimage1,
        **strides("sd1", "bcyx", dimage1),
        "dflow0": dflow0,
        "dflow1": dflow1,
        "docc0": docc0,
        "docc1": docc1,
        "scale": scale,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (grad, *inputs, *grads))),
        "FIXED_POINT": scale is not None,
        "HAS_DIMAGE0": dimage0 is not None,
        "HAS_DIMAGE1": dimage1 is not None,
        "HAS_DFLOW0": dflow0 is not None,
        "HAS_DFLOW1": dflow1 is not None,
        "HAS_DOCC0": docc0 is not None,
        "HAS_DOCC1": docc1 is not None,
    }
    return _with_programs(arguments)


def _with_programs(arguments: dict) -> tuple[int, dict]:
    return arguments["image0"].shape[0] * arguments["blocks_per_image"], arguments


# -- forward ---------------------------------------------------------------------------------------


def warp_forward(image, flow):
    return _forward(image, None, flow, None, None, None)


def warp_blend_forward(image0, image1, flow0, flow1, occ0, occ1):
    return _forward(image0, image1, flow0, flow1, occ0, occ1)


def _forward(image0, *others) -> torch.Tensor:
    out = empty_like_layout(image0)
    if out.numel() > 0:
        launch_again(warp_blend_fwd_kernel, forward_arguments, out, image0, *others)
    return out


# -- backward --------------------------------------------------------------------------------------


def warp_backward(grad, image, flow, needs):
    return _backward(grad, 1, (image, flow), needs)


def warp_blend_backward(grad, image0, image1, flow0, flow1, occ0, occ1, needs):
    return _backward(grad, 2, (image0, image1, flow0, flow1, occ0, occ1), needs)


def _backward(grad, images: int, inputs: tuple, needs: int) -> tuple[torch.Tensor, ...]:
    """Gradients of `warp` (one image) or `warp_blend` (two)."""
    grads = empty_grads(inputs, needs, images)
    if grad.numel() == 0 or needs == 0:
        return tuple(g.zero_() for g in grads)
    needed = [g if needs >> i & 1 else None for i, g in enumerate(grads)]
    image_grads = [g for g in needed[:images] if g is not None]
    fixed_point = torch.are_deterministic_algorithms_enabled() and bool(image_grads)
    scale, inverse = fixed_point_units(grad) if fixed_point else (None, None)
    sum_dtype = torch.int64 if fixed_point else torch.float32
    sums = [None if g is None else _zeros(g, sum_dtype) for g in needed[:images]]
    written = as_blend(images, *sums, *needed[images:])
    inputs = as_blend(images, *inputs)
    launch_again(warp_blend_bwd_kernel, backward_arguments, grad, inputs, written, scale)
    for g, total in zip(needed, sums, strict=False):
        if total is not None and fixed_point:
            torch.mul(total, inverse, out=g)  # one pass: float64 in registers, never in memory
        elif total is not None and total is not g:
            g.copy_(total)
    return grads


def as_blend(images: int, *tensors) -> tuple:
    """Six tensors in the order of `warp_blend`, from the two of `warp` or those six."""
    if images == 2:
        return tensors
    image, flow = tensors
    return (image, None, flow, None, None, None)


def _zeros(grad: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A buffer for the sums of an image's gradient: its own memory where the dtypes agree."""
    return grad.zero_() if grad.dtype == dtype else torch.zeros_like(grad, dtype=dtype)


def fixed_point_units(grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fixed-point units in 1 (float32) and the inverse (float64), on the device without a wait.

    Each pixel of the output reads a pixel of an image at most once in total, so the image's
    gradient stays below H W max|grad|. NaN where the gradient is not finite.
    """
    largest = torch.linalg.vector_norm(grad, float("inf"), dtype=torch.float32).double()
    scale = (2.0**62 / (grad.shape[2] * grad.shape[3] * largest)).clamp(max=2.0**100).float()
    inverse = torch.where(largest.isfinite(), 1 / scale.double(), torch.nan)
    return torch.where(largest.isfinite(), scale, 0.0).float(), inverse


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype, layout, op, sum, set of gradients at least once."""
    last, planes = torch.channels_last, torch.contiguous_format
    for label, images, dtype, size, layout, image_grads in (
        ("blend float32 3 planes", 2, torch.float32, (4, 3, 1080, 1920), planes, "sums"),
        ("blend bfloat16 32 last", 2, torch.bfloat16, (4, 32, 540, 960), last, "sums"),
        ("blend float16 3 planes", 2, torch.float16, (4, 3, 1080, 1920), planes, "none"),
        ("warp float32 64 last", 1, torch.float32, (4, 64, 270, 480), last, "fixed point"),
        ("warp float16 5 last, odd, 64-bit", 1, torch.float16, (1, 5, 30001, 20001), last, "sums"),
    ):
        B, _, H, W = size
        image = torch.empty(size, dtype=dtype, device="meta").to(memory_format=layout)
        flow, occ = (torch.empty(B, channels, H, W, device="meta") for channels in (2, 1))
        occs = [occ] * (images if images == 2 else 0)
        inputs = as_blend(images, *[image] * images, *[flow] * images, *occs)
        yield f"fwd {label}", warp_blend_fwd_kernel, forward_arguments(image, *inputs)[1]
        fixed_point = image_grads == "fixed point"
        sums = None
        if image_grads != "none":
            sums = image.to(torch.int64 if fixed_point else torch.float32)
        grads = as_blend(images, *[sums] * images, *[flow] * images, *occs)
        scale = torch.empty((), device="meta") if fixed_point else None
        yield (
            f"bwd {label}, image gradients: {image_grads}",
            warp_blend_bwd_kernel,
            backward_arguments(image, inputs, grads, scale)[1],
        )
