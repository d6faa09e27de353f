"""`convex_upsample`: the public function, its schema and backends."""

import torch

from lift.kernels import autograd, dispatch, extension
from lift.kernels.checks import check_image, check_same, upcast_under_autocast
from lift.kernels.ops.convex_upsample.reference import (
    CHANNELS,
    WEIGHTS,
    convex_upsample_reference,
    empty_output,
)

# -- the op ----------------------------------------------------------------------------------------

_INPUTS = "Tensor state, Tensor logits, Tensor prior"
CONVEX_UPSAMPLE = autograd.Op(
    name="convex_upsample",
    schema=f"({_INPUTS}) -> Tensor",
    backward_schema=f"(Tensor grad, {_INPUTS}, int needs) -> (Tensor, Tensor, Tensor)",
    inputs=3,
    tensors=3,
    features=2,
    fake=lambda state, logits, prior: empty_output(state),
    reference=convex_upsample_reference,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    state = 4 * torch.randn(2, CHANNELS, 7, 10, generator=generator)
    logits = torch.randn(2, WEIGHTS, 7, 10, generator=generator).to(dtype)
    return state, logits, torch.randn(WEIGHTS, generator=generator)


def _unsupported_by_cpp(*arguments) -> str | None:
    """The reason why C++ does not support arguments of `convex_upsample`, or None."""
    reason = extension.unsupported_reason(*arguments[:1])
    if reason or not arguments:
        return reason
    state, logits, _ = arguments
    return extension.unsupported_features(state.dtype, ("logits", logits))


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", CONVEX_UPSAMPLE)
dispatch.register(
    "convex_upsample",
    _triton,
    dispatch.cpp_backend(CONVEX_UPSAMPLE, _unsupported_by_cpp, forward_only=True),
    dispatch.Backend(
        "reference", convex_upsample_reference, dispatch.always_supported, fused=False
    ),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def convex_upsample(
    state: torch.Tensor,
    logits: torch.Tensor,
    prior: torch.Tensor,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """Flows and visibility logits at twice the resolution, by learned convex combinations.

    Each fine pixel combines the 3 x 3 coarse pixels around the one that holds it, with weights
    softmax(logits + prior). Beyond the border are the nearest pixels. Flows double, since they are
    in pixels. (Teed and Deng, "RAFT", ECCV 2020.)

    Args:
        state: (B, 6, h, w), two flows, dx then dy in pixels, then two visibility logits; float32 or
            float64. Under autocast a half state is cast to float32.
        logits: (B, 36, h, w), float32, float16, bfloat16 or float64, with any strides. Channel
            9 (2 i + j) + 3 a + b weighs the coarse pixel at (y + a - 1, x + b - 1) for the fine
            pixel at (2 y + i, 2 x + j).
        prior: (36,), added to the logits of every pixel; any floating dtype.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, 6, 2h, 2w), dtype of state, contiguous; computed in that dtype.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "convex_upsample"
    state = upcast_under_autocast(state)
    check_image(op, "state", state)
    B, C, h, w = state.shape
    if C != CHANNELS:
        raise ValueError(f"{op}: state must have {CHANNELS} channels, got {C}")
    if state.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{op}: state must be float32 or float64, got {state.dtype}")
    check_same(op, "logits", logits, "state", state, (B, WEIGHTS, h, w))
    check_same(op, "prior", prior, "logits", logits, (WEIGHTS,))
    return dispatch.call(op, backend, state, logits, prior)
