"""Launches of the Triton kernels of `flow_inputs`.

Tensors are read with any strides. The backward saves the inputs only. The gradients of the features
are summed as those of `warp`: by float32 atomics, or in 64-bit fixed point under
`torch.use_deterministic_algorithms(True)`.
"""

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
from lift.kernels.ops.flow_inputs.reference import FLOW_SCALE, empty_output
from lift.kernels.ops.flow_inputs.triton_kernels import (
    flow_inputs_bwd_kernel,
    flow_inputs_fwd_kernel,
)
from lift.kernels.ops.warp_blend.triton_launch import block_sizes, fixed_point_units


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `flow_inputs`, or None."""
    reason = unsupported_by_triton(INTERPRETED, *arguments[:1])
    if reason is None and arguments and arguments[-1] == torch.float64:
        return "an output of float64"
    return reason


# -- arguments of the kernels ----------------------------------------------------------------------


def _common_arguments(left, right, local, state, scale: int) -> tuple[int, dict]:
    """The number of programs, and what both kernels take."""
    B, C, H, W = left.shape
    blocks = block_sizes(C, left.stride(1))
    blocks_per_image = triton.cdiv(H * W, blocks["BP"])
    arguments = {
        "left": left,
        **strides("s0", "bcyx", left),
        "right": right,
        **strides("s1", "bcyx", right),
        "state": state,
        **strides("ss", "bcyx", state),
        "factor": scale / FLOW_SCALE,
        "H": H,
        "W": W,
        "HW": H * W,
        "blocks_per_image": blocks_per_image,
        "C": C,
        "D": local.shape[1],
        **blocks,
        "BD": min(triton.next_power_of_2(local.shape[1]), 1024 // blocks["BP"]),
        "num_warps": 4,
    }
    return B * blocks_per_image, arguments


def forward_arguments(
    out, left, right, local, zero_motion, state, missing, t, scale: int
) -> tuple[int, dict]:
    """The number of programs and the arguments of `flow_inputs_fwd_kernel`."""
    programs, common = _common_arguments(left, right, local, state, scale)
    spans = map(image_span, (out, left, right, local, zero_motion, state, missing))
    arguments = {
        "out": out,
        **common,
        "local": local,
        **strides("sl", "bcyx", local),
        "zero_motion": zero_motion,
        **strides("sz", "bcyx", zero_motion),
        "missing": missing,
        **strides("sm", "bcyx", missing),
        "t": t,
        **strides("st", "b", t),
        "K": out.shape[1],
        "INT64_OFFSETS": needs_int64_offsets(*spans),
    }
    return programs, arguments


def backward_arguments(
    grad, left, right, local, state, scale: int, grads: tuple, units
) -> tuple[int, dict]:
    """The number of programs and the arguments of `flow_inputs_bwd_kernel`.

    Args:
        grads: of left, right, local, zero_motion and state, None where not needed; those of
            features are added to.
        units: of fixed-point sums in 1; None where those of features are float32.
    """
    programs, common = _common_arguments(left, right, local, state, scale)
    dleft, dright, dlocal, dzero_motion, dstate = grads
    arguments = {
        "grad": grad,
        **strides("sg", "bcyx", grad),
        **common,
        "dleft": dleft,
        **strides("sd0", "bcyx", dleft),
        "dright": dright,
        **strides("sd1", "bcyx", dright),
        "dlocal": dlocal,
        **strides("sl", "bcyx", dlocal),
        "dzero_motion": dzero_motion,
        "dstate": dstate,
        "scale": units,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (grad, left, right, state, *grads))),
    }
    return programs, arguments


# -- forward and backward --------------------------------------------------------------------------


def flow_inputs_forward(left, right, local, zero_motion, state, missing, t, scale, dtype):
    out = empty_output(left, local, missing, dtype)
    if out.numel() > 0:
        inputs = (left, right, local, zero_motion, state, missing, t, scale)
        launch_again(flow_inputs_fwd_kernel, forward_arguments, out, *inputs)
    return out


def flow_inputs_backward(
    grad, left, right, local, zero_motion, state, missing, t, scale, dtype, needs
):
    grads = empty_grads((left, right, local, zero_motion, state), needs, 4)
    if grad.numel() == 0 or needs == 0:
        return grads
    needed = [g if needs >> i & 1 else None for i, g in enumerate(grads)]
    features = [g for g in needed[:2] if g is not None]
    units = inverse = None
    if features and torch.are_deterministic_algorithms_enabled():
        units, inverse = fixed_point_units(grad)
    sums, rows = _zeros(features, torch.float32 if units is None else torch.int64)
    totals = iter(sums)
    written = [None if g is None else next(totals) for g in needed[:2]]
    launch_again(
        flow_inputs_bwd_kernel,
        backward_arguments,
        grad,
        left,
        right,
        local,
        state,
        scale,
        (*written, *needed[2:]),
        units,
    )
    if units is None and rows is not None:
        rounded = iter(_views(rows.to(features[0].dtype), features[0]))  # both in one launch
        found = (g if needed[i] is None else next(rounded) for i, g in enumerate(grads[:2]))
        return *found, *grads[2:]
    for g, total in zip(features, sums, strict=True):
        if units is not None:
            torch.mul(total, inverse, out=g)
        elif total is not g:
            g.copy_(total)
    return grads


def _zeros(grads: list[torch.Tensor], dtype: torch.dtype) -> tuple[list, torch.Tensor | None]:
    """Buffers for the sums of gradients: their own memory where the dtypes agree, else one fill.

    Returns:
        The buffers, and the tensor that they are the rows of, if they are.
    """
    if not grads or grads[0].dtype == dtype:
        return [g.zero_() for g in grads], None
    first = grads[0]
    if any(g.stride() != first.stride() for g in grads):
        return [torch.zeros_like(g, dtype=dtype) for g in grads], None
    rows = torch.zeros((len(grads), first.numel()), dtype=dtype, device=first.device)
    return _views(rows, first), rows


def _views(rows: torch.Tensor, like: torch.Tensor) -> list[torch.Tensor]:
    """Each row as a tensor of the shape and strides of `like`."""
    return [x.as_strided(like.shape, like.stride(), x.storage_offset()) for x in rows]


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype, layout and sum at least once."""
    last, planes = torch.channels_last, torch.contiguous_format
    for label, dtype, size, layout, displacements, has_missing, exact in (
        ("bfloat16 96 last", torch.bfloat16, (1, 96, 270, 480), last, 49, True, False),
        ("float16 24 last", torch.float16, (1, 24, 270, 480), last, 25, True, True),
        (
            "float32 5 planes, odd, 64-bit",
            torch.float32,
            (1, 5, 30001, 20001),
            planes,
            9,
            False,
            False,
        ),
    ):
        B, _, H, W = size
        left = torch.empty(size, dtype=dtype, device="meta").to(memory_format=layout)
        local, zero, state, missing = (
            torch.empty(B, n, H, W, device="meta") for n in (displacements, 1, 6, 2)
        )
        missing, t = missing if has_missing else None, torch.empty(B, device="meta")
        out = empty_output(left, local, missing, dtype)
        _, arguments = forward_arguments(out, left, left, local, zero, state, missing, t, 8)
        yield f"fwd {label}", flow_inputs_fwd_kernel, arguments
        units = torch.empty((), device="meta") if exact else None
        total = left.to(torch.int64 if exact else torch.float32)
        grads = (total, total, local, zero, state)
        _, arguments = backward_arguments(out, left, left, local, state, 8, grads, units)
        yield f"bwd {label}{', fixed point' * exact}", flow_inputs_bwd_kernel, arguments
