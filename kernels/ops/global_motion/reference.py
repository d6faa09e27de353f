"""Motion at the target's time from a correlation of its two references: the definition.

A straight path through location x of the frame at time t moves by m from the left to the right
reference: it starts at x - t*m and ends at x + (1 - t)*m. The correlation of the references, which
does not depend on t, is sampled at x - t*m for every displacement m; a softmax over m gives the
expected motion,

    sampled[m](x) = volume[m](x - t*m)
    motion = sum over m of softmax(inv_temperature * sampled + prior)[m] * m

Source: the bilateral cost volumes of Park et al., "BMBC", ECCV 2020, and the soft argmax of Kendall
et al., "GC-Net", ICCV 2017.
"""

from collections.abc import Callable

import torch

from lift.kernels.checks import accumulate_dtype
from lift.kernels.ops.correlation.reference import displacements
from lift.kernels.ops.warp_blend.reference import warp_reference

STATE = 6  # channels of a state: two flows, two logits


def global_motion_reference(
    volume: torch.Tensor,
    left: torch.Tensor,
    right: torch.Tensor,
    inv_temperature: torch.Tensor,
    prior: torch.Tensor,
    t: torch.Tensor,
    radius: int,
    dtype: torch.dtype,
    warp: Callable = warp_reference,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The input of the decoder of a global motion, and the state that the decoder refines.

    Args:
        volume: (B, M, H, W), M = (2 radius + 1)^2, in the order of `displacements`.
        left, right: features (B, C, H, W).
        inv_temperature: ().
        prior: (M,).
        t: (B,).
        radius: pixels.
        dtype: of the decoder's input.
        warp: computes the samples.

    Returns:
        (B, M + 2 C + 3, H, W): sampled, left, right, motion / radius, t;
        (B, 6, H, W): -t * motion, (1 - t) * motion, two zeros.
    """
    B, M, H, W = volume.shape
    steps = displacements(radius, volume.device).to(accumulate_dtype(volume))
    t = t.detach().to(steps.dtype).view(-1, 1, 1, 1)
    shift = (-t.view(-1, 1, 1) * steps).reshape(B * M, 2, 1, 1).expand(-1, -1, H, W)
    sampled = warp(volume.reshape(B * M, 1, H, W), shift).view(B, M, H, W)
    logits = inv_temperature * sampled.to(steps.dtype) + prior.view(-1, 1, 1)
    weights = logits.softmax(1)
    # Written out: a matrix product would be rounded under autocast.
    motion = torch.stack([(weights * x.view(-1, 1, 1)).sum(1) for x in steps.unbind(1)], 1)
    maps = (sampled, left, right, motion / radius, t.expand(-1, 1, H, W))
    state = torch.cat((-t * motion, (1 - t) * motion, torch.zeros_like(motion)), 1)
    return torch.cat([x.to(dtype) for x in maps], 1), state


def empty_output(volume, left, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The uninitialised outputs: the decoder's input channels_last, the state contiguous."""
    (B, M, H, W), C = volume.shape, left.shape[1]
    inputs = torch.empty(
        (B, M + 2 * C + 3, H, W),
        dtype=dtype,
        device=left.device,
        memory_format=torch.channels_last,
    )
    return inputs, volume.new_empty((B, STATE, H, W), dtype=accumulate_dtype(volume))
