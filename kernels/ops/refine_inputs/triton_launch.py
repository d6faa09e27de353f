"""Launches of the Triton kernels of `refine_inputs`.

Images, state and missing motion are read with any strides. The backward saves the inputs only; it
needs the gradient of the flows at full resolution for a moment, in float32.
"""

import torch
import triton

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
from lift.kernels.ops.refine_inputs.reference import FLOWS, STATE, empty_output
from lift.kernels.ops.refine_inputs.triton_kernels import (
    refine_inputs_dflow_kernel,
    refine_inputs_fwd_kernel,
    refine_state_bwd_kernel,
)

PIXELS = {1: 128, 2: 128, 4: 32}  # of the result a program, by stride: up to four of an image each
STATE_PIXELS = 64  # a program, four channels of one a thread


def unsupported_reason(*arguments) -> str | None:
    """The reason why Triton does not support arguments of `refine_inputs`, or None."""
    reason = unsupported_by_triton(INTERPRETED, *arguments[:1])
    if reason or not arguments:
        return reason
    image0, image1, state, _, _, dtype = arguments
    return unsupported_state(image0, image1, state) or (
        None if dtype in TRITON_DTYPES else f"a result of {dtype}"
    )


def unsupported_state(image0, image1, state) -> str | None:
    """The reason why the kernels of the refinement do not support images and a state, or None."""
    for name, x in (("images", image0), ("a state", state)):
        if x.dtype != torch.float32:
            return f"{name} of {x.dtype}: torch.float32 only"
    if torch.is_grad_enabled() and (image0.requires_grad or image1.requires_grad):
        return "images that require a gradient"
    return None


# -- arguments of the kernels ----------------------------------------------------------------------


def image_arguments(image0, image1, state) -> dict:
    """The arguments for images and state that all kernels at full resolution take."""
    H, W = image0.shape[2:]
    return {
        "image0": image0,
        **strides("s0", "bcyx", image0),
        "image1": image1,
        **strides("s1", "bcyx", image1),
        "state": state,
        **strides("ss", "bcyx", state),
        "H": H,
        "W": W,
        "H2": H // 2,
        "W2": W // 2,
    }


def block_arguments(image0, stride: int, pixels: int) -> tuple[int, dict]:
    """The number of programs of that many pixels at 1/stride, and the arguments that these have."""
    B, _, H, W = image0.shape
    w, hw = W // stride, H // stride * (W // stride)
    blocks_per_image = triton.cdiv(hw, pixels)
    arguments = {
        "w": w,
        "hw": hw,
        "blocks_per_image": blocks_per_image,
        "S": stride,
        "BP": pixels,
        "num_warps": 4,
    }
    return B * blocks_per_image, arguments


def forward_arguments(out, image0, image1, state, missing, stride: int) -> tuple[int, dict]:
    """The number of programs and the arguments of `refine_inputs_fwd_kernel`."""
    programs, blocks = block_arguments(image0, stride, PIXELS[stride])
    tensors = (out, image0, image1, state, missing)
    return programs, {
        "out": out,
        **image_arguments(image0, image1, state),
        "missing": missing,
        **strides("sm", "bcyx", missing),
        **blocks,
        "HAS_MISSING": missing is not None,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, tensors)),
    }


def empty_fine(image0: torch.Tensor, fine: int) -> torch.Tensor:
    """An uninitialised gradient of channels of a state at full resolution, (B, fine, H, W)."""
    B, _, H, W = image0.shape
    return image0.new_empty((B, fine, H, W), dtype=torch.float32)


def dflow_arguments(dflow, grad, image0, image1, state, stride: int) -> tuple[int, dict]:
    """The number of programs and the arguments of `refine_inputs_dflow_kernel`."""
    programs, blocks = block_arguments(image0, stride, PIXELS[stride])
    tensors = (dflow, grad, image0, image1, state)
    return programs, {
        "dflow": dflow,
        "grad": grad,
        **image_arguments(image0, image1, state),
        "HW": image0.shape[2] * image0.shape[3],
        **blocks,
        "CHANNELS": grad.shape[1],
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, tensors)),
    }


def state_arguments(dstate, dmissing, dfine, grad, size, stride: int) -> tuple[int, dict]:
    """The number of programs and the arguments of `refine_state_bwd_kernel`.

    Args:
        dstate, dmissing: written; None where not needed.
        dfine: gradient at full resolution; None without dstate.
        grad: of the output of `refine_inputs`, channels_last, or None.
        size: B, H and W of the images.
    """
    B, H, W = size
    HW2 = H * W // 4
    blocks_per_image = triton.cdiv(HW2, STATE_PIXELS)
    return B * blocks_per_image, {
        "dstate": dstate,
        "dmissing": dmissing,
        "dfine": dfine,
        "grad": grad,
        "H": H,
        "W": W,
        "HW": H * W,
        "H2": H // 2,
        "W2": W // 2,
        "HW2": HW2,
        "w": W // stride,
        "hw": H // stride * (W // stride),
        "blocks_per_image": blocks_per_image,
        "CHANNELS": 0 if grad is None else grad.shape[1],
        "FINE": 0 if dfine is None else dfine.shape[1],
        "S": stride,
        "BP": STATE_PIXELS,
        "HAS_GRAD": grad is not None,
        "HAS_DSTATE": dstate is not None,
        "HAS_DMISSING": dmissing is not None,
        "INT64_OFFSETS": needs_int64_offsets(*map(image_span, (dstate, dmissing, dfine, grad))),
        "num_warps": 4,
    }


# -- forward and backward --------------------------------------------------------------------------


def refine_inputs_forward(image0, image1, state, missing, stride, dtype):
    out = empty_output(image0, missing, stride, dtype)
    if out.numel() > 0:
        launch_again(
            refine_inputs_fwd_kernel, forward_arguments, out, image0, image1, state, missing, stride
        )
    return out


def refine_inputs_backward(grad, image0, image1, state, missing, stride, dtype, needs):
    if needs & 0b11:
        raise RuntimeError("refine_inputs: no gradient of the images")
    grads = empty_grads((image0, image1, state, missing), needs, 2)
    if grad.numel() == 0 or needs == 0:
        return tuple(g.zero_() for g in grads)
    _, _, dstate, dmissing = (g if needs >> i & 1 else None for i, g in enumerate(grads))
    grad = grad.contiguous(memory_format=torch.channels_last)
    dflow = None
    if dstate is not None:
        dflow = empty_fine(image0, FLOWS)
        launch_again(
            refine_inputs_dflow_kernel, dflow_arguments, dflow, grad, image0, image1, state, stride
        )
    B, _, H, W = image0.shape
    launch_again(
        refine_state_bwd_kernel, state_arguments, dstate, dmissing, dflow, grad, (B, H, W), stride
    )
    return grads


# -- ahead-of-time compilation ---------------------------------------------------------------------


def compile_cases():
    """(label, kernel, arguments): each dtype and stride, and each width of offsets."""
    for label, dtype, (B, H, W), stride, has_missing in (
        ("bfloat16 stride 1", torch.bfloat16, (1, 1080, 1920), 1, True),
        ("float16 stride 2", torch.float16, (1, 1080, 1920), 2, True),
        ("float32 stride 4, odd, 64-bit", torch.float32, (1, 40004, 30004), 4, False),
    ):
        image = torch.empty(B, 3, H, W, device="meta")
        state = torch.empty(B, STATE, H // 2, W // 2, device="meta")
        missing = state[:, :2] if has_missing else None
        out = empty_output(image, missing, stride, dtype)
        _, arguments = forward_arguments(out, image, image, state, missing, stride)
        yield f"fwd {label}", refine_inputs_fwd_kernel, arguments
        dflow = empty_fine(image, FLOWS)
        if stride == 1 or dtype == torch.float16:
            _, arguments = dflow_arguments(dflow, out, image, image, state, stride)
            yield f"dflow {label}", refine_inputs_dflow_kernel, arguments
        if stride != 2:
            _, arguments = state_arguments(state, None, dflow, out, (B, H, W), stride)
            yield f"state {label}", refine_state_bwd_kernel, arguments
