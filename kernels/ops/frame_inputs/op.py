"""`frame_inputs`: the public function, its schema and backends."""

import torch

from lift.kernels import autograd, dispatch, extension
from lift.kernels.checks import check_image
from lift.kernels.ops.frame_inputs.reference import empty_outputs, frame_inputs_reference

PYRAMID = 8  # the coarsest mean

FRAME_INPUTS = autograd.Op(
    name="frame_inputs",
    schema=(
        "(Tensor frames, int multiple, ScalarType dtype)"
        " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
    ),
    backward_schema=None,
    inputs=1,
    tensors=1,
    features=0,
    fake=empty_outputs,
    reference=frame_inputs_reference,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    return torch.rand(2, 3, 13, 21, generator=generator), 16, dtype


def _unsupported_by_cpp(*arguments) -> str | None:
    """The reason why C++ does not support arguments of `frame_inputs`, or None."""
    reason = extension.unsupported_reason(*arguments[:1], dtypes=extension.FLOATS)
    if reason or not arguments:
        return reason
    frames, _, dtype = arguments
    return extension.unsupported_features(frames.dtype, ("an output", dtype))


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", FRAME_INPUTS)
dispatch.register(
    "frame_inputs",
    _triton,
    dispatch.cpp_backend(FRAME_INPUTS, _unsupported_by_cpp, forward_only=True),
    dispatch.Backend("reference", frame_inputs_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def frame_inputs(
    frames: torch.Tensor, multiple: int, dtype: torch.dtype, *, backend: str | None = None
) -> tuple[torch.Tensor, ...]:
    """What a model reads of frames: padded, normalized, and small.

    h and w below are H and W rounded up to a multiple; frames are padded at the right and at the
    bottom by their nearest pixels.

    Args:
        frames: (N, 3, H, W), RGB in [0, 1]. The fused kernels take float32.
        multiple: what both sides are padded to, a multiple of 8.
        dtype: of the encoder's input.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        Six tensors, all but the first in the frames' dtype. With frames that require a gradient
        only the reference is differentiable, and `auto` selects it.

        stem: (N, 3, h, w) in `dtype`, an encoder's input: (padded frames - 0.5) * 4. Channels-last
            from the fused kernels, in the layout of the frames from the reference.
        padded: (N, 3, h, w), the padded frames; `frames` itself where nothing is padded.
        luma2: (N, 1, h/2, w/2), luma of the means over 2 x 2 pixels.
        quarter: (N, 3, h/4, w/4), the means over 4 x 4 pixels.
        luma4, luma8: (N, 1, h/4, w/4) and (N, 1, h/8, w/8), luma of the means over 4 x 4 and
            8 x 8 pixels.

    Raises:
        TypeError: frames are no floating-point tensor, or dtype is no floating-point dtype.
        ValueError: frames of another shape, without pixels, or a wrong multiple.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "frame_inputs"
    check_image(op, "frames", frames)
    if frames.shape[1] != 3 or 0 in frames.shape[2:]:
        raise ValueError(f"{op}: frames must be (N, 3, H, W), got {tuple(frames.shape)}")
    if multiple < PYRAMID or multiple % PYRAMID:
        raise ValueError(f"{op}: multiple must be a multiple of {PYRAMID}, got {multiple}")
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"{op}: dtype must be a floating-point dtype, got {dtype}")
    stem, padded, *means = dispatch.call(op, backend, frames, multiple, dtype)
    return stem, padded if padded.ndim == 4 else frames, *means  # (0,) where nothing is padded
