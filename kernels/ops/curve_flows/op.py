"""`curve_flows`: the public function, its schema and backends."""

from collections.abc import Sequence

import torch

from lift.kernels import autograd, dispatch, extension
from lift.kernels.checks import check_image, check_same, upcast_under_autocast
from lift.kernels.ops.curve_flows.reference import curve_flows_reference
from lift.kernels.ops.path_inputs.op import (
    check_gaps,
    check_state,
    check_valid,
    sample_motion,
)

# -- the op; csrc has the same schema --------------------------------------------------------------

_INPUTS = (
    "Tensor predicted, Tensor? bias, Tensor state, Tensor differences, Tensor times, Tensor valid, "
    "Tensor t, float confidence_logit, float largest_weight, float[] noise_agreement"
)
CURVE_FLOWS = autograd.Op(
    name="curve_flows",
    schema=f"({_INPUTS}) -> Tensor",
    backward_schema=f"(Tensor grad, {_INPUTS}, int needs) -> (Tensor, Tensor, Tensor, Tensor)",
    inputs=4,
    tensors=7,
    features=1,
    fake=lambda predicted, bias, state, *others: torch.empty_like(
        state, memory_format=torch.contiguous_format
    ),
    reference=curve_flows_reference,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    state, differences, times, valid = sample_motion(generator, 2, 6, 5, 9)
    differences = differences + 0.3  # both sides agree here and there
    predicted = torch.randn(2, 8, 5, 9, generator=generator).to(dtype)
    bias, t = torch.randn(8, generator=generator), torch.rand(2, generator=generator)
    return predicted, bias, state, differences, times, valid, t, 2.0, 2.0, [-0.8, -0.9]


def _unsupported_by_cpp(*arguments) -> str | None:
    """The reason why C++ does not support arguments of `curve_flows`, or None."""
    reason = extension.unsupported_reason(*arguments[:1])
    if reason or not arguments:
        return reason
    predicted, _, state = arguments[:3]
    return extension.unsupported_features(state.dtype, ("predictions", predicted))


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", CURVE_FLOWS)
dispatch.register(
    "curve_flows",
    _triton,
    dispatch.cpp_backend(CURVE_FLOWS, _unsupported_by_cpp, forward_only=True),
    dispatch.Backend("reference", curve_flows_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def curve_flows(
    predicted: torch.Tensor,
    bias: torch.Tensor | None,
    state: torch.Tensor,
    differences: torch.Tensor,
    times: torch.Tensor,
    valid: torch.Tensor,
    t: torch.Tensor,
    confidence_logit: float,
    largest_weight: float,
    noise_agreement: Sequence[float],
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """The flows of a target along curved paths.

    The differences of `path_inputs` say how far a path deviates from a straight one at time t.
    Each counts by its weight in Newton's form of the polynomial times a predicted confidence.
    Differences above order 2 count as far as those of the two sides agree: their correlation over 9
    x 9 pixels, less the one in noise, clamped to [0, 1]; it has no gradient.

    Args:
        predicted: (B, C, h, w), float32, float16, bfloat16 or float64, C at least 2 + G: logits of
            the confidence in the two differences of order 2, the residual of the acceleration (dx
            and dy), logits of the confidence in the differences of higher orders.
        bias: (C,), added to predicted, such as a convolution's; or None.
        state: (B, 6, h, w), float32 or float64, as in `path_inputs`. Under autocast a half
            state is cast to float32.
        differences: (B, G, 2, h, w), dtype of state, what `path_inputs` returned.
        times, valid: (B, G), as there.
        t: (B,), dtype of state, the target's time, in (0, 1).
        confidence_logit: added to the logits of order 2.
        largest_weight: of a difference above order 2.
        noise_agreement: the correlation of both sides in noise, for each order above 2.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, 6, h, w), dtype of state: both flows less the deviation, the visibilities unchanged.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "curve_flows"
    state, differences = upcast_under_autocast(state), upcast_under_autocast(differences)
    check_image(op, "predicted", predicted)
    check_state(op, state)
    check_gaps(op, "differences", differences, state)
    B, G, _, h, w = differences.shape
    C = predicted.shape[1]
    check_same(op, "predicted", predicted, "state", state, (B, max(C, 2 + G), h, w))
    if bias is not None:
        check_same(op, "bias", bias, "predicted", predicted, (C,))
    check_same(op, "times", times, "differences", differences, (B, G), state.dtype)
    check_valid(op, valid, differences)
    check_same(op, "t", t, "state", state, (B,), state.dtype)
    if len(noise_agreement) < G // 2 - 1:
        raise ValueError(
            f"{op}: noise_agreement must have {G // 2 - 1} values, got {len(noise_agreement)}"
        )
    return dispatch.call(
        op,
        backend,
        predicted,
        bias,
        state,
        differences,
        times,
        valid,
        t,
        confidence_logit,
        largest_weight,
        list(noise_agreement),
    )
