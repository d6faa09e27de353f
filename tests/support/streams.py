"""Small frames, and the interpolator that the tests of streaming use."""

import torch

from lift.video.interpolator import Interpolator
from tests.support.video_samples import moving_frames

H, W = 22, 34  # no multiple of 16, not even of 4
EXACT = {"atol": 2e-5, "rtol": 0}


def tensors(n, height=H, width=W, tint=(120, 90, 60)):
    return [
        torch.from_numpy(f).permute(2, 0, 1).float() / 255
        for f in moving_frames(n, height, width, tint)
    ]


def interpolator(model, **options):
    return Interpolator(model, **{"detect_scenes": False, **options})
