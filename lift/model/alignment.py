"""Lucas-Kanade steps: flows of two references corrected by the images themselves.

A convolution that sees two warped images has to learn the division by which a difference becomes a
motion. A Lucas-Kanade step computes it, to a small fraction of a pixel, before any training. The
convolutions of each scale then correct what it cannot know: occlusions, large motion, flat areas.
"""

import torch

from lift import kernels
from lift.model.blocks import without_autocast


def luma(image: torch.Tensor) -> torch.Tensor:
    """Luma of an RGB image, (B, 3, H, W) -> (B, 1, H, W)."""
    r, g, b = image.unbind(1)
    return (0.299 * r + 0.587 * g + 0.114 * b).unsqueeze(1)


@torch.no_grad()
def missing_motion(
    luma0: torch.Tensor,
    luma1: torch.Tensor,
    flow0: torch.Tensor,
    flow1: torch.Tensor,
    t: torch.Tensor,
    steps: int,
    backend: str = "auto",
) -> torch.Tensor:
    """The motion between two references that their flows do not explain, (B, 2, h, w).

    Gradients pass by: the sum of flow and missing motion does not depend on the flow's error where
    a step succeeds, so a gradient through it would tell the flow nothing.

    Args:
        luma0, luma1: (B, 1, h, w).
        flow0, flow1: (B, 2, h, w), from the target to each, pixels.
        t: (B,), the target's time.
        steps: number of Lucas-Kanade steps, at least 1, each of at most a pixel, then made smooth.
        backend: of the kernels.
    """
    with without_autocast(flow0.device):
        missing = kernels.lucas_kanade(luma0, luma1, flow0, flow1, t, backend=backend)
        for _ in range(steps - 1):
            flows = add_motion(flow0, flow1, missing, t)
            missing = missing + kernels.lucas_kanade(luma0, luma1, *flows, t, backend=backend)
    return missing


def add_motion(
    flow0: torch.Tensor, flow1: torch.Tensor, motion: torch.Tensor, t: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Flows from the target to its references after a change of the motion between these."""
    t = t.view(-1, 1, 1, 1)
    return torch.addcmul(flow0, t, motion, value=-1), torch.addcmul(flow1, 1 - t, motion)
