"""Motion in the gaps beside two references, and the curved path of a point that follows from it.

The batch model, the streaming interpolator and the optical-flow baselines share these functions.
Two frames show where a point was and where it will be, not how it got there. Let x(s) be the
position of a point at time s, in frames at times l2 < l1 < 0 < 1 < r1 < r2, the references at 0 and
1. The motion in the gaps between the frames gives the divided differences of x (Newton's form): of
order 2 over (l1, 0, 1) and (0, 1, r1), the accelerations AL and AR; of order 4 over (l2, l1, 0, 1,
r1) and (l1, 0, 1, r1, r2), DL and DR. The polynomial through all six frames deviates at time t from
the straight line by

    t (t - 1) [(r1 - t) AL + (t - l1) AR] / (r1 - l1)
    + (t - l1) t (t - 1) (t - r1) [(r2 - t) DL + (t - l2) DR] / (r2 - l2).

The first line alone is the cubic through the four inner frames. Where the frame of one side is
missing the other's difference stands alone: a parabola through three frames, a quartic through
five. Differences of order 4 need both frames beside the references; without any of those the path
is a straight line.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lift.model.types import Motion

MAX_ADJACENT_GAP = 2  # in reference intervals; frames farther apart say little about the path
DUPLICATE_RATIO = 0.1  # of the references' difference; compression changes duplicates too


@dataclass(frozen=True)
class AdjacentMotion:
    """Motion in the G gaps beside two references, B pairs.

    G is 2 or 4. Gaps are in the order: before the left reference, after the right one, and where G
    is 4 before and after those two. Each lies between an inner frame, nearer to the references, and
    an outer one.

    Attributes:
        motions: (B, G, 2, H/4, W/4), from the earlier frame of each gap to the later one, as seen
            half way, pixels of 1/4; finite where not valid.
        times: (B, G), of the outer frame of each gap, below 0 or above 1, in reference intervals.
        valid: (B, G), bool, whether the outer frame exists and is no duplicate of the inner one.
    """

    motions: torch.Tensor
    times: torch.Tensor
    valid: torch.Tensor

    @staticmethod
    def none(motion: Motion) -> "AdjacentMotion":
        """No frame beside the references."""
        zero = torch.zeros_like(motion.flow_01)
        # new_full, since new_tensor copies from the host
        times = torch.stack([zero.new_full((len(zero),), time) for time in (-1.0, 2.0)], 1)
        motions = torch.stack((zero, zero), 1)
        return AdjacentMotion(motions, times, torch.zeros_like(times, dtype=torch.bool))

    @property
    def differences_valid(self) -> torch.Tensor:
        """(B, G), bool: which divided differences are known, of order 2 and then of order 4."""
        inner, outer = self.valid[:, :2], self.valid[:, 2:]
        return torch.cat((inner, outer & inner.all(1, keepdim=True)), 1)


def gaps_per_side(frames: int, path_frames: int) -> int:
    """How many gaps on either side of the references a path may use, 1 or 2.

    Args:
        frames: number of frames; a second gap needs five, the references and three beside them.
        path_frames: of `ModelConfig`.
    """
    return 2 if frames > 4 and path_frames > 4 else 1


def adjacent_frames(
    times: torch.Tensor, mask: torch.Tensor, per_side: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The frames nearest to the references on either side, the outer frames of the gaps.

    Args:
        times, mask: (B, T), as in `Clip`.
        per_side: 1 or 2 frames on each side.

    Returns:
        Positions in the clip (B, G), int64, G = 2 * per_side in the order of `AdjacentMotion`;
        times (B, G), one interval farther out where there is no frame within `MAX_ADJACENT_GAP`;
        and whether there is one (B, G), bool.
    """
    outward = torch.stack((times, 1 - times), 1)  # (B, 2, T), below 0 beyond each reference
    edge = torch.zeros_like(outward[..., 0])
    exists = torch.ones_like(edge, dtype=torch.bool)
    found = []
    for _ in range(per_side):
        gap = outward - edge[..., None]
        beyond = mask[:, None] & (gap < 0) & (gap >= -MAX_ADJACENT_GAP) & exists[..., None]
        nearest, position = torch.where(beyond, outward, -math.inf).max(2)
        exists = beyond.any(2)
        edge = torch.where(exists, nearest, edge - 1)
        found.append((position, torch.stack((edge[:, 0], 1 - edge[:, 1]), 1), exists))
    position, adjacent, exists = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
    return position, adjacent, exists


def has_motion(difference: torch.Tensor, reference_difference: torch.Tensor) -> torch.Tensor:
    """Whether a gap holds motion, judged by the mean differences of its frames and the references.

    A duplicated frame tells nothing about velocity; taken at face value, a moving point would seem
    to start or to stop.
    """
    return difference >= DUPLICATE_RATIO * reference_difference


# -- the path through up to six frames -------------------------------------------------------------


def path_differences(
    flow_t0: torch.Tensor,
    flow_t1: torch.Tensor,
    adjacent: AdjacentMotion,
    warp: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Divided differences of the paths through the pixels of the target.

    Args:
        flow_t0, flow_t1: (B, 2, h, w), from the target to the references along straight paths.
        adjacent: the motion in the gaps beside the references.
        warp: backward warp of (N, 2, h, w) along flows (N, 2, h, w).

    Returns:
        (B, G, 2, h, w), those of order 2 over the frames up to and from the references, then those
        of order 4; pixels per reference interval to the power of the order, 0 where not valid.
    """

    def sampled(motions, flows):
        return warp(motions.flatten(0, 1), flows.flatten(0, 1)).unflatten(0, motions.shape[:2])

    # A gap's motion is given where points are half way through it; at the velocity of the gap
    # before, nearer to the references, they get there in half its time.
    velocity = flow_t1 - flow_t0
    times = adjacent.times[..., None, None, None]
    flows = torch.stack((flow_t0, flow_t1), 1)
    reach = torch.stack((times[:, 0], times[:, 1] - 1), 1)  # signed
    motions = sampled(adjacent.motions[:, :2], flows + reach / 2 * velocity[:, None])
    ordered = motions[:, 0], velocity, motions[:, 1]
    at = times[:, 0], torch.zeros_like(times[:, 0]), torch.ones_like(times[:, 0]), times[:, 1]
    if adjacent.motions.shape[1] == 4:
        beside = motions / reach.abs()
        flows = flows + (reach + (times[:, 2:] - times[:, :2]) / 2) * beside
        outer = sampled(adjacent.motions[:, 2:], flows)
        ordered = outer[:, 0], *ordered, outer[:, 1]
        at = times[:, 2], *at, times[:, 3]
    at = torch.stack(at, 1)
    second = _next_order(torch.stack(ordered, 1) / (at[:, 1:] - at[:, :-1]), at)
    if adjacent.motions.shape[1] == 4:
        fourth = _next_order(_next_order(second, at), at)
        differences = torch.cat((second[:, 1:3], fourth), 1)
    else:
        differences = second
    return torch.where(adjacent.differences_valid[..., None, None, None], differences, 0)


def _next_order(differences: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """Divided differences of the next order, (B, n, ...) over times (B, N, ...) -> (B, n - 1)."""
    order = times.shape[1] - differences.shape[1] + 1
    change = differences[:, 1:] - differences[:, :-1]
    return change / (times[:, order:] - times[:, :-order])


def path_weights(adjacent: AdjacentMotion, t: torch.Tensor) -> torch.Tensor:
    """Weights of the divided differences in the path's distance from a straight one.

    Args:
        adjacent: the motion in the gaps beside the references.
        t: (B,), the target's time.

    Returns:
        (B, G), as `path_differences` orders them; 0 where not valid.
    """
    valid, t = adjacent.differences_valid, t[:, None]
    factor, weights = t * (t - 1), []
    for first in range(0, valid.shape[1], 2):
        known, times = valid[:, first : first + 2], adjacent.times[:, first : first + 2]
        # of the left side's difference and the right one's; they sum to 1
        shares = (times.flip(1) - t).abs() / (times[:, 1:] - times[:, :1])
        shares = torch.where(known.all(1, keepdim=True), shares, 1.0)
        weights.append(torch.where(known, factor * shares, 0.0))
        factor = factor * (t - times[:, :1]) * (t - times[:, 1:])
    return torch.cat(weights, 1)
