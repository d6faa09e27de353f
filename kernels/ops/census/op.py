"""`census`: the public function, its schema and backends."""

import torch

from lift.kernels import autograd, dispatch
from lift.kernels.checks import accumulate_dtype, check_image, check_same
from lift.kernels.ops.census.reference import RADIUS, census_reference

# -- the op ----------------------------------------------------------------------------------------

# Autocast changes nothing: lumas and sums are float32 (float64 for float64).
CENSUS = autograd.Op(
    name="census",
    schema="(Tensor image0, Tensor image1) -> Tensor",
    backward_schema="(Tensor grad, Tensor image0, Tensor image1, int needs) -> (Tensor, Tensor)",
    inputs=2,
    tensors=2,
    features=2,
    fake=lambda image0, image1: image0.new_empty((), dtype=accumulate_dtype(image0)),
    reference=census_reference,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    return tuple(torch.rand(2, 3, 9, 14, generator=generator).to(dtype) for _ in range(2))


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", CENSUS)
dispatch.register(
    "census",
    _triton,
    dispatch.Backend("reference", census_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def census(
    image0: torch.Tensor, image1: torch.Tensor, *, backend: str | None = None
) -> torch.Tensor:
    """The census loss: how much two images differ in which pixels are brighter than which.

    The soft Hamming distance of ternary census transforms of 7 x 7 pixels (Meister et al.,
    "UnFlow", AAAI 2018), the mean over all pairs of pixels at most 3 apart in x and y. It ignores
    brightness and is robust to outliers.

    Args:
        image0, image1: (B, 3, H, W), RGB in [0, 1], larger than 3 pixels each way, one dtype:
            float32, float16, bfloat16 or float64.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (), float32 (float64 for float64), in [0, 1). Only the images are saved for backward.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    check_image("census", "image0", image0)
    check_same("census", "image1", image1, "image0", image0, tuple(image0.shape), image0.dtype)
    B, C, H, W = image0.shape
    if B < 1 or C != 3 or min(H, W) <= RADIUS:
        raise ValueError(
            f"census: image0 must be (B, 3, H, W) with H and W larger than {RADIUS}, "
            f"got {tuple(image0.shape)}"
        )
    return dispatch.call("census", backend, image0, image1)
