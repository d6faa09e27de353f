"""Baselines: a reference frame, frame averaging, and DIS optical flow from two to eight frames.

A method is a function (frame0, frame1, t) -> frame. The references and the generated frame are
(H, W, 3) uint8 RGB; t in (0, 1) is the target's time between the references. Each has a form whose
frame is float32 in [0, 255], before rounding.

DIS source: Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, as OpenCV
implements it.
"""

from collections.abc import Callable

import numpy as np
import torch

from lift.io.optional import require
from lift.model.adjacent import (
    AdjacentMotion,
    adjacent_frames,
    path_differences,
    path_weights,
)

Method = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def copy(frame0: np.ndarray, frame1: np.ndarray, t: float) -> np.ndarray:
    """The left reference, unchanged."""
    return frame0


def nearest(frame0: np.ndarray, frame1: np.ndarray, t: float) -> np.ndarray:
    """The reference that is nearer in time, the right one at t = 0.5."""
    return frame0 if t < 0.5 else frame1


def average(frame0: np.ndarray, frame1: np.ndarray, t: float) -> np.ndarray:
    """Frame averaging: (1 - t) frame0 + t frame1, rounded half up."""
    return round_half_up(average_unrounded(frame0, frame1, t))


def average_unrounded(frame0: np.ndarray, frame1: np.ndarray, t: float) -> np.ndarray:
    """As `average`, float32."""
    return (1 - t) * frame0.astype(np.float32) + t * frame1.astype(np.float32)


def dis(frame0: np.ndarray, frame1: np.ndarray, t: float) -> np.ndarray:
    """Both references, backward-warped along DIS flow and blended by time.

    DIS runs on luma with the medium preset and finest scale 0. The motion field is half the
    difference of the forward and the backward flow, scaled to the target's time. It is not
    projected to the target's grid, and occlusion is ignored.

    Raises:
        LiftError: OpenCV is not installed.
    """
    return round_half_up(dis_unrounded(frame0, frame1, t))


def dis_unrounded(frame0: np.ndarray, frame1: np.ndarray, t: float) -> np.ndarray:
    """As `dis`, float32."""
    return warp_and_blend(frame0, frame1, dis_flow(frame0, frame1), t)


METHODS: dict[str, Method] = {"copy": copy, "average": average, "dis": dis}
UNROUNDED_METHODS: dict[str, Method] = {
    "copy": copy,
    "nearest": nearest,
    "average": average_unrounded,
    "dis": dis_unrounded,
}


def dis_cubic(frames: np.ndarray, times: list[float], left: int) -> np.ndarray:
    """As `dis` at t = 0.5, along a cubic trajectory through four frames.

    The baseline for models with more than two input frames. The adjacent motions are sampled where
    linear motion puts a point, and the distance from the straight path is smoothed. With one
    adjacent frame the trajectory is a parabola, with none a line.

    Args:
        frames: (T, H, W, 3) uint8 RGB, in the order of time.
        times: their times, the references at 0 and 1.
        left: position of the left reference.

    Raises:
        LiftError: OpenCV is not installed.
    """
    return round_half_up(_along_path(frames, times, left, 0.5, per_side=1))


def dis_quintic(frames: np.ndarray, times: list[float], left: int) -> np.ndarray:
    """As `dis_cubic`, along a trajectory of degree five through six frames.

    With one frame less it is of degree four.
    """
    return round_half_up(_along_path(frames, times, left, 0.5, per_side=2))


def dis_septic(frames: np.ndarray, times: list[float], left: int) -> np.ndarray:
    """As `dis_cubic`, along a trajectory of degree seven through eight frames.

    Where frames are missing it is of a lower degree.
    """
    return round_half_up(_along_path(frames, times, left, 0.5, per_side=3))


# By name; functions of (frames, times, left).
PATH_METHODS = {"dis_cubic": dis_cubic, "dis_quintic": dis_quintic, "dis_septic": dis_septic}
PATH_FRAMES = {"dis_cubic": 4, "dis_quintic": 6, "dis_septic": 8}  # that each reads at most
OFFSET_SIGMA = 4.0  # pixels, of the Gaussian that smooths distances from the straight path


def path_unrounded(
    name: str, frames: np.ndarray, times: list[float], left: int, t: float
) -> np.ndarray:
    """One of PATH_METHODS at any t in (0, 1), float32."""
    return _along_path(frames, times, left, t, PATH_FRAMES[name] // 2 - 1)


def _along_path(
    frames: np.ndarray, times: list[float], left: int, t: float, per_side: int
) -> np.ndarray:
    cv2 = require("cv2", "the dis baseline")
    frame0, frame1 = frames[left : left + 2]
    motion = dis_flow(frame0, frame1)
    mask = torch.ones(1, len(times), dtype=torch.bool)
    position, gap_times, exists = adjacent_frames(torch.tensor([times]), mask, per_side)
    if not exists.any():
        return warp_and_blend(frame0, frame1, motion, t)
    inner, gaps = (left, left + 1, *position[0, :-2].tolist()), []
    for near, far, there in zip(inner, position[0].tolist(), exists[0].tolist(), strict=True):
        first, second = sorted((near, far))
        gaps.append(dis_flow(frames[first], frames[second]) if there else np.zeros_like(motion))
    adjacent = AdjacentMotion(_channels_first(np.stack(gaps))[None], gap_times, exists)
    straight = _channels_first(motion)[None]
    differences = path_differences(-t * straight, (1 - t) * straight, adjacent, _warp_tensors)
    weights = path_weights(adjacent, torch.tensor([t]))[..., None, None, None]
    offset = (weights * differences).sum(1)[0].permute(1, 2, 0).numpy()
    offset = cv2.GaussianBlur(offset, (0, 0), OFFSET_SIGMA)
    return warp_and_blend(frame0, frame1, motion, t, offset)


def _channels_first(flow: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(flow).movedim(-1, -3)


def _warp_tensors(images: torch.Tensor, flows: torch.Tensor) -> torch.Tensor:
    """`warp` of (N, 2, H, W) tensors."""
    pairs = zip(images.movedim(1, 3).numpy(), flows.movedim(1, 3).numpy(), strict=True)
    return _channels_first(np.stack([warp(image, flow) for image, flow in pairs]))


def dis_flow(frame0: np.ndarray, frame1: np.ndarray) -> np.ndarray:
    """Motion from frame0 to frame1: half the difference of the forward and backward DIS flows.

    Args:
        frame0, frame1: (H, W, 3) uint8 RGB.

    Returns:
        (H, W, 2) float32, dx then dy, pixels.
    """
    forward, backward = dis_flows(frame0, frame1)
    return 0.5 * (forward - backward)


def dis_flows(frame0: np.ndarray, frame1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The DIS flows from frame0 to frame1, on the grid of frame0, and back, on that of frame1.

    Args:
        frame0, frame1: (H, W, 3) uint8 RGB.

    Returns:
        Two of (H, W, 2) float32, dx then dy, pixels.

    Raises:
        LiftError: OpenCV is not installed.
    """
    cv2 = require("cv2", "the dis baseline")
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(0)
    luma0, luma1 = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (frame0, frame1))
    return estimator.calc(luma0, luma1, None), estimator.calc(luma1, luma0, None)


def warp_and_blend(
    frame0: np.ndarray,
    frame1: np.ndarray,
    motion: np.ndarray,
    t: float,
    offset: np.ndarray | float = 0.0,
) -> np.ndarray:
    """The references warped to t, blended by time, float32.

    `offset`, (H, W, 2) in pixels, is the distance of the trajectory at t from a straight one.
    """
    warped0 = warp(frame0, -t * motion - offset)
    warped1 = warp(frame1, (1 - t) * motion - offset)
    return (1 - t) * warped0 + t * warped1


def warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Backward warp of `image` (H, W, C), (H, W, C) float32: bilinear, clamped to the border."""
    cv2 = require("cv2", "the dis baseline")
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    return cv2.remap(
        image.astype(np.float32),
        x + flow[..., 0],
        y + flow[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def round_half_up(frame: np.ndarray) -> np.ndarray:
    """A float frame in [0, 255] as uint8: rounded half up, clipped."""
    return np.clip(np.floor(frame + 0.5), 0, 255).astype(np.uint8)
