"""`correlation`: the public function, its schema and backends."""

import torch

from lift.kernels import autograd, dispatch
from lift.kernels.checks import (
    accepts_old_names,
    check_image,
    check_same,
    promote_under_autocast,
)
from lift.kernels.ops.correlation.eager import correlation_eager, flops
from lift.kernels.ops.correlation.reference import correlation_reference, empty_output

# -- the op; csrc has the same schema --------------------------------------------------------------

# The output is float32 (float64 for float64) whatever the maps are; autocast changes nothing.
CORRELATION = autograd.Op(
    name="correlation",
    schema="(Tensor fmap0, Tensor fmap1, int radius, bool normalize) -> Tensor",
    backward_schema="(Tensor grad, Tensor fmap0, Tensor fmap1, int radius, bool normalize, "
    "int needs) -> (Tensor, Tensor)",
    inputs=2,
    tensors=2,
    features=2,
    fake=lambda fmap0, fmap1, radius, normalize: empty_output(fmap0, radius),
    reference=correlation_reference,
    folded=autograd.all_tensors,
    flops=flops,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    fmap0, fmap1 = (torch.randn(2, 5, 3, 18, generator=generator).to(dtype) for _ in range(2))
    return fmap0, fmap1, 1, True


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", CORRELATION)
dispatch.register(
    "correlation",
    _triton,
    dispatch.cpp_backend(CORRELATION),
    dispatch.Backend("eager", correlation_eager, dispatch.always_supported, fused=False),
    dispatch.Backend("reference", correlation_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


@accepts_old_names(left="fmap0", right="fmap1", unit="normalize")
def correlation(
    fmap0: torch.Tensor,
    fmap1: torch.Tensor,
    radius: int,
    normalize: bool = False,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """Inner products of fmap0(x) and fmap1(x + d) for every displacement d within `radius`.

    Args:
        fmap0, fmap1: feature maps (B, C, H, W), one dtype: float32, float16, bfloat16 or float64.
            Under autocast maps of two dtypes are computed in the wider one.
        radius: pixels of the maps in each direction, at least 0.
        normalize: first scale the channels of every location to norm 1, those with a norm below
            0.001 as if it were 0.001. Triton's kernels take values beyond 3e29 as 3e29.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, (2 radius + 1)^2, H, W), float32 whatever the maps are (float64 for float64), rows of dy
        with dx fastest; 0 where x + d lies outside. In [-1, 1] with `normalize`.

    Raises:
        TypeError, ValueError: an argument of another dtype, device, shape or range.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    fmap0, fmap1 = promote_under_autocast(fmap0, fmap1)
    check_image("correlation", "fmap0", fmap0)
    check_same("correlation", "fmap1", fmap1, "fmap0", fmap0, tuple(fmap0.shape), fmap0.dtype)
    if isinstance(radius, bool) or not isinstance(radius, int) or radius < 0:
        raise ValueError(f"correlation: radius must be an integer of at least 0, got {radius!r}")
    return dispatch.call("correlation", backend, fmap0, fmap1, radius, bool(normalize))
