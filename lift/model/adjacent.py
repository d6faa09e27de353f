"""Motion in the gaps beside two references, and the accelerations that follow from it.

The batch model, the streaming interpolator and the optical-flow baseline share these functions.
Two frames show where a point was and where it will be, not how it got there. With x(0) and x(1) the
positions of a point in the references, and the velocities v in the gaps before, between and after,
the cubic through all four frames deviates at time t from the straight line by

    t (t - 1) a,   a = (r - t) / (r - l) * (v - v_before) / (1 - l)
                     + (t - l) / (r - l) * (v_after - v) / r

for adjacent frames at times l < 0 and r > 1: Newton's form as a weighted mean of two second
differences. Where one adjacent frame is missing the other's difference stands alone (a parabola
through three frames); without both the path is a straight line.
"""

import math
from dataclasses import dataclass

import torch

from lift.model.types import Motion

MAX_ADJACENT_GAP = 2  # in reference intervals; frames farther away say little about the path
DUPLICATE_RATIO = 0.1  # of the references' difference; compression changes duplicates too


@dataclass(frozen=True)
class AdjacentMotion:
    """Motion in the gaps before and after two references, B pairs.

    Attributes:
        before, after: (B, 2, H/4, W/4), from the previous frame to the left reference and from the
            right one to the next frame, as seen half way, pixels of 1/4; finite where not valid.
        times: (B, 2), of the previous frame, below 0, and of the next, above 1, in reference
            intervals.
        valid: (B, 2), bool, whether the frame exists and is no duplicate of its reference.
    """

    before: torch.Tensor
    after: torch.Tensor
    times: torch.Tensor
    valid: torch.Tensor

    @staticmethod
    def none(motion: Motion) -> "AdjacentMotion":
        """No adjacent frame on either side."""
        zero = torch.zeros_like(motion.flow_01)
        # new_full, since new_tensor copies from the host
        times = torch.stack([zero.new_full((len(zero),), time) for time in (-1.0, 2.0)], 1)
        return AdjacentMotion(zero, zero, times, torch.zeros_like(times, dtype=torch.bool))


def adjacent_frames(
    times: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The frames nearest to the references on either side.

    Args:
        times, mask: (B, T), as in `Clip`.

    Returns:
        Positions in the clip (B, 2), int64; times (B, 2), -1 and 2 where there is none within
        `MAX_ADJACENT_GAP`; and whether there is one (B, 2), bool.
    """
    outward = torch.stack((times, 1 - times), 1)  # (B, 2, T), below 0 beyond each reference
    beyond = mask[:, None] & (outward < 0) & (outward >= -MAX_ADJACENT_GAP)
    nearest, position = torch.where(beyond, outward, -math.inf).max(2)
    exists = beyond.any(2)
    nearest = torch.where(exists, nearest, -1.0)
    return position, torch.stack((nearest[:, 0], 1 - nearest[:, 1]), 1), exists


def has_motion(difference: torch.Tensor, reference_difference: torch.Tensor) -> torch.Tensor:
    """Whether a gap holds motion, judged by the mean differences of its frames and the references.

    A duplicated frame tells nothing about velocity; taken at face value, a moving point would seem
    to start or to stop.
    """
    return difference >= DUPLICATE_RATIO * reference_difference


# -- the path through four frames: arithmetic on floats, arrays or tensors -------------------------


def acceleration_before(velocity, before, time):
    """Second difference from the motion `before`, over the gap from `time` < 0 to 0."""
    return (velocity - before / -time) / (1 - time)


def acceleration_after(velocity, after, time):
    """Second difference from the motion `after`, over the gap from 1 to `time` > 1."""
    return (after / (time - 1) - velocity) / time


def acceleration_weights(left, right, t):
    """Weights of the two second differences at the target's time; they sum to 1."""
    return (right - t) / (right - left), (t - left) / (right - left)
