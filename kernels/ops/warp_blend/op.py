"""`warp` and `warp_blend`: checks, the choice of implementation, the public functions."""

import torch

from lift.kernels import dispatch as backends
from lift.kernels.checks import check_flow, check_image, check_same, promoted
from lift.kernels.ops.warp_blend import cpp, eager
from lift.kernels.ops.warp_blend.reference import warp_blend_reference, warp_reference

# -- implementations, the preferred first ----------------------------------------------------------

triton, (_warp, _warp_blend) = backends.of_triton(__package__, "warp", "warp_blend")
backends.register(
    "warp",
    _warp,
    backends.Implementation("cpp", cpp.warp, cpp.reason),
    backends.Implementation("eager", eager.warp_eager, eager.reason, fused=False),
    backends.Implementation("reference", warp_reference, backends.always, fused=False),
)
backends.register(
    "warp_blend",
    _warp_blend,
    backends.Implementation("cpp", cpp.warp_blend, cpp.reason),
    backends.Implementation("eager", eager.warp_blend_eager, eager.reason, fused=False),
    backends.Implementation("reference", warp_blend_reference, backends.always, fused=False),
)


# -- public ----------------------------------------------------------------------------------------


def warp(image: torch.Tensor, flow: torch.Tensor, *, backend: str | None = None) -> torch.Tensor:
    """Backward warp: the pixel (x, y) of the result is the image at (x + dx, y + dy), bilinear,
    clamped to the border.

    Args:
        image: (B, C, H, W), float32, float16, bfloat16 or float64.
        flow: (B, 2, H, W), dx then dy in pixels of the image; float32 (float64 for a float64
            image). Coordinates in half precision would be pixels off; under autocast a half flow is
            taken as float32. NaN reads coordinate 0, infinities read the border.
        backend: "auto", "fused", "reference" or an implementation's name; None: the flag in force.

    Returns:
        (B, C, H, W), dtype of image. The gradient for flow is zero where a coordinate was clamped.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape.
        RuntimeError: the backend asked for cannot serve; the message says why.
    """
    flow = promoted(flow)
    check_image("warp", "image", image)
    check_flow("warp", "flow", flow, "image", image)
    return backends.call("warp", backend, image, flow)


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
    """Warp two images backward and blend them by visibility v = sigmoid(occ): (v0 warp(image0) + v1
    warp(image1)) / (v0 + v1).

    Args:
        image0, image1: (B, C, H, W), one dtype: float32, float16, bfloat16 or float64.
        flow0, flow1: (B, 2, H, W), from the result to each image, as in `warp`.
        occ0, occ1: (B, 1, H, W), finite logits of visibility in each image; any floating dtype,
            used in flow's.
        backend: "auto", "fused", "reference" or an implementation's name; None: the flag in force.

    Returns:
        (B, C, H, W), dtype of the images. Weights are computed such that logits of any size are
        safe.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape.
        RuntimeError: the backend asked for cannot serve; the message says why.
    """
    flow0, flow1 = promoted(flow0), promoted(flow1)
    check_image("warp_blend", "image0", image0)
    check_same("warp_blend", "image1", image1, "image0", image0, tuple(image0.shape), image0.dtype)
    B, _, H, W = image0.shape
    for i, (flow, occ) in enumerate(((flow0, occ0), (flow1, occ1))):
        check_flow("warp_blend", f"flow{i}", flow, "image0", image0)
        check_same("warp_blend", f"occ{i}", occ, "image0", image0, (B, 1, H, W))
    return backends.call("warp_blend", backend, image0, image1, flow0, flow1, occ0, occ1)
