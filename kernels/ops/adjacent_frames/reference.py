"""The frames nearest to two references on either side: the definition."""

import math

import torch

MAX_GAP = 2  # in reference intervals; frames farther apart say little about the path


def adjacent_frames_reference(
    times: torch.Tensor, mask: torch.Tensor, indices: torch.Tensor, left: int, per_side: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The ends of the gaps beside the references.

    Args:
        times: (B, T), the references at 0 and 1.
        mask: (B, T), bool, whether a frame is real.
        indices: (B, T), int64, of the frames in a list.
        left: position of the left reference; the right one follows it.
        per_side: gaps on each side, 1 to 3.

    Returns:
        Indices of the earlier and of the later frame of each gap, (2, B, G), int64; as
        `nearest_frames` the times of the outer frames (B, G) and whether there is one (B, G). A gap
        without an outer frame has its inner frame at both ends.
    """
    times = times.detach()
    position, outer_times, exists = nearest_frames(times, mask, per_side)
    inner, outer = [], []
    for frame, there in zip(position.split(2, 1), exists.split(2, 1), strict=True):
        inner.append(outer[-1] if outer else indices[:, left : left + 2])
        outer.append(torch.where(there, indices.gather(1, frame), inner[-1]))
    inner, outer = torch.cat(inner, 1), torch.cat(outer, 1)  # (B, G)
    before = torch.arange(inner.shape[1], device=inner.device) % 2 == 0
    ends = torch.where(before, outer, inner), torch.where(before, inner, outer)
    return torch.stack(ends), outer_times, exists


def nearest_frames(
    times: torch.Tensor, mask: torch.Tensor, per_side: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The frames nearest to the references on either side, the outer frames of the gaps.

    Args:
        times, mask, per_side: as in `adjacent_frames_reference`.

    Returns:
        Positions (B, G), int64, G = 2 * per_side: before the left reference, after the right one,
        then before and after those two, and so on; times (B, G), one interval farther out where
        there is no frame within `MAX_GAP`; and whether there is one (B, G), bool.
    """
    outward = torch.stack((times, 1 - times), 1)  # (B, 2, T), below 0 beyond each reference
    edge = torch.zeros_like(outward[..., 0])
    exists = torch.ones_like(edge, dtype=torch.bool)
    found = []
    for _ in range(per_side):
        gap = outward - edge[..., None]
        beyond = mask[:, None] & (gap < 0) & (gap >= -MAX_GAP) & exists[..., None]
        nearest, position = torch.where(beyond, outward, -math.inf).max(2)
        exists = beyond.any(2)
        edge = torch.where(exists, nearest, edge - 1)
        found.append((position, torch.stack((edge[:, 0], 1 - edge[:, 1]), 1), exists))
    position, adjacent, exists = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
    return position, adjacent, exists


def empty_outputs(
    times: torch.Tensor, per_side: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The uninitialised outputs."""
    B, G = len(times), 2 * per_side
    return (
        times.new_empty((2, B, G), dtype=torch.int64),
        times.new_empty((B, G)),
        times.new_empty((B, G), dtype=torch.bool),
    )
