"""Launches of the Triton kernels of `convex_upsample`.

States, logits and the incoming gradient are read with any strides.
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
from lift.kernels.ops.convex_upsample.reference import FACTOR, WEIGHTS, empty_output
from lift.kernels.ops.convex_upsample.triton_kernels import (
    convex_upsample_bwd_logits_kernel,
    convex_upsample_bwd_state_kernel,
    convex_upsample_fwd_kernel,
)
from lift.kernels.reduction import counters

PIXELS = 128  # of a program, a thread each
ROWS_OF_SUMS = 32  # read at once
PIXELS_OF_SUMS = 32  # where a program sums over its pixels: one warp, which needs no barrier


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `convex_upsample`, or None."""
    reason = unsupported_by_triton(INTERPRETED, *arguments[:1])
    if reason is not None or not arguments:
        return reason
    for name, x in zip(("logits", "prior"), arguments[1:], strict=True):
        if x.dtype not in TRITON_DTYPES:
            return f"{name} of {x.dtype}: float32, float16 or bfloat16 only"
    return None


# -- arguments of the kernels ----------------------------------------------------------------------


def _common_arguments(state, logits, prior, pixels: int) -> tuple[int, dict]:
    """The number of programs, and what every kernel takes."""
    B, _, H, W = state.shape
    blocks_per_image = triton.cdiv(H * W, pixels)
    return B * blocks_per_image, {
        "logits": logits,
        **strides("sl", "bcyx", logits),
        "prior": prior.contiguous(),
        "H": H,
        "W": W,
        "HW": H * W,
        "blocks_per_image": blocks_per_image,
        "BP": pixels,
        "num_warps": pixels // 32,
    }


def forward_arguments(out, state, logits, prior) -> tuple[int, dict]:
    """The number of programs and the arguments of `convex_upsample_fwd_kernel`."""
    programs, common = _common_arguments(state, logits, prior, PIXELS)
    return programs, {
        "out": out,
        "state": state,
        **strides("s", "bcyx", state),
        **common,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (out, state, logits))),
    }


def backward_logits_arguments(dlogits, dprior, lse, grad, state, logits, prior) -> tuple[int, dict]:
    """The number of programs and the arguments of `convex_upsample_bwd_logits_kernel`.

    dlogits and dprior may be None.
    """
    images = (dlogits, grad, state, logits)
    programs, common = _common_arguments(state, logits, prior, PIXELS_OF_SUMS)
    partial, counter = None, None
    if dprior is not None:
        partial, counter = empty(programs, WEIGHTS), counters(1)
    return programs, {
        "dlogits": dlogits,
        **strides("sd", "bcyx", dlogits),
        "dprior": dprior,
        "partial": partial,
        "counter": counter,
        "lse": lse,
        "grad": grad,
        **strides("sg", "bcyx", grad),
        "state": state,
        **strides("s", "bcyx", state),
        **common,
        "programs": programs,
        "BROWS": ROWS_OF_SUMS,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, images)),
    }


def backward_state_arguments(dstate, lse, grad, logits, prior) -> tuple[int, dict]:
    """The number of programs and the arguments of `convex_upsample_bwd_state_kernel`."""
    programs, common = _common_arguments(dstate, logits, prior, PIXELS)
    return programs, {
        "dstate": dstate,
        **strides("sd", "bcyx", dstate),
        "lse": lse,
        "grad": grad,
        **strides("sg", "bcyx", grad),
        **common,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (dstate, grad, logits))),
    }


def empty_lse(state: torch.Tensor) -> torch.Tensor:
    """Uninitialised log-sum-exps of the fine pixels' logits, (B, 4, H, W), contiguous."""
    B, _, H, W = state.shape
    return state.new_empty((B, FACTOR**2, H, W))


# -- forward and backward --------------------------------------------------------------------------


def convex_upsample_forward(state, logits, prior):
    out = empty_output(state)
    if out.numel() > 0:
        launch_again(convex_upsample_fwd_kernel, forward_arguments, out, state, logits, prior)
    return out


def convex_upsample_backward(grad, state, logits, prior, needs):
    inputs = (state, logits, prior)
    grads = empty_grads(inputs, needs, 2)
    if grad.numel() == 0 or needs == 0:
        return tuple(g.zero_() for g in grads)
    dstate, dlogits, dprior = (g if needs >> i & 1 else None for i, g in enumerate(grads))
    lse = empty_lse(state)
    written = (dlogits, dprior, lse)
    launch_again(
        convex_upsample_bwd_logits_kernel, backward_logits_arguments, *written, grad, *inputs
    )
    if dstate is not None:
        inputs = (dstate, lse, grad, logits, prior)
        launch_again(convex_upsample_bwd_state_kernel, backward_state_arguments, *inputs)
    return grads


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype, layout and width of offsets at least once."""
    last, planes = torch.channels_last, torch.contiguous_format
    for label, dtype, size, layout in (
        ("float16 last", torch.float16, (1, 270, 480), last),
        ("bfloat16 last", torch.bfloat16, (4, 64, 64), last),
        ("float32 planes, odd, 64-bit", torch.float32, (1, 20001, 20001), planes),
    ):
        B, H, W = size
        state = torch.empty(B, 6, H, W, device="meta")
        logits = torch.empty(B, WEIGHTS, H, W, dtype=dtype, device="meta")
        logits = logits.to(memory_format=layout)
        prior, out = torch.empty(WEIGHTS, device="meta"), empty_output(state)
        inputs = (state, logits, prior)
        yield f"fwd {label}", convex_upsample_fwd_kernel, forward_arguments(out, *inputs)[1]
        if dtype != torch.float16:
            lse = empty_lse(state)
            _, arguments = backward_logits_arguments(logits, prior, lse, out, *inputs)
            yield f"bwd logits {label}", convex_upsample_bwd_logits_kernel, arguments
            _, arguments = backward_state_arguments(state, lse, out, logits, prior)
            yield f"bwd state {label}", convex_upsample_bwd_state_kernel, arguments
