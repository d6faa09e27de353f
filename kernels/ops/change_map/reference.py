"""How much two images differ around each pixel, relative to their contrast: the definition.

The largest difference in the 6 x 6 pixels around each block of 2 x 2, as a fraction of the contrast
there. Motion changes a texture by a large fraction of its contrast; compression and lighting change
static textures by a small one.
"""

from collections.abc import Callable

import torch

from lift.kernels.checks import accumulate_dtype

NOISE_CONTRAST = 0.05  # contrast, of 1, below which noise counts as change less and less
MIN_DIFFERENCE = 1e-3  # of 1; its logarithm is finite


def change_map_reference(image0: torch.Tensor, image1: torch.Tensor) -> torch.Tensor:
    """Log change relative to contrast.

    Args:
        image0, image1: (B, 3, H, W), in [0, 1]; even H and W.

    Returns:
        (B, 1, H/2, W/2), float32 (float64 for float64).
    """
    both = torch.cat((image0, image1), 1).to(accumulate_dtype(image0))
    difference = (both[:, :3] - both[:, 3:]).abs().amax(1, keepdim=True)
    contrast = _dilate(both, torch.maximum) - _dilate(both, torch.minimum)
    contrast = (contrast[:, :3].amax(1, keepdim=True) + contrast[:, 3:].amax(1, keepdim=True)) / 2
    difference = _dilate(difference, torch.maximum)
    return (difference.clamp(min=MIN_DIFFERENCE) / (contrast + NOISE_CONTRAST)).log()


def _dilate(x: torch.Tensor, pick: Callable) -> torch.Tensor:
    """`pick` over each 2 x 2 block and the eight around it, (B, C, H, W) -> (B, C, H/2, W/2).

    Pairs of values, in rows, then in columns: on a CPU much faster than pooling.
    """
    for dim in (-1, -2):
        x = pick(*x.unflatten(dim, (-1, 2)).unbind(dim))
        first, last = x.narrow(dim, 0, 1), x.narrow(dim, -1, 1)
        x = torch.cat((first, x, last), dim)  # replicated edges add no new values
        n = x.shape[dim] - 1
        x = pick(x.narrow(dim, 0, n), x.narrow(dim, 1, n))
        x = pick(x.narrow(dim, 0, n - 1), x.narrow(dim, 1, n - 1))
    return x


def empty_output(image0: torch.Tensor) -> torch.Tensor:
    """The uninitialised output, (B, 1, H/2, W/2), contiguous."""
    B, _, H, W = image0.shape
    return image0.new_empty((B, 1, H // 2, W // 2), dtype=accumulate_dtype(image0))
