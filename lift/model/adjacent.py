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

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lift.kernels.ops.adjacent_frames.reference import nearest_frames
from lift.kernels.ops.curve_flows import reference
from lift.kernels.ops.path_inputs.reference import differences_valid, divided_differences
from lift.model.types import Motion

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
        return differences_valid(self.valid)


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
        times (B, G), one interval farther out where there is no frame within `MAX_GAP` intervals;
        and whether there is one (B, G), bool.
    """
    return nearest_frames(times, mask, per_side)


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
    motion = adjacent.motions, adjacent.times, adjacent.valid
    return divided_differences(flow_t0, flow_t1, *motion, warp)


def path_weights(adjacent: AdjacentMotion, t: torch.Tensor) -> torch.Tensor:
    """Weights of the divided differences in the path's distance from a straight one.

    Args:
        adjacent: the motion in the gaps beside the references.
        t: (B,), the target's time.

    Returns:
        (B, G), as `path_differences` orders them; 0 where not valid.
    """
    return reference.path_weights(adjacent.times, adjacent.valid, t)
