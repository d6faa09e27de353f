"""`refine_output`: the public function, its schema and backends."""

import torch

from lift.kernels import autograd, dispatch, extension
from lift.kernels.checks import check_image, check_same
from lift.kernels.ops.refine_inputs.op import check_references
from lift.kernels.ops.refine_inputs.reference import STATE
from lift.kernels.ops.refine_output.reference import (
    RESIDUALS,
    SHARP_RESIDUALS,
    refine_output_reference,
)

# -- the op; csrc has the same schema --------------------------------------------------------------

_ARGUMENTS = (
    "Tensor residual, Tensor bias, Tensor image0, Tensor image1, Tensor state, Tensor change, "
    "Tensor threshold, int stride"
)
REFINE_OUTPUT = autograd.Op(
    name="refine_output",
    schema=f"({_ARGUMENTS}) -> Tensor",
    backward_schema=f"(Tensor grad, {_ARGUMENTS}, int needs)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    inputs=7,
    tensors=7,
    features=1,
    by_reference=(2, 3, 5),
    fake=lambda residual, bias, image0, *others: image0.new_empty(image0.shape),
    reference=refine_output_reference,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    images = [torch.rand(2, 3, 12, 20, generator=generator) for _ in range(2)]
    residual = torch.randn(2, SHARP_RESIDUALS * 4, 6, 10, generator=generator)
    bias = torch.randn(SHARP_RESIDUALS * 4, generator=generator)
    residual[:, RESIDUALS * 4 :] *= 0.2  # a sharpness between 0 and 1
    bias[RESIDUALS * 4 :] = 0.5
    state = 4 * torch.randn(2, STATE, 6, 10, generator=generator)
    change = torch.randn(2, 1, 6, 10, generator=generator)
    return residual.to(dtype), bias, *images, state, change, torch.tensor(-1.7), 2


def _unsupported_by_cpp(*arguments) -> str | None:
    """The reason why C++ does not support arguments of `refine_output`, or None."""
    reason = extension.unsupported_reason(*arguments[:1])
    if reason or not arguments:
        return reason
    residual, _, image0, *_ = arguments
    return extension.unsupported_features(image0.dtype, ("residuals", residual))


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", REFINE_OUTPUT)
dispatch.register(
    "refine_output",
    _triton,
    dispatch.cpp_backend(REFINE_OUTPUT, _unsupported_by_cpp, forward_only=True),
    dispatch.Backend("reference", refine_output_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def refine_output(
    residual: torch.Tensor,
    bias: torch.Tensor,
    image0: torch.Tensor,
    image1: torch.Tensor,
    state: torch.Tensor,
    change: torch.Tensor,
    threshold: torch.Tensor,
    stride: int,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """The frame: both references warped and blended with the refinement's residuals, plus a colour.

    Flows, logits and change are upsampled bilinearly by 2, flows in pixels of full resolution. With
    the residuals df0, df1, do0, do1, colour and g of a pixel the frame is

        gate = sigmoid(4 (change - threshold) + g)
        warp_blend(image0, image1, gate (flow0 + df0), gate (flow1 + df1), occ0 + do0, occ1 + do1)
            + colour

    With an eleventh residual, the sharpness s, warp_blend samples both references as

        bilinear + s (bicubic - bilinear)

    at the same coordinates, clamped to the image; bicubic as in `F.grid_sample`.

    Args:
        residual: (B, R stride^2, H/stride, W/stride), float32, float16, bfloat16 or float64: what
            `F.pixel_shuffle` makes (df0, df1, do0, do1, colour, g), R = 10, or (df0, df1, do0, do1,
            colour, g, s), R = 11, without the bias.
        bias: (R stride^2,), any floating dtype.
        image0, image1: (B, 3, H, W), float32, or float64; H and W are multiples of 2 and of stride.
        state: (B, 6, H/2, W/2), dtype of the images: flows to image0 and to image1, each dx then dy
            in pixels of half resolution, then two visibility logits.
        change: (B, 1, H/2, W/2), dtype of the images: log change of the references.
        threshold: (), any floating dtype.
        stride: 1, 2 or 4, of the space-to-depth view.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, 3, H, W), dtype of the images, not clamped. Differentiable in residual, bias, state and
        threshold; fused backends refuse images and change that require a gradient.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "refine_output"
    check_references(op, image0, image1, stride)
    check_image(op, "residual", residual)
    B, _, H, W = image0.shape
    sharp = residual.shape[1] == SHARP_RESIDUALS * stride**2
    channels, half = (SHARP_RESIDUALS if sharp else RESIDUALS) * stride**2, (H // 2, W // 2)
    size = (B, channels, H // stride, W // stride)
    check_same(op, "residual", residual, "image0", image0, size)
    check_same(op, "bias", bias, "residual", residual, (channels,))
    check_same(op, "state", state, "image0", image0, (B, STATE, *half), image0.dtype)
    check_same(op, "change", change, "image0", image0, (B, 1, *half), image0.dtype)
    check_same(op, "threshold", threshold, "image0", image0, ())
    return dispatch.call(
        op, backend, residual, bias, image0, image1, state, change, threshold, stride
    )
