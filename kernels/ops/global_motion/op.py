"""`global_motion`: the public function, its schema and backends."""

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
from lift.kernels.ops.global_motion.reference import empty_output, global_motion_reference
from lift.kernels.ops.warp_blend.op import warp

# -- the op; csrc has the same schema --------------------------------------------------------------

_INPUTS = (
    "Tensor volume, Tensor left, Tensor right, Tensor inv_temperature, Tensor prior, Tensor t, "
    "int radius, ScalarType dtype"
)
GLOBAL_MOTION = autograd.Op(
    name="global_motion",
    schema=f"({_INPUTS}) -> (Tensor, Tensor)",
    backward_schema=f"(Tensor? grad, Tensor? dstate, {_INPUTS}, int needs)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    inputs=5,
    tensors=6,
    features=3,
    fake=lambda volume, left, right, inv_temperature, prior, t, radius, dtype: empty_output(
        volume, left, dtype
    ),
    reference=global_motion_reference,
    outputs=2,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    volume = torch.randn(2, 25, 11, 18, generator=generator)
    left, right = (torch.randn(2, 5, 11, 18, generator=generator).to(dtype) for _ in range(2))
    prior, t = torch.randn(25, generator=generator), torch.rand(2, generator=generator)
    return volume, left, right, torch.tensor(2.0), prior, t, 2, dtype


def _unsupported_by_cpp(*arguments) -> str | None:
    """The reason why C++ does not support arguments of `global_motion`, or None."""
    reason = extension.unsupported_reason(*arguments[:1])
    if reason or not arguments:
        return reason
    volume, left, *_, dtype = arguments
    return extension.unsupported_features(volume.dtype, ("features", left), ("an output", dtype))


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", GLOBAL_MOTION)
dispatch.register(
    "global_motion",
    _triton,
    dispatch.cpp_backend(GLOBAL_MOTION, _unsupported_by_cpp, forward_only=True),
    # with the preferred backend of `warp`
    dispatch.Backend(
        "eager", partial(global_motion_reference, warp=warp), dispatch.always_supported, fused=False
    ),
    dispatch.Backend("reference", global_motion_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def global_motion(
    volume: torch.Tensor,
    left: torch.Tensor,
    right: torch.Tensor,
    inv_temperature: torch.Tensor,
    prior: torch.Tensor,
    t: torch.Tensor,
    radius: int,
    dtype: torch.dtype,
    *,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The expected motion between two references on the grid of the frame at time t.

    The correlation is sampled at x - t*m for every displacement m, bilinearly, with coordinates
    clamped to the border. A softmax over m of inv_temperature * sampled + prior gives the motion.

    Args:
        volume: (B, M, H, W), correlation of the references on the left one's grid, rows of dy with
            dx fastest as `correlation` returns it, M = (2 radius + 1)^2; float32 (float64 for
            float64).
        left, right: features of the references (B, C, H, W), one floating dtype.
        inv_temperature: (), dtype of volume.
        prior: (M,), logits without correlation, dtype of volume.
        t: (B,), in [0, 1], dtype of volume. It gets no gradient.
        radius: largest displacement in each direction, pixels, at least 1.
        dtype: of the first result, the one that the decoder's convolution computes in.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        inputs: (B, M + 2 C + 3, H, W), the decoder's input: sampled, left, right, motion / radius,
            t at every pixel; channels_last from fused backends.
        state: (B, 6, H, W), dtype of volume: flows -t * motion and (1 - t) * motion to the
            references, pixels, and visibility logits 0.

    Raises:
        TypeError, ValueError: an argument of another dtype, device, shape or range.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "global_motion"
    t = upcast_under_autocast(t)
    if isinstance(radius, bool) or not isinstance(radius, int) or radius < 1:
        raise ValueError(f"{op}: radius must be an integer of at least 1, got {radius!r}")
    M = (2 * radius + 1) ** 2
    check_image(op, "volume", volume)
    B, _, H, W = volume.shape
    exact = accumulate_dtype(volume)
    if volume.shape[1] != M:
        raise ValueError(
            f"{op}: volume must be {(B, M, H, W)} to fit radius {radius}, got {tuple(volume.shape)}"
        )
    if volume.dtype != exact:
        raise TypeError(f"{op}: volume must be float32 or float64, got {volume.dtype}")
    check_image(op, "left", left)
    check_same(op, "left", left, "volume", volume, (B, left.shape[1], H, W))
    check_same(op, "right", right, "left", left, tuple(left.shape), left.dtype)
    check_same(op, "inv_temperature", inv_temperature, "volume", volume, (), exact)
    check_same(op, "prior", prior, "volume", volume, (M,), exact)
    check_tensor(op, "t", t)
    check_same(op, "t", t, "volume", volume, (B,), exact)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"{op}: dtype must be a floating dtype, got {dtype!r}")
    return dispatch.call(op, backend, volume, left, right, inv_temperature, prior, t, radius, dtype)
