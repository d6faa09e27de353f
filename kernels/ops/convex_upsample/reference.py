"""Convex upsampling by 2 of flows and visibility logits: the definition.

Each fine pixel is a convex combination of the 3 x 3 coarse pixels around the one that holds it,
those beyond the border being the nearest ones:

    fine(2 y + i, 2 x + j) = sum over k of w(i, j, k) coarse(y + k / 3 - 1, x + k % 3 - 1)
    w(i, j, .) = softmax(logits(i, j, .) + prior(i, j, .))

Flows double, since a motion is twice as many fine pixels as coarse ones.

Source: Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020.
"""

import torch
import torch.nn.functional as F

from lift.kernels.shuffle import pixel_shuffle

FACTOR = 2
AROUND = 9  # coarse pixels that a fine one combines
FLOWS = 4  # channels of the state that are flows
CHANNELS = 6  # of the state: two flows, then two visibility logits
WEIGHTS = FACTOR**2 * AROUND


def convex_upsample_reference(
    state: torch.Tensor, logits: torch.Tensor, prior: torch.Tensor
) -> torch.Tensor:
    """Flows and visibility logits at twice the resolution.

    Args:
        state: (B, 6, h, w), two flows in pixels, then two visibility logits; float32 or float64.
        logits: (B, 36, h, w), of the weights: fine row, fine column, then coarse pixel; any
            floating dtype.
        prior: (36,), added to the logits of every pixel.

    Returns:
        (B, 6, 2h, 2w), dtype of state.
    """
    B, C, h, w = state.shape
    if state.numel() == 0:  # which F.pad refuses
        return state.reshape(B, C, FACTOR * h, FACTOR * w) + logits.sum() + 0 * prior.sum()
    weights = logits.to(state.dtype).reshape(B, FACTOR**2, AROUND, h, w)
    weights = (weights + prior.view(FACTOR**2, AROUND, 1, 1)).softmax(2)
    state = torch.cat((FACTOR * state[:, :FLOWS], state[:, FLOWS:]), 1)
    around = F.pad(state, (1, 1, 1, 1), mode="replicate").unsqueeze(2)
    shifted = [around[..., i : i + h, j : j + w] for i in range(3) for j in range(3)]
    # a sum over planes, since a CPU is slow at a matrix product per pixel
    fine = shifted[0] * weights[:, None, :, 0]
    for k in range(1, AROUND):
        fine.addcmul_(shifted[k], weights[:, None, :, k])
    return pixel_shuffle(fine.reshape(B, C * FACTOR**2, h, w), FACTOR)


def empty_output(state: torch.Tensor) -> torch.Tensor:
    """The uninitialised output, (B, 6, 2h, 2w), contiguous."""
    B, C, h, w = state.shape
    return state.new_empty((B, C, FACTOR * h, FACTOR * w))
