"""`flow_inputs`: the public function, its schema and backends."""

from functools import partial

import torch

from lift.kernels import autograd, dispatch, extension
from lift.kernels.checks import (
    accumulate_dtype,
    check_image,
    check_same,
    check_tensor,
    upcast_under_autocast,
)
from lift.kernels.concat import cat_channels_last
from lift.kernels.ops.flow_inputs.reference import STATE, empty_output, flow_inputs_reference
from lift.kernels.ops.warp_blend.op import random_flow, warp

# -- the op; csrc has the same schema --------------------------------------------------------------

_INPUTS = (
    "Tensor left, Tensor right, Tensor local, Tensor zero_motion, Tensor state, Tensor? missing, "
    "Tensor t, int scale, ScalarType dtype"
)
FLOW_INPUTS = autograd.Op(
    name="flow_inputs",
    schema=f"({_INPUTS}) -> Tensor",
    backward_schema=f"(Tensor grad, {_INPUTS}, int needs)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    inputs=5,
    tensors=7,
    features=4,
    fake=lambda left, right, local, zero_motion, state, missing, t, scale, dtype: empty_output(
        left, local, missing, dtype
    ),
    reference=flow_inputs_reference,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    left, right = (torch.randn(2, 5, 13, 18, generator=generator).to(dtype) for _ in range(2))
    local, zero_motion = (torch.randn(2, d, 13, 18, generator=generator) for d in (9, 1))
    flows = [random_flow(generator) for _ in range(2)]
    occ, missing = (torch.randn(2, 2, 13, 18, generator=generator) for _ in range(2))
    state, t = torch.cat((*flows, occ), 1), torch.rand(2, generator=generator)
    return left, right, local, zero_motion, state, missing, t, 8, dtype


def _unsupported_by_cpp(*arguments) -> str | None:
    """The reason why C++ does not support arguments of `flow_inputs`, or None."""
    reason = extension.unsupported_reason(*arguments[:1])
    if reason or not arguments:
        return reason
    left, _, local, zero_motion, state, *_, dtype = arguments
    return extension.unsupported_features(
        state.dtype, ("features", left), ("an output", dtype)
    ) or extension.other_dtype(state.dtype, ("local", local), ("zero_motion", zero_motion))


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", FLOW_INPUTS)
dispatch.register(
    "flow_inputs",
    _triton,
    dispatch.cpp_backend(FLOW_INPUTS, _unsupported_by_cpp, forward_only=True),
    # with the preferred backend of `warp`, channels_last as features
    dispatch.Backend(
        "eager",
        partial(flow_inputs_reference, warp=warp, cat=cat_channels_last),
        dispatch.always_supported,
        fused=False,
    ),
    dispatch.Backend("reference", flow_inputs_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def flow_inputs(
    left: torch.Tensor,
    right: torch.Tensor,
    local: torch.Tensor,
    zero_motion: torch.Tensor,
    state: torch.Tensor,
    missing: torch.Tensor | None,
    t: torch.Tensor,
    scale: int,
    dtype: torch.dtype,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """The input of a flow block's first convolution: warped features and the current estimate.

    Channels: left and right warped by their flows, local, zero_motion, both flows times scale / 32,
    both visibility logits, t at every pixel, missing.

    Args:
        left, right: features of the references (B, C, H, W), one dtype: float32, float16, bfloat16
            or float64.
        local: (B, D, H, W), correlation of the warped features, any floating dtype.
        zero_motion: (B, 1, H, W), correlation of the features as they are, any floating dtype.
        state: (B, 6, H, W): flow_t0 and flow_t1, dx then dy, from the frame at t to each reference
            in pixels, as in `warp`, then visibility logits occ_t0 and occ_t1; float32 (float64 for
            float64 features). Under autocast half states are cast to float32, missing and t too.
        missing: (B, 2, H, W), motion between the references that the flows lack, dtype of state; or
            None. It gets no gradient.
        t: (B,), time of the frame between the references, dtype of state. It gets no gradient.
        scale: full-resolution pixels per pixel, positive.
        dtype: of the output, the one that the convolution computes in.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, 2 C + D + 8, H, W), or two channels more with `missing`; channels_last from fused
        backends.

    Raises:
        TypeError, ValueError: an argument of another dtype, device, shape or range.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "flow_inputs"
    state, missing, t = (upcast_under_autocast(x) for x in (state, missing, t))
    check_image(op, "left", left)
    check_same(op, "right", right, "left", left, tuple(left.shape), left.dtype)
    B, _, H, W = left.shape
    check_image(op, "local", local)
    check_same(op, "local", local, "left", left, (B, local.shape[1], H, W))
    check_same(op, "zero_motion", zero_motion, "left", left, (B, 1, H, W))
    exact = accumulate_dtype(left)
    check_same(op, "state", state, "left", left, (B, STATE, H, W), exact)
    if missing is not None:
        check_same(op, "missing", missing, "left", left, (B, 2, H, W), exact)
    check_tensor(op, "t", t)
    check_same(op, "t", t, "left", left, (B,), exact)
    if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
        raise ValueError(f"{op}: scale must be an integer of at least 1, got {scale!r}")
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"{op}: dtype must be a floating dtype, got {dtype!r}")
    return dispatch.call(
        op, backend, left, right, local, zero_motion, state, missing, t, scale, dtype
    )
