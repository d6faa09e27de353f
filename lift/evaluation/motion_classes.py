"""Classes of motion: what makes a target hard, by the DIS flow around it.

The classes overlap, and a target may belong to none. The target itself is not looked at.

Source of the consistency check: Sundaram et al., "Dense point trajectories by GPU-accelerated large
displacement optical flow", ECCV 2010.
"""

from dataclasses import dataclass

import numpy as np

from lift.evaluation.baselines import dis_flows, warp

# Thresholds; lengths are in pixels of the frames and per interval between the references.
SLOW_BELOW = 3.0  # 95th percentile of the length of motion
LARGE_FROM = 16.0  # the same percentile
PAN_FROM = 3.0  # length of the dominant motion
PAN_TOLERANCE = 0.25  # of the dominant motion: how far a pixel of a pan may be from it
PAN_SHARE = 0.5  # of the pixels within that tolerance
OCCLUDED_SHARE = 0.1  # of the pixels whose flows there and back disagree
ACCELERATION_FROM = 2.0  # mean change of motion from one interval to the next
ACCELERATION_RATIO = 0.5  # the same change relative to the mean motion

CLASSES = {
    "slow": f"95 % of the pixels move less than {SLOW_BELOW:g} px",
    "large": f"5 % of the pixels move at least {LARGE_FROM:g} px",
    "pan": f"median motion of at least {PAN_FROM:g} px, shared within {PAN_TOLERANCE:.0%} by "
    f"{PAN_SHARE:.0%} of the pixels",
    "occlusion": f"forward and backward flow disagree in {OCCLUDED_SHARE:.0%} of the pixels",
    "non-linear": f"motion changes by at least {ACCELERATION_FROM:g} px and "
    f"{ACCELERATION_RATIO:.0%} of its length from one interval to the next",
}


@dataclass(frozen=True)
class MotionStatistics:
    """Motion around one target, in pixels per interval between the references.

    Attributes:
        p95: 95th percentile of the length.
        dominant: length of the median vector.
        dominant_share: fraction of the pixels within PAN_TOLERANCE of the median vector.
        occluded: fraction of the pixels that stay inside the frame and whose forward and backward
            flow disagree.
        speed: mean length, of the pixels that agree and move.
        acceleration: mean length of the change of motion to the intervals beside, of the same
            pixels; 0 where there are none.
    """

    p95: float
    dominant: float
    dominant_share: float
    occluded: float
    speed: float
    acceleration: float


def motion_statistics(
    frame0: np.ndarray,
    frame1: np.ndarray,
    before: np.ndarray | None = None,
    after: np.ndarray | None = None,
) -> MotionStatistics:
    """Statistics of the DIS flow between two references and in the intervals beside them.

    Args:
        frame0, frame1: the references, (H, W, 3) uint8 RGB.
        before, after: the input frames one interval before frame0 and after frame1; None where the
            shot has none.

    Raises:
        LiftError: OpenCV is not installed.
    """
    forward, backward = dis_flows(frame0, frame1)
    speed = _length(forward)
    median = np.median(forward.reshape(-1, 2), axis=0)
    dominant = float(np.hypot(*median))
    shared = _length(forward - median) <= PAN_TOLERANCE * dominant
    consistent0, inside0 = _consistent(forward, backward)
    consistent1, _ = _consistent(backward, forward)
    moving = consistent0 & (speed >= 1)
    # The flow back in time on the grid of the same reference: both vectors are of one point.
    changes = []
    if before is not None:
        changes.append(_length(forward + dis_flows(frame0, before)[0])[moving])
    if after is not None:
        moving1 = consistent1 & (_length(backward) >= 1)
        changes.append(_length(dis_flows(frame1, after)[0] + backward)[moving1])
    return MotionStatistics(
        p95=float(np.percentile(speed, 95)),
        dominant=dominant,
        dominant_share=float(shared.mean()),
        occluded=float((inside0 & ~consistent0).mean()),
        speed=_mean(speed[moving]),
        acceleration=_mean(np.concatenate(changes)) if changes else 0.0,
    )


def classify(motion: MotionStatistics) -> tuple[str, ...]:
    """The classes that a target belongs to, in the order of CLASSES."""
    member = {
        "slow": motion.p95 < SLOW_BELOW,
        "large": motion.p95 >= LARGE_FROM,
        "pan": motion.dominant >= PAN_FROM and motion.dominant_share >= PAN_SHARE,
        "occlusion": motion.occluded >= OCCLUDED_SHARE,
        "non-linear": motion.acceleration >= ACCELERATION_FROM
        and motion.acceleration >= ACCELERATION_RATIO * motion.speed,
    }
    return tuple(name for name in CLASSES if member[name])


def _consistent(flow: np.ndarray, back: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels whose flow there and back returns to them, and pixels that stay inside the frame.

    Args:
        flow: (H, W, 2), on the grid of the one frame.
        back: (H, W, 2), on the grid of the other.

    Returns:
        Two of (H, W) bool; the first is a subset of the second.
    """
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width]
    ends = x + flow[..., 0], y + flow[..., 1]
    inside = (ends[0] >= 0) & (ends[0] <= width - 1) & (ends[1] >= 0) & (ends[1] <= height - 1)
    returned = warp(back, flow)
    allowed = 0.01 * (_length(flow) ** 2 + _length(returned) ** 2) + 0.5
    return inside & (_length(flow + returned) ** 2 <= allowed), inside


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.hypot(vectors[..., 0], vectors[..., 1])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0
