"""tOF: how far the motion to a generated frame is from the motion to the true one.

Source: Chu et al., "Learning Temporal Coherence via Self-Supervision for GAN-based Video
Generation" (TecoGAN), ACM TOG 2020: distance between Farneback flows of generated and of true
frames. Here both flows start at the left reference, the frame before the target, which is a true
frame in either video.
"""

import numpy as np

from lift.io.optional import require


def tof(frame: np.ndarray, truth: np.ndarray, reference: np.ndarray) -> float:
    """Mean endpoint distance between two flows that start at `reference`, pixels.

    Args:
        frame: the generated frame, (H, W, 3) uint8 RGB.
        truth: the true frame.
        reference: the left reference.

    Raises:
        ValueError: the shapes differ.
        LiftError: OpenCV is not installed.
    """
    if not frame.shape == truth.shape == reference.shape:
        raise ValueError(
            f"tof: all frames must have one shape, got {frame.shape}, {truth.shape} and "
            f"{reference.shape}"
        )
    difference = _flow(reference, frame) - _flow(reference, truth)
    return float(np.hypot(difference[..., 0], difference[..., 1]).mean())


def _flow(frame0: np.ndarray, frame1: np.ndarray) -> np.ndarray:
    """(H, W, 2) float32 with the parameters of TecoGAN's evaluation."""
    cv2 = require("cv2", "tOF")
    luma0, luma1 = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (frame0, frame1))
    return cv2.calcOpticalFlowFarneback(
        luma0,
        luma1,
        None,
        pyr_scale=0.5,
        levels=3,
        winsize=15,
        iterations=3,
        poly_n=5,
        poly_sigma=1.2,
        flags=0,
    )
