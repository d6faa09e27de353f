"""Pseudo ground truth of flow in training: DIS flow from the target itself to its references.

In training the target is known, and motion found with its help is far more accurate than any that
the references alone allow. It teaches the model's flows directly, which errors of colour do slowly.
(Distillation from flow that sees the target: Huang et al., "RIFE", ECCV 2022; Kong et al.,
"IFRNet", CVPR 2022. DIS: Kroeger et al., ECCV 2016, as OpenCV implements it.)
"""

import cv2
import numpy as np

TOLERANCE = 0.03  # of 1, the mean error of colour around a pixel up to which its flow is trusted
UNKNOWN = 0.5  # visibility of points whose flow is not trusted
WINDOW = 5  # pixels, side of the square over which that error is averaged


def target_flow(
    target: np.ndarray, left: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Flow from a target to both references, and where it can be trusted.

    Args:
        target, left, right: (H, W, 3) uint8 RGB.

    Returns:
        Flow (4, H, W), to the left and to the right reference, pixels; and visibility (2, H, W), 1
        where the reference warped by the flow shows the target's colours, else 0.5: the point may
        be hidden, or the flow wrong. Both float32.
    """
    pairs = [_flow_to(target, reference) for reference in (left, right)]
    flows, visible = zip(*pairs, strict=True)
    return np.concatenate(flows), np.stack(visible)


def _flow_to(target: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(0)
    lumas = [cv2.cvtColor(np.ascontiguousarray(x), cv2.COLOR_RGB2GRAY) for x in (target, reference)]
    flow = estimator.calc(*lumas, None)
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    warped = cv2.remap(
        np.ascontiguousarray(reference), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    error = np.abs(warped.astype(np.float32) - target).mean(2) / 255
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    visible = (cv2.blur(error, (WINDOW, WINDOW)) < TOLERANCE) & inside
    return flow.transpose(2, 0, 1), np.where(visible, 1, UNKNOWN).astype(np.float32)
