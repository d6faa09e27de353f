"""`warp` and `warp_blend`: the public functions, their schemas and backends."""

import torch

from lift.kernels import autograd, dispatch
from lift.kernels.checks import (
    check_flow,
    check_image,
    check_same,
    promote_under_autocast,
    upcast_under_autocast,
)
from lift.kernels.ops.warp_blend import eager
from lift.kernels.ops.warp_blend.reference import warp_blend_reference, warp_reference

# -- the ops; csrc has the same schemas ------------------------------------------------------------

# Under autocast the ops compute with what they get: images may be half, flow is float32, which the
# public functions ensure.
WARP = autograd.Op(
    name="warp",
    schema="(Tensor image, Tensor flow) -> Tensor",
    backward_schema="(Tensor grad, Tensor image, Tensor flow, int needs) -> (Tensor, Tensor)",
    inputs=2,
    tensors=2,
    features=1,
    fake=lambda image, flow: autograd.empty_like_layout(image),
    reference=warp_reference,
    folded=autograd.all_tensors,
    flops=lambda image, *others, **_: 8 * image.numel(),  # four multiply-adds a value
)
_INPUTS = "Tensor image0, Tensor image1, Tensor flow0, Tensor flow1, Tensor occ0, Tensor occ1"
WARP_BLEND = autograd.Op(
    name="warp_blend",
    schema=f"({_INPUTS}) -> Tensor",
    backward_schema=f"(Tensor grad, {_INPUTS}, int needs)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    inputs=6,
    tensors=6,
    features=2,
    fake=lambda image0, *others: autograd.empty_like_layout(image0),
    reference=warp_blend_reference,
    folded=autograd.all_tensors,
    flops=lambda image0, *others, **_: 20 * image0.numel(),  # ten multiply-adds a value
)


# -- samples for the self-check --------------------------------------------------------------------

_B, _C, _H, _W = 2, 5, 13, 18


def random_flow(generator: torch.Generator) -> torch.Tensor:
    """Whole pixels plus 0.25 to 0.75, some far outside.

    At whole pixels a gradient jumps, and rounding would decide between its two sides.
    """
    whole = (torch.randn(_B, 2, _H, _W, generator=generator) * 6).round()
    return whole + 0.25 + 0.5 * torch.rand(_B, 2, _H, _W, generator=generator)


def _warp_sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    return torch.randn(_B, _C, _H, _W, generator=generator).to(dtype), random_flow(generator)


def _warp_blend_sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    images = [torch.randn(_B, _C, _H, _W, generator=generator).to(dtype) for _ in range(2)]
    flows = [random_flow(generator) for _ in range(2)]
    occs = [4 * torch.randn(_B, 1, _H, _W, generator=generator) for _ in range(2)]
    return *images, *flows, *occs


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton_warp, _triton_warp_blend) = dispatch.triton_backends(
    f"{__package__}.triton_launch", WARP, WARP_BLEND
)
dispatch.register(
    "warp",
    _triton_warp,
    dispatch.cpp_backend(WARP),
    dispatch.Backend("eager", eager.warp_eager, eager.unsupported_reason, fused=False),
    dispatch.Backend("reference", warp_reference, dispatch.always_supported, fused=False),
    sample=_warp_sample,
)
dispatch.register(
    "warp_blend",
    _triton_warp_blend,
    dispatch.cpp_backend(WARP_BLEND),
    dispatch.Backend("eager", eager.warp_blend_eager, eager.unsupported_reason, fused=False),
    dispatch.Backend("reference", warp_blend_reference, dispatch.always_supported, fused=False),
    sample=_warp_blend_sample,
)


# -- public ----------------------------------------------------------------------------------------


def warp(image: torch.Tensor, flow: torch.Tensor, *, backend: str | None = None) -> torch.Tensor:
    """Backward warp: pixel (x, y) of the output is the image at (x + dx, y + dy).

    Bilinear; coordinates are clamped to the border.

    Args:
        image: (B, C, H, W), float32, float16, bfloat16 or float64.
        flow: (B, 2, H, W), dx then dy in pixels of the image; float32 (float64 for a float64
            image), because coordinates in half precision would be pixels off. Under autocast a half
            flow is cast to float32. NaN reads coordinate 0, infinities read the border.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, C, H, W), dtype of image. The gradient of flow is zero where a coordinate was clamped.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    flow = upcast_under_autocast(flow)
    check_image("warp", "image", image)
    check_flow("warp", "flow", flow, "image", image)
    return dispatch.call("warp", backend, image, flow)


def warp_blend(
    image0: torch.Tensor,
    image1: torch.Tensor,
    flow0: torch.Tensor,
    flow1: torch.Tensor,
    occ0: torch.Tensor,
    occ1: torch.Tensor,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """Warp two images backward and blend them by visibility.

    The output is (v0 warp(image0) + v1 warp(image1)) / (v0 + v1) with v = sigmoid(occ).

    Args:
        image0, image1: (B, C, H, W), one dtype: float32, float16, bfloat16 or float64. Under
            autocast images of two dtypes are blended in the wider one.
        flow0, flow1: (B, 2, H, W), from the output to each image, as in `warp`.
        occ0, occ1: (B, 1, H, W), finite logits of visibility in each image; any floating dtype,
            cast to flow's. Logits of any size are safe.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, C, H, W), dtype of the images.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    flow0, flow1 = upcast_under_autocast(flow0), upcast_under_autocast(flow1)
    image0, image1 = promote_under_autocast(image0, image1)
    check_image("warp_blend", "image0", image0)
    check_same("warp_blend", "image1", image1, "image0", image0, tuple(image0.shape), image0.dtype)
    B, _, H, W = image0.shape
    for i, (flow, occ) in enumerate(((flow0, occ0), (flow1, occ1))):
        check_flow("warp_blend", f"flow{i}", flow, "image0", image0)
        check_same("warp_blend", f"occ{i}", occ, "image0", image0, (B, 1, H, W))
    return dispatch.call("warp_blend", backend, image0, image1, flow0, flow1, occ0, occ1)
