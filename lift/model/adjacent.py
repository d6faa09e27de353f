"""Motion in the gaps beside two references, and the curved path of a point that follows from it.

The batch model, the streaming interpolator and the optical-flow baselines share these functions.
Two frames show where a point was and where it will be, not how it got there. Let x(s) be the
position of a point at time s, in frames at times ... l2 < l1 < 0 < 1 < r1 < r2 ..., the references
at l0 = 0 and r0 = 1. The motion in the gaps between the frames gives the divided differences of x
(Newton's form), of the orders 2, 4 and 6 for k = 1, 2 and 3: Lk over the frames lk to r(k-1), Rk
over those from l(k-1) to rk. L1 and R1 are accelerations. The polynomial through all frames up to
lK and rK deviates at time t from the straight line by the sum over k = 1 ... K of

    Pk [(rk - t) Lk + (t - lk) Rk] / (rk - lk),  P1 = t (t - 1),  P(k+1) = Pk (t - lk) (t - rk):

a cubic through four frames, of degree five through six, of degree seven through eight. Where the
last frame of one side is missing, the other side's difference stands alone: a parabola through
three frames, a quartic through five. Differences of a higher order need both frames of the order
before; without any frame beside the references the path is a straight line.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lift.model.types import Motion

MAX_ADJACENT_GAP = 2  # in reference intervals; frames farther apart say little about the path
AGREEMENT_WINDOW = 9  # pixels of 1/4, odd
EPSILON = 1e-8  # squared pixels
DUPLICATE_RATIO = 0.1  # of the references' difference; compression changes duplicates too


@dataclass(frozen=True)
class AdjacentMotion:
    """Motion in the G gaps beside two references, B pairs.

    G is 2, 4 or 6. Gaps are in the order: before the left reference, after the right one, then
    before and after those two, and so on. Each lies between an inner frame, nearer to the
    references, and an outer one.

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
        """(B, G), bool: which divided differences are known, by order: 2, 4, 6."""
        known = [self.valid[:, :2]]
        for outer in self.valid[:, 2:].split(2, 1):
            known.append(outer & known[-1].all(1, keepdim=True))
        return torch.cat(known, 1)


def gaps_per_side(frames: int, path_frames: int) -> int:
    """How many gaps on either side of the references a path may use, 1 to 3.

    Args:
        frames: number of frames; a second gap needs five, the references and three beside them, a
            third one seven.
        path_frames: of `ModelConfig`.
    """
    return max(min((frames - 1) // 2, path_frames // 2 - 1), 1)


def adjacent_frames(
    times: torch.Tensor, mask: torch.Tensor, per_side: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The frames nearest to the references on either side, the outer frames of the gaps.

    Args:
        times, mask: (B, T), as in `Clip`.
        per_side: frames on each side, 1 to 3.

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


# -- the path through up to eight frames -----------------------------------------------------------


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
        (B, G, 2, h, w): L1, R1, L2, R2, ... of the module's formula; pixels per reference interval
        to the power of the order, 0 where not valid.
    """

    def sampled(motions, flows):
        return warp(motions.flatten(0, 1), flows.flatten(0, 1)).unflatten(0, motions.shape[:2])

    velocity = flow_t1 - flow_t0
    times = adjacent.times[..., None, None, None]
    edge = torch.stack((torch.zeros_like(times[:, 0]), torch.ones_like(times[:, 1])), 1)
    at, motions = [*edge.unbind(1)], [velocity]  # in the order of time
    flows, beside = torch.stack((flow_t0, flow_t1), 1), velocity[:, None]
    for outer, gap in zip(times.split(2, 1), adjacent.motions.split(2, 1), strict=True):
        # A gap's motion is given where points are half way through it; at the velocity of the gap
        # before, nearer to the references, they get there in half its time.
        reach = outer - edge  # signed
        motion = sampled(gap, flows + reach / 2 * beside)
        beside = motion / reach.abs()
        flows, edge = flows + reach * beside, outer
        at = [outer[:, 0], *at, outer[:, 1]]
        motions = [motion[:, 0], *motions, motion[:, 1]]
    at = torch.stack(at, 1)
    order = _next_order(torch.stack(motions, 1) / (at[:, 1:] - at[:, :-1]), at)
    differences = [_middle(order)]
    while order.shape[1] > 2:
        order = _next_order(_next_order(order, at), at)
        differences.append(_middle(order))
    differences = torch.cat(differences, 1)
    return torch.where(adjacent.differences_valid[..., None, None, None], differences, 0)


def _middle(differences: torch.Tensor) -> torch.Tensor:
    """The two in the middle, around the references: (B, n, ...) -> (B, 2, ...)."""
    first = differences.shape[1] // 2 - 1
    return differences[:, first : first + 2]


def _next_order(differences: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """Divided differences of the next order, (B, n, ...) over times (B, N, ...) -> (B, n - 1)."""
    order = times.shape[1] - differences.shape[1] + 1
    change = differences[:, 1:] - differences[:, :-1]
    return change / (times[:, order:] - times[:, :-order])


def side_agreement(differences: torch.Tensor) -> torch.Tensor:
    """How well the differences of the two sides agree around each pixel, without gradients.

    Where frames are displaced at random, by noise or a shaken camera, the two differences of order
    n have opposite signs: their correlation is -n / (n + 1). Along smooth paths it is near 1.

    Args:
        differences: (B, G, 2, h, w), of `path_differences`.

    Returns:
        (B, G/2, h, w), by order: their correlation over `AGREEMENT_WINDOW` squared pixels, -1 to 1;
        0 where one is not known.
    """
    left, right = differences.detach().unflatten(1, (-1, 2)).unbind(2)
    squares = (left.square() + right.square()).sum(2) / 2
    means = torch.cat(((left * right).sum(2), squares), 1)
    for size in ((AGREEMENT_WINDOW, 1), (1, AGREEMENT_WINDOW)):
        pad = size[0] // 2, size[1] // 2
        means = F.avg_pool2d(means, size, 1, pad, count_include_pad=False)
    products, squares = means.chunk(2, 1)
    return products / (squares + EPSILON)


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
