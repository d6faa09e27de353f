"""One Lucas-Kanade step between two warped images, and the motion smoothed: the definition.

Two images are warped backward to a frame between them, at time t of [0, 1], by the flow of each.
Where the flows are right both show the same, w0 = w1. Else a motion s is missing between them. With

    flow0' = flow0 - t s,    flow1' = flow1 + (1 - t) s

the difference becomes, to first order, d + g . s of d = w1 - w0 and g the gradient of the mean
(1 - t) w1 + t w0, by central differences. The s of a pixel has the least mean of squares over the
window around it:

    s = - (G + DAMPING I)^-1 h,    G = mean of g g^T,    h = mean of g d

The window is a triangle in each direction, (1 2 3 2 1) / 9, which is a box of three pixels applied
twice. Products and gradients beyond the border are those of the nearest pixel. With several
channels the means are summed over the channels. Each component is clamped to LIMIT: further away
the image is not linear. DAMPING keeps flat regions at 0; it suits images in [0, 1].

So small a window knows little, in flat regions nothing. Its motion m = flow1 - flow0 + s is
therefore averaged with its neighbours, over squares of SMOOTH x SMOOTH pixels, with weights

    certainty / (error + ERROR)

The certainty is about the smallest eigenvalue of G: determinant / trace, between the half of it and
all of it. The error is what s leaves of the squared difference, the mean of d d + h . s. ERROR
halves the weight of a window whose difference is 0.02. The result is the averaged motion less
flow1 - flow0, so one call both corrects flows and makes them smooth where the images tell nothing.

No gradient flows through the step, by design. It makes the flows nearly independent of their own
errors, so its true gradient would cancel what the flows have to learn. A caller adds the step to
the flows, and gradients pass to the flows unchanged.

Sources: Lucas and Kanade, "An iterative image registration technique with an application to stereo
vision", IJCAI 1981; here it is symmetric about the time t. Kroeger et al., "Fast Optical Flow using
Dense Inverse Search", ECCV 2016, merges overlapping patches by weights of their errors.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from lift.kernels.checks import accumulate_dtype
from lift.kernels.ops.warp_blend.reference import warp_reference

BOX = 3  # pixels; csrc and Triton have the triangle that two boxes make
RADIUS = BOX - 1  # of the triangle
DAMPING = 1e-4
LIMIT = 1.0  # pixels
SMOOTH = 7  # pixels
ERROR = 0.02**2


def lucas_kanade_reference(
    image0: torch.Tensor,
    image1: torch.Tensor,
    flow0: torch.Tensor,
    flow1: torch.Tensor,
    t: torch.Tensor,
    warp: Callable = warp_reference,
) -> torch.Tensor:
    """One Lucas-Kanade step between two warped images, and the motion smoothed.

    Args:
        image0, image1: (B, C, H, W), any floating dtype.
        flow0, flow1: (B, 2, H, W), dx then dy in pixels, as in `warp_reference`; float32, or
            float64 for float64 images.
        t: (B,), dtype of the flows.
        warp: computes the warps.

    Returns:
        (B, 2, H, W), dtype of the flows, in pixels; without gradient.
    """
    # detached, since tangents pass through no_grad
    image0, image1, flow0, flow1, t = (x.detach() for x in (image0, image1, flow0, flow1, t))
    with torch.no_grad():
        if image0.numel() == 0:  # without channels, sums of nothing
            return empty_output(image0).zero_()
        step, weight = _step(image0, image1, flow0, flow1, t.view(-1, 1, 1, 1), warp)
        motion = flow1 - flow0
        weighted = _padded(torch.cat((weight * (motion + step), weight), 1), SMOOTH // 2)
        sums = F.avg_pool2d(weighted, SMOOTH, 1)
        return sums[:, :2] / sums[:, 2:] - motion


def align_reference(
    luma0: torch.Tensor,
    luma1: torch.Tensor,
    state: torch.Tensor,
    t: torch.Tensor,
    steps: int,
    step: Callable = lucas_kanade_reference,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both flows of a state corrected by Lucas-Kanade steps, and the motion that was missing.

    Args:
        luma0, luma1: (B, 1, h, w), any floating dtype.
        state: (B, 6, h, w), the flows to both, then two channels that stay; float32 or float64.
        t: (B,), dtype of state.
        steps: number of steps, at least 1.
        step: computes one, as `lucas_kanade_reference`.

    Returns:
        (B, 6, h, w) and (B, 2, h, w), dtype of state. The gradient of the first passes to the state
        unchanged; the second has none.
    """
    flow0, flow1, rest = state.split((2, 2, state.shape[1] - 4), 1)
    times = t.detach().view(-1, 1, 1, 1)

    def flows_after(motion: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.addcmul(flow0, times, motion, value=-1), flow1.addcmul(1 - times, motion)

    with torch.no_grad():
        missing = step(luma0, luma1, flow0, flow1, t)
        for _ in range(steps - 1):
            missing = missing + step(luma0, luma1, *flows_after(missing), t)
    return torch.cat((*flows_after(missing), rest), 1), missing


def empty_aligned(state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Uninitialised outputs of `align`, contiguous."""
    B, C, H, W = state.shape
    return state.new_empty((B, C, H, W)), state.new_empty((B, 2, H, W))


def empty_output(image0: torch.Tensor) -> torch.Tensor:
    """The uninitialised output, (B, 2, H, W), contiguous."""
    B, _, H, W = image0.shape
    return image0.new_empty((B, 2, H, W), dtype=accumulate_dtype(image0))


def _step(image0, image1, flow0, flow1, t, warp) -> tuple[torch.Tensor, torch.Tensor]:
    """The step of each window (B, 2, H, W), and its weight (B, 1, H, W)."""
    warped0 = warp(image0.to(flow0.dtype), flow0)
    warped1 = warp(image1.to(flow1.dtype), flow1)
    d = warped1 - warped0
    gx, gy = _gradient((1 - t) * warped1 + t * warped0)
    products = (gx * gx, gx * gy, gy * gy, gx * d, gy * d, d * d)
    sums = torch.stack([x.sum(1) for x in products], 1)
    boxes = F.avg_pool2d(F.avg_pool2d(_padded(sums, RADIUS), BOX, 1), BOX, 1)
    a, b, c, u, v, energy = boxes.split(1, 1)
    # (a + DAMPING) (c + DAMPING) - b b. The first part is never negative but for rounding.
    determinant = (a * c - b * b).clamp(min=0) + DAMPING * (a + c + DAMPING)
    a, c = a + DAMPING, c + DAMPING
    step = torch.cat((b * v - c * u, b * u - a * v), 1) / determinant
    dx, dy = step.clamp_(-LIMIT, LIMIT).split(1, 1)
    error = (energy + u * dx + v * dy).clamp(min=0)
    return step, determinant / ((a + c) * (error + ERROR))


def _gradient(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives of an image (B, C, H, W) by x and by y, in its units per pixel."""
    padded = _padded(image, 1)
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return dx / 2, dy / 2


def _padded(maps: torch.Tensor, pixels: int) -> torch.Tensor:
    """Maps (B, N, H, W), continued beyond every border by their nearest pixels."""
    return F.pad(maps, [pixels] * 4, mode="replicate")
