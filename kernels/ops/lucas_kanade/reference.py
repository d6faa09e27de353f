"""One Lucas-Kanade step between two warped images: the definition.

Two images are warped backward to a frame between them, at time t of [0, 1], by the flow of each.
Where the flows are right both show the same, w0 = w1. Else a motion s is missing between them. With

    flow0' = flow0 - t s,    flow1' = flow1 + (1 - t) s

the difference becomes, to first order, d + g . s of d = w1 - w0 and g the gradient of the mean
(1 - t) w1 + t w0, by central differences. The step is the s with the least sum of squares over a
window, which is the same for all pixels of the window:

    s = - (G + DAMPING I)^-1 h,    G = sum of w g g^T,    h = sum of w g d

The weights w are a triangle in each direction, (1 2 3 4 5 4 3 2 1) / 25, which is a box of five
pixels applied twice. Products and gradients beyond the border are those of the nearest pixel. With
several channels G and h are sums over the channels. Each component is clamped to LIMIT: further
away the image is not linear. DAMPING keeps flat regions at 0; it suits images in [0, 1].

No gradient flows through the step, by design. It makes the flows nearly independent of their own
errors, so its true gradient would cancel what the flows have to learn. A caller adds the step to
the flows, and gradients pass to the flows unchanged.

Source: Lucas and Kanade, "An iterative image registration technique with an application to stereo
vision", IJCAI 1981; here it is symmetric about the time t.
"""

import torch
import torch.nn.functional as F

from lift.kernels.checks import accumulate_dtype
from lift.kernels.ops.warp_blend.reference import warp_reference

BOX = 5  # pixels; csrc and Triton have the triangle that two boxes make
RADIUS = BOX - 1  # of the triangle
DAMPING = 1e-4
LIMIT = 1.0  # pixels


def lucas_kanade_reference(
    image0: torch.Tensor,
    image1: torch.Tensor,
    flow0: torch.Tensor,
    flow1: torch.Tensor,
    t: torch.Tensor,
) -> torch.Tensor:
    """One Lucas-Kanade step between two warped images.

    Args:
        image0, image1: (B, C, H, W), any floating dtype.
        flow0, flow1: (B, 2, H, W), dx then dy in pixels, as in `warp_reference`; float32, or
            float64 for float64 images.
        t: (B,), dtype of the flows.

    Returns:
        (B, 2, H, W), dtype of the flows, in pixels within +-LIMIT; without gradient.
    """
    with torch.no_grad():
        if image0.numel() == 0:  # without channels, sums of nothing
            return empty_output(image0).zero_()
        return _step(image0, image1, flow0, flow1, t.view(-1, 1, 1, 1))


def empty_output(image0: torch.Tensor) -> torch.Tensor:
    """The uninitialised output, (B, 2, H, W), contiguous."""
    B, _, H, W = image0.shape
    return image0.new_empty((B, 2, H, W), dtype=accumulate_dtype(image0))


def _step(image0, image1, flow0, flow1, t) -> torch.Tensor:
    warped0 = warp_reference(image0.to(flow0.dtype), flow0)
    warped1 = warp_reference(image1.to(flow1.dtype), flow1)
    d = warped1 - warped0
    gx, gy = _gradient((1 - t) * warped1 + t * warped0)
    products = torch.stack([x.sum(1) for x in (gx * gx, gx * gy, gy * gy, gx * d, gy * d)], 1)
    a, b, c, u, v = _window_mean(products).split(1, 1)
    # (a + DAMPING) (c + DAMPING) - b b. The first part is never negative but for rounding.
    determinant = (a * c - b * b).clamp(min=0) + DAMPING * (a + c + DAMPING)
    a, c = a + DAMPING, c + DAMPING
    return (torch.cat((b * v - c * u, b * u - a * v), 1) / determinant).clamp(-LIMIT, LIMIT)


def _gradient(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives of an image (B, C, H, W) by x and by y, in its units per pixel."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return dx / 2, dy / 2


def _window_mean(maps: torch.Tensor) -> torch.Tensor:
    """Means of maps (B, N, H, W) over the window around each pixel."""
    padded = F.pad(maps, [RADIUS] * 4, mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(padded, BOX, 1), BOX, 1)
