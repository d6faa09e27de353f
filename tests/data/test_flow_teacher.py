"""The teacher of flows: motion from the target to its references, and where it is trusted."""

import cv2
import numpy as np
import torch

from lift import kernels
from lift.data.flow_teacher import target_flow


def scene(shift: int) -> np.ndarray:
    """A textured square (64, 96, 3) in front of another texture, moved by `shift` pixels."""
    rng = np.random.default_rng(0)
    ground, square = (
        cv2.resize(rng.integers(0, 256, (h // 4, w // 4, 3), np.uint8), (w, h))
        for h, w in ((64, 96), (32, 32))
    )
    ground[16:48, 30 + shift : 62 + shift] = square
    return ground


def test_flow_leads_from_the_target_to_both_references():
    flow, visible = target_flow(scene(0), scene(-3), scene(6))
    inside = (slice(None), slice(24, 40), slice(38, 54))
    found = np.median(flow[inside], axis=(1, 2))
    np.testing.assert_allclose(found, [-3, 0, 6, 0], atol=0.3)
    assert visible[inside].mean() > 0.95 and flow.dtype == visible.dtype == np.float32


def test_hidden_points_are_not_trusted():
    """Ground just right of the square at the target's time is hidden in the right reference."""
    _, visible = target_flow(scene(0), scene(-8), scene(8))
    assert visible[1, 20:44, 64:68].mean() < 0.7 < 0.9 < visible[0, 20:44, 64:68].mean()


def test_trusted_flow_shows_the_target_s_colours():
    target, left = scene(0), scene(-5)
    flow, visible = target_flow(target, left, target)
    image = torch.from_numpy(left).permute(2, 0, 1)[None].float()
    warped = kernels.warp(image, torch.from_numpy(flow[:2])[None])[0].permute(1, 2, 0).numpy()
    error = np.abs(warped - target).mean(2)
    assert error[visible[0] == 1].mean() < 4 and error[visible[0] == 0.5].mean() > 12
