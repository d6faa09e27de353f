"""`correlation`: checks, the choice of implementation, the public function."""

import torch

from lift.kernels import dispatch as backends
from lift.kernels.checks import check_image, check_same
from lift.kernels.ops.correlation import cpp
from lift.kernels.ops.correlation.eager import correlation_eager
from lift.kernels.ops.correlation.reference import correlation_reference

# -- implementations, the preferred first ----------------------------------------------------------

triton, (_triton,) = backends.of_triton(__package__, "correlation")
backends.register(
    "correlation",
    _triton,
    backends.Implementation("cpp", cpp.correlation, cpp.reason),
    backends.Implementation("eager", correlation_eager, backends.always, fused=False),
    backends.Implementation("reference", correlation_reference, backends.always, fused=False),
)


# -- public ----------------------------------------------------------------------------------------


def correlation(
    left: torch.Tensor,
    right: torch.Tensor,
    radius: int,
    unit: bool = False,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """Inner products of left(x) with right(x + d) for every displacement d of whole pixels up to
    `radius` in each direction.

    Args:
        left, right: (B, C, H, W), one dtype: float32, float16, bfloat16 or float64.
        radius: pixels of the maps, at least 0.
        unit: scale every location's channels to length 1 first, those shorter than 0.001 as if they
            had that length.
        backend: "auto", "fused", "reference" or an implementation's name; None: the flag in force.

    Returns:
        (B, (2 radius + 1)^2, H, W), float32 whatever the maps are (float64 for float64), rows of dy
        with dx fastest; 0 where x + d lies outside. With `unit` in [-1, 1].

    Raises:
        TypeError, ValueError: an argument of another dtype, device, shape or range.
        RuntimeError: the backend asked for cannot serve; the message says why.
    """
    check_image("correlation", "left", left)
    check_same("correlation", "right", right, "left", left, tuple(left.shape), left.dtype)
    if isinstance(radius, bool) or not isinstance(radius, int) or radius < 0:
        raise ValueError(f"correlation: radius must be an integer of at least 0, got {radius!r}")
    return backends.call("correlation", backend, left, right, radius, bool(unit))
