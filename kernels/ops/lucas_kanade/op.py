"""`lucas_kanade`: the public function, its schema and backends."""

import torch

from lift.kernels import autograd, dispatch
from lift.kernels.checks import (
    accumulate_dtype,
    check_flow,
    check_image,
    check_same,
    upcast_under_autocast,
)
from lift.kernels.ops.lucas_kanade.reference import empty_output, lucas_kanade_reference

# -- the op; csrc has the same schema --------------------------------------------------------------

# The output is float32 (float64 for float64) whatever the images are; autocast changes nothing.
LUCAS_KANADE = autograd.Op(
    name="lucas_kanade",
    schema="(Tensor image0, Tensor image1, Tensor flow0, Tensor flow1, Tensor t) -> Tensor",
    backward_schema=None,
    inputs=0,
    tensors=5,
    features=0,
    fake=lambda image0, *others: empty_output(image0),
    reference=lucas_kanade_reference,
)


def _sample(generator: torch.Generator, dtype: torch.dtype) -> tuple:
    images = [torch.rand(2, 2, 11, 18, generator=generator).to(dtype) for _ in range(2)]
    flows = [4 * torch.randn(2, 2, 11, 18, generator=generator) for _ in range(2)]
    return *images, *flows, torch.rand(2, generator=generator)


# -- backends, the preferred first -----------------------------------------------------------------

triton, (_triton,) = dispatch.triton_backends(f"{__package__}.triton_launch", LUCAS_KANADE)
dispatch.register(
    "lucas_kanade",
    _triton,
    dispatch.cpp_backend(LUCAS_KANADE),
    dispatch.Backend("reference", lucas_kanade_reference, dispatch.always_supported, fused=False),
    sample=_sample,
)


# -- public ----------------------------------------------------------------------------------------


def lucas_kanade(
    image0: torch.Tensor,
    image1: torch.Tensor,
    flow0: torch.Tensor,
    flow1: torch.Tensor,
    t: torch.Tensor,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """The motion still missing between two images that are each warped by their flow.

    One Lucas-Kanade step on the grid of the frame at time t between the images, within windows of
    5 x 5 pixels (Lucas and Kanade, IJCAI 1981). The motion after it, flow1 - flow0 + step, is then
    averaged over 7 x 7 pixels: windows of much texture and a small remaining difference count most
    (as patches do in Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016).
    Better flows, smooth where the images tell nothing, are

        flow0 - t * step,    flow1 + (1 - t) * step

    No gradient flows through the step; the flows that it is added to keep theirs.

    Args:
        image0, image1: (B, C, H, W), values in [0, 1], one dtype: float32, float16, bfloat16 or
            float64. Several channels have one motion.
        flow0, flow1: (B, 2, H, W), from the frame at t to each image, as in `warp`.
        t: (B,), 0 at image0 and 1 at image1; dtype of the flows. Under autocast half flows and
            times are cast to float32.
        backend: "auto", "fused", "reference" or the name of a backend; None for the flag.

    Returns:
        (B, 2, H, W), dx then dy in pixels, float32 whatever the images are (float64 for float64):
        the averaged motion less flow1 - flow0. Where this is constant the step is within +-1. It
        never requires a gradient. A flow that is not finite spoils the step within three pixels.

    Raises:
        TypeError, ValueError: an argument of another dtype, device or shape.
        RuntimeError: the backend asked for does not support the call; the message says why.
    """
    op = "lucas_kanade"
    flow0, flow1, t = (upcast_under_autocast(x) for x in (flow0, flow1, t))
    check_image(op, "image0", image0)
    check_same(op, "image1", image1, "image0", image0, tuple(image0.shape), image0.dtype)
    check_flow(op, "flow0", flow0, "image0", image0)
    check_flow(op, "flow1", flow1, "image0", image0)
    check_same(op, "t", t, "image0", image0, (len(image0),), accumulate_dtype(image0))
    return dispatch.call(op, backend, image0, image1, flow0, flow1, t)
