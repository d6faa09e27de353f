"""Launches of the Triton kernels of `refine_output`.

Images, state and change are read with any strides, a residual in channels_last or contiguous; one
of other strides is copied first. The backward saves the inputs only; it needs the gradient of the
state's channels at full resolution for a moment, in float32.
"""

import torch

from lift.kernels.autograd import empty_grads
from lift.kernels.checks import TRITON_DTYPES, unsupported_by_triton
from lift.kernels.launch import (
    DISPATCH_KEYS,  # noqa: F401  for dispatch
    INTERPRETED,
    image_span,
    needs_int64_offsets,
    strides,
)
from lift.kernels.launch_memory import launch_again
from lift.kernels.ops.refine_inputs.reference import STATE
from lift.kernels.ops.refine_inputs.triton_kernels import refine_state_bwd_kernel
from lift.kernels.ops.refine_inputs.triton_launch import (
    PIXELS,
    block_arguments,
    empty_fine,
    image_arguments,
    state_arguments,
    unsupported_state,
)
from lift.kernels.ops.refine_output.reference import RESIDUALS, SHARP_RESIDUALS
from lift.kernels.ops.refine_output.triton_kernels import (
    refine_output_bwd_kernel,
    refine_output_fwd_kernel,
    refine_output_sums_kernel,
)

# Pixels of the residual a program, by residuals and stride. The backward needs more registers, and
# so do samples of 4 x 4 pixels: a thread has one pixel of the frame.
SHARP_PIXELS = {1: 128, 2: 32, 4: 8}
FORWARD_PIXELS = {RESIDUALS: PIXELS, SHARP_RESIDUALS: SHARP_PIXELS}
BACKWARD_PIXELS = {RESIDUALS: {1: 128, 2: 64, 4: 16}, SHARP_RESIDUALS: SHARP_PIXELS}
ROWS = 64  # of the programs' sums, added at a time


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `refine_output`, or None."""
    reason = unsupported_by_triton(INTERPRETED, *arguments[2:3])
    if reason or not arguments:
        return reason
    residual, bias, image0, image1, state, change, threshold, _ = arguments
    for name, x in (("a residual", residual), ("a bias", bias), ("a threshold", threshold)):
        if x.dtype not in TRITON_DTYPES:
            return f"{name} of {x.dtype}: float32, float16 or bfloat16 only"
    if torch.is_grad_enabled() and change.requires_grad:
        return "a change that requires a gradient"
    return unsupported_state(image0, image1, state)


# -- arguments of the kernels ----------------------------------------------------------------------


def _common_arguments(pixels, residual, bias, image0, image1, state, change, threshold, stride):
    """The number of programs and what both kernels take."""
    R = residual.shape[1] // stride**2
    programs, blocks = block_arguments(image0, stride, pixels[R][stride])
    channels_last = not residual.is_contiguous() and residual.is_contiguous(
        memory_format=torch.channels_last
    )
    return programs, {
        "residual": residual if channels_last else residual.contiguous(),
        "bias": bias.contiguous(),
        **image_arguments(image0, image1, state),
        "change": change,
        **strides("sc", "bcyx", change),
        "threshold": threshold,
        "HW": image0.shape[2] * image0.shape[3],
        **blocks,
        "R": R,
        "CHANNELS_LAST": channels_last,
    }


def forward_arguments(out, *inputs) -> tuple[int, dict]:
    """The number of programs and the arguments of `refine_output_fwd_kernel`."""
    programs, arguments = _common_arguments(FORWARD_PIXELS, *inputs)
    int64 = needs_int64_offsets(*map(image_span, (out, *_images(inputs))))
    return programs, {"out": out, **arguments, "INT64_OFFSETS": int64}


def backward_arguments(dresidual, dfine, partial, grad, *inputs) -> tuple[int, dict]:
    """The number of programs and the arguments of `refine_output_bwd_kernel`."""
    programs, arguments = _common_arguments(BACKWARD_PIXELS, *inputs)
    int64 = needs_int64_offsets(*map(image_span, (dfine, grad, *_images(inputs))))
    return programs, {
        "dresidual": dresidual,
        "dfine": dfine,
        "partial": partial,
        "grad": grad,
        **arguments,
        "INT64_OFFSETS": int64,
    }


def empty_partial(residual: torch.Tensor, image0: torch.Tensor, stride: int) -> torch.Tensor:
    """Uninitialised sums of each program of the backward, (programs, channels)."""
    pixels = BACKWARD_PIXELS[residual.shape[1] // stride**2][stride]
    programs, _ = block_arguments(image0, stride, pixels)
    return image0.new_empty((programs, residual.shape[1]))


def sums_arguments(dbias, dthreshold, partial, stride: int) -> tuple[int, dict]:
    """The number of programs and the arguments of `refine_output_sums_kernel`."""
    R = partial.shape[1] // stride**2
    return R, {
        "dbias": dbias,
        "dthreshold": dthreshold,
        "partial": partial,
        "rows": len(partial),
        "R": R,
        "AREA": stride**2,
        "BR": ROWS,
        "num_warps": 4,
    }


def _images(inputs: tuple) -> tuple[torch.Tensor, ...]:
    residual, _, image0, image1, state, change, _, _ = inputs
    return residual, image0, image1, state, change


# -- forward and backward --------------------------------------------------------------------------


def refine_output_forward(residual, bias, image0, *others):
    out = image0.new_empty(image0.shape)
    if out.numel() > 0:
        inputs = (residual, bias, image0, *others)
        launch_again(refine_output_fwd_kernel, forward_arguments, out, *inputs)
    return out


def refine_output_backward(
    grad, residual, bias, image0, image1, state, change, threshold, stride, needs
):
    if needs & 0b101100:
        raise RuntimeError("refine_output: no gradient of the images and of change")
    inputs = (residual, bias, image0, image1, state, change, threshold)
    grads = empty_grads(inputs, needs, 1)
    if grad.numel() == 0 or needs == 0:
        return tuple(g.zero_() for g in grads)
    # What no input needs is written all the same, and dropped.
    dresidual, dbias, _, _, dstate, _, dthreshold = (
        g if needs >> i & 1 else empty
        for i, (g, empty) in enumerate(zip(grads, empty_grads(inputs, -1, 1), strict=True))
    )
    dfine = empty_fine(image0, STATE)
    partial = empty_partial(residual, image0, stride)
    written = (dresidual, dfine, partial)
    launch_again(
        refine_output_bwd_kernel, backward_arguments, *written, grad.contiguous(), *inputs, stride
    )
    if needs & 0b10000:
        B, _, H, W = image0.shape
        launch_again(
            refine_state_bwd_kernel, state_arguments, dstate, None, dfine, None, (B, H, W), stride
        )
    if needs & 0b1000010:
        launch_again(refine_output_sums_kernel, sums_arguments, dbias, dthreshold, partial, stride)
    return grads


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype and stride, and each width of offsets."""
    last, planes = torch.channels_last, torch.contiguous_format
    for label, R, dtype, layout, (B, H, W), stride in (
        ("bfloat16 stride 1", RESIDUALS, torch.bfloat16, last, (1, 1080, 1920), 1),
        ("float16 stride 2", RESIDUALS, torch.float16, last, (1, 1080, 1920), 2),
        (
            "float32 stride 4, planes, odd, 64-bit",
            RESIDUALS,
            torch.float32,
            planes,
            (1, 40004, 30004),
            4,
        ),
        ("sharp bfloat16 stride 1", SHARP_RESIDUALS, torch.bfloat16, last, (1, 1080, 1920), 1),
        ("sharp bfloat16 stride 2", SHARP_RESIDUALS, torch.bfloat16, last, (1, 1080, 1920), 2),
    ):
        image = torch.empty(B, 3, H, W, device="meta")
        state = torch.empty(B, STATE, H // 2, W // 2, device="meta")
        size = (B, R * stride**2, H // stride, W // stride)
        residual = torch.empty(size, dtype=dtype, device="meta").to(memory_format=layout)
        bias, threshold = (torch.empty(n, device="meta") for n in ((size[1],), ()))
        inputs = (residual, bias, image, image, state, state[:, :1], threshold, stride)
        yield f"fwd {label}", refine_output_fwd_kernel, forward_arguments(image, *inputs)[1]
        dfine = empty_fine(image, STATE)
        if stride != 4:
            partial = empty_partial(residual, image, stride)
            _, arguments = backward_arguments(residual, dfine, partial, image, *inputs)
            yield f"bwd {label}", refine_output_bwd_kernel, arguments
        if stride == 2:
            partial = torch.empty(99, size[1], device="meta")
            _, arguments = sums_arguments(bias, threshold, partial, stride)
            yield f"sums {label}", refine_output_sums_kernel, arguments
        if stride == 2 and R == RESIDUALS:  # knows nothing of the residuals
            _, arguments = state_arguments(state, None, dfine, None, (B, H, W), stride)
            yield f"state {label}", refine_state_bwd_kernel, arguments
