"""Lucas-Kanade steps and propagation: flows of two references corrected by the images themselves.

A convolution that sees two warped images has to learn the division by which a difference becomes a
motion. A Lucas-Kanade step computes it, to a small fraction of a pixel, before any training. The
convolutions of each scale then correct what it cannot know: occlusions, large motion, flat areas.
It has to start near the right flow, which propagation finds where a pixel not far away has it.
"""

import torch

from lift import kernels
from lift.model.blocks import without_autocast


def aligned(
    luma0: torch.Tensor,
    luma1: torch.Tensor,
    state: torch.Tensor,
    t: torch.Tensor,
    steps: int,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A state with flows corrected, and the motion that they did not explain.

    Gradients pass by: the sum of flow and missing motion does not depend on the flow's error where
    a step succeeds, so a gradient through it would tell the flow nothing.

    Args:
        luma0, luma1: (B, 1, h, w).
        state: (B, 6, h, w), as in `FlowEstimate`.
        t: (B,), the target's time.
        steps: number of Lucas-Kanade steps, each of at most a pixel, then made smooth.
        backend: of the kernels.

    Returns:
        The state (B, 6, h, w), and the missing motion (B, 2, h, w), without gradient; None, and
        the state as it is, for no step.
    """
    if not steps:
        return state, None
    with without_autocast(state.device):
        return kernels.align(luma0, luma1, state, t, steps, backend=backend)


def propagated(
    luma0: torch.Tensor,
    luma1: torch.Tensor,
    state: torch.Tensor,
    passes: int,
    backend: str = "auto",
) -> torch.Tensor:
    """A state whose flows come from pixels where they explain the images better.

    Args:
        luma0, luma1: (B, 1, 2 h, 2 w).
        state: (B, 6, h, w), as in `FlowEstimate`.
        passes: number of passes; the last is over 2 pixels, each before over twice the distance.
        backend: of the kernels.

    Returns:
        (B, 6, h, w); gradients pass to the flows that were taken.
    """
    with without_autocast(state.device):
        for exponent in range(passes, 0, -1):
            state = kernels.propagate(luma0, luma1, state, 2**exponent, backend=backend)
    return state
