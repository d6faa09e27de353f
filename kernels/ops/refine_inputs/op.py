"""`refine_inputs`: the public function, its schema and backends."""

import torch

from lift.kernels import autograd, dispatch, extension
from lift.kernels.checks import accumulate_dtype, check_image, check_same
from lift.kernels.ops.refine_inputs.reference import (
    STATE,
    STRIDES,
    empty_output,
    refine_inputs_reference,
)

# -- the op; csrc has the same schema --------------------------------------------------------------

_ARGUMENTS = (
    "Tensor image0, Tensor image1, Tensor state, Tensor? missing, int stride, ScalarType dtype"
)
REFINE_INPUTS = autograd.Op(
    name="refine_inputs",
    schema=f"({_ARGUMENTS}) -> Tensor",
    backward_schema=f"(Tensor grad, {_ARGUMENTS}, int needs) -> (Tensor, Tensor, Tensor, Tensor)",
    inputs=4,
    tensors=4,
    features=2,
    by_reference=(0, 1),
    fake=lambda image0, image1, state, missing, stride, dtype: empty_output(
        image0, missing, stride, dtype
    ),
    reference=refine_inputs_reference,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    images = [torch.rand(2, 3, 12, 20, generator=generator) for _ in range(2)]
    state = 4 * torch.randn(2, STATE, 6, 10, generator=generator)
    return *images, state, torch.randn(2, 2, 6, 10, generator=generator), 2, dtype


def _unsupported_by_cpp(*arguments) -> str | None:
    """The reason why C++ does not support arguments of `refine_inputs`, or None."""
    reason = extension.unsupported_reason(*arguments[:1])
    if reason or not arguments:
        return reason
    image0, *_, dtype = arguments
    return extension.unsupported_features(image0.dtype, ("an output", dtype))


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", REFINE_INPUTS)
dispatch.register(
    "refine_inputs",
    _triton,
    dispatch.cpp_backend(REFINE_INPUTS, _unsupported_by_cpp, forward_only=True),
    dispatch.Backend("reference", refine_inputs_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def refine_inputs(
    image0: torch.Tensor,
    image1: torch.Tensor,
    state: torch.Tensor,
    missing: torch.Tensor | None,
    stride: int,
    dtype: torch.dtype,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """What the refinement's first convolution reads: warped references, their difference, state.

    The flows are upsampled bilinearly by 2, in pixels of full resolution, and both images warped by
    them, as by `warp`. The channels of the result are those of `F.pixel_unshuffle` of (warped0,
    warped1, image0 - image1), then the state and the missing motion, bilinearly upsampled or
    averaged to its resolution, with flows of 16 pixels as 1.

    Args:
        image0, image1: (B, 3, H, W), float32, or float64; H and W are multiples of 2 and of stride.
        state: (B, 6, H/2, W/2), dtype of the images: flows to image0 and to image1, each dx then dy
            in pixels of half resolution, then two visibility logits.
        missing: (B, 2, H/2, W/2), dtype of the images, the motion that a Lucas-Kanade step added;
            or None.
        stride: 1, 2 or 4, of the space-to-depth view.
        dtype: of the result, that which the convolution computes in.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, 9 stride^2 + 6, H/stride, W/stride), two channels more with missing, channels_last.
        Differentiable in state and missing; fused backends refuse images that require a gradient.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "refine_inputs"
    check_references(op, image0, image1, stride)
    B, _, H, W = image0.shape
    check_same(op, "state", state, "image0", image0, (B, STATE, H // 2, W // 2), image0.dtype)
    if missing is not None:
        check_same(op, "missing", missing, "image0", image0, (B, 2, H // 2, W // 2), image0.dtype)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"{op}: dtype must be a floating dtype, got {dtype}")
    return dispatch.call(op, backend, image0, image1, state, missing, stride, dtype)


def check_references(op: str, image0, image1, stride) -> None:
    """Raise unless two RGB images at full resolution fit each other and the refinement's stride."""
    check_image(op, "image0", image0)
    if image0.dtype != accumulate_dtype(image0):
        raise TypeError(f"{op}: image0 must be float32 or float64, got {image0.dtype}")
    if stride not in STRIDES:
        raise ValueError(f"{op}: stride must be one of {STRIDES}, got {stride}")
    _, C, H, W = image0.shape
    multiple = max(2, stride)
    if C != 3 or H % multiple or W % multiple:
        raise ValueError(
            f"{op}: image0 must be (B, 3, H, W) with sides divisible by {multiple}, "
            f"got {tuple(image0.shape)}"
        )
    check_same(op, "image1", image1, "image0", image0, tuple(image0.shape), image0.dtype)
