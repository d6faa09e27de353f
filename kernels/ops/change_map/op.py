"""`change_map`: the public function, its schema and backends."""

from functools import partial

import torch

from lift.kernels import autograd, dispatch, extension
from lift.kernels.checks import check_image, check_same
from lift.kernels.ops.change_map.reference import change_map_reference, empty_output

CHANGE_MAP = autograd.Op(
    name="change_map",
    schema="(Tensor image0, Tensor image1) -> Tensor",
    backward_schema=None,
    inputs=2,
    tensors=2,
    features=0,
    fake=lambda image0, image1: empty_output(image0),
    reference=change_map_reference,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    return tuple(torch.rand(2, 3, 12, 18, generator=generator).to(dtype) for _ in range(2))


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", CHANGE_MAP)
dispatch.register(
    "change_map",
    _triton,
    dispatch.cpp_backend(
        CHANGE_MAP,
        partial(extension.unsupported_reason, dtypes=extension.FLOATS),
        forward_only=True,
    ),
    dispatch.Backend("reference", change_map_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def change_map(
    image0: torch.Tensor, image1: torch.Tensor, *, backend: str | None = None
) -> torch.Tensor:
    """How much two images differ around each pixel, relative to their contrast.

    The largest difference in any channel within the 6 x 6 pixels around each block of 2 x 2, at
    least 0.001, divided by the contrast there: the largest of a channel's maximum less its minimum,
    averaged over both images, plus 0.05. Windows are clipped to the image.

    Args:
        image0, image1: (B, 3, H, W), RGB in [0, 1], one dtype; even H and W.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, 1, H/2, W/2), the natural logarithm of that ratio, float32 (float64 for float64). With
        images that require a gradient only the reference is differentiable, and `auto` selects it.

    Raises:
        TypeError, ValueError: an image of another dtype, device or shape.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "change_map"
    check_image(op, "image0", image0)
    if image0.shape[1] != 3 or image0.shape[2] % 2 or image0.shape[3] % 2:
        raise ValueError(
            f"{op}: image0 must be (B, 3, H, W) with even H and W, got {tuple(image0.shape)}"
        )
    check_same(op, "image1", image1, "image0", image0, tuple(image0.shape), image0.dtype)
    return dispatch.call(op, backend, image0, image1)
