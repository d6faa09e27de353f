"""What a model must beat: copying a frame, averaging two, and classical optical flow of two frames
or of four.

A method is a function (frame0, frame1, t) -> frame: both references (H, W, 3) uint8 RGB, the
target's time in (0, 1) between them, and the made frame, (H, W, 3) uint8.

DIS source: Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, as OpenCV
implements it.
"""

from collections.abc import Callable

import numpy as np
import torch

from lift.evaluation.opencv import opencv
from lift.model.adjacent import (
    acceleration_after,
    acceleration_before,
    acceleration_weights,
    adjacent_frames,
)

Method = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def copy(frame0: np.ndarray, frame1: np.ndarray, t: float) -> np.ndarray:
    """The left reference, unchanged."""
    return frame0


def average(frame0: np.ndarray, frame1: np.ndarray, t: float) -> np.ndarray:
    """The references mixed by time, (1 - t) frame0 + t frame1, rounded half up. Whatever moves
    appears twice.
    """
    return _round((1 - t) * frame0.astype(np.float32) + t * frame1.astype(np.float32))


def dis(frame0: np.ndarray, frame1: np.ndarray, t: float) -> np.ndarray:
    """Both references warped backward along DIS flow (medium preset, finest scale 0, on luma) and
    mixed by time.

    The flow is estimated in both directions; half the difference of the two is one motion field,
    scaled to the target's time from either side, without a projection to the target's own grid. No
    visibility is reasoned about.

    Raises:
        LiftError: OpenCV is not installed.
    """
    return _between(frame0, frame1, dis_flow(frame0, frame1), t)


METHODS: dict[str, Method] = {"copy": copy, "average": average, "dis": dis}


def dis_cubic(frames: np.ndarray, times: list[float], left: int) -> np.ndarray:
    """As `dis` at t = 0.5, but along the cubic path through four frames: the references and the
    nearest frame on either side.

    The fair mark for a model that sees more than two frames. Motion beside the references is looked
    up where a point that moves on as between them would be, and changes of velocity are smoothed;
    where a frame is missing the path is a parabola, without both a line.

    Args:
        frames: (T, H, W, 3) uint8 RGB, in the order of time.
        times: their times, the references at 0 and 1.
        left: the left reference's place.

    Raises:
        LiftError: OpenCV is not installed.
    """
    cv2, t = opencv("the dis baseline"), 0.5
    frame0, frame1 = frames[left : left + 2]
    motion = dis_flow(frame0, frame1)
    mask = torch.ones(1, len(times), dtype=torch.bool)
    position, adjacent_times, exists = (
        x[0].tolist() for x in adjacent_frames(torch.tensor([times]), mask)
    )
    weights = list(acceleration_weights(*adjacent_times, t)) if all(exists) else [1.0, 1.0]
    parts = []
    if exists[0]:
        time, flow = adjacent_times[0], dis_flow(frames[position[0]], frame0)
        before = _warp(flow, (time / 2 - t) * motion)
        parts.append(weights[0] * acceleration_before(motion, before, time))
    if exists[1]:
        time, flow = adjacent_times[1], dis_flow(frame1, frames[position[1]])
        after = _warp(flow, ((time + 1) / 2 - t) * motion)
        parts.append(weights[1] * acceleration_after(motion, after, time))
    if not parts:
        return _between(frame0, frame1, motion, t)
    acceleration = cv2.GaussianBlur(sum(parts), (0, 0), SMOOTH)
    return _between(frame0, frame1, motion, t, t * (t - 1) * acceleration)


SMOOTH = 4.0  # pixels: of the Gaussian over changes of velocity


def dis_flow(frame0: np.ndarray, frame1: np.ndarray) -> np.ndarray:
    """Motion from frame0 to frame1: half the difference of the DIS flows forth and back.

    Args:
        frame0, frame1: (H, W, 3) uint8 RGB.

    Returns:
        (H, W, 2) float32, dx then dy, pixels.
    """
    cv2 = opencv("the dis baseline")
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(0)
    luma0, luma1 = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (frame0, frame1))
    return 0.5 * (estimator.calc(luma0, luma1, None) - estimator.calc(luma1, luma0, None))


def _between(
    frame0: np.ndarray,
    frame1: np.ndarray,
    motion: np.ndarray,
    t: float,
    off: np.ndarray | float = 0.0,
) -> np.ndarray:
    """The references warped to t along straight paths, or `off` beside them, (H, W, 2), and mixed
    by time.
    """
    return _round(
        (1 - t) * _warp(frame0, -t * motion - off) + t * _warp(frame1, (1 - t) * motion - off)
    )


def _warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Sample `image` (H, W, 3) at (x + dx, y + dy), bilinear, clamped to the border."""
    cv2 = opencv("the dis baseline")
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    return cv2.remap(
        image.astype(np.float32),
        x + flow[..., 0],
        y + flow[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _round(frame: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(frame + 0.5), 0, 255).astype(np.uint8)
