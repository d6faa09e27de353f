"""LPIPS: distance of two frames in the features of AlexNet.

Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR
2018; version 0.1 with AlexNet, as papers on interpolation report it, computed by torchmetrics.
"""

from pathlib import Path

import numpy as np
import torch

from lift.errors import LiftError
from lift.io.optional import require

ALEXNET = "alexnet-owt-7be5be79.pth"
URL = f"https://download.pytorch.org/models/{ALEXNET}"


def check_lpips() -> None:
    """Make sure that LPIPS can be computed here, without a download.

    Raises:
        LiftError: torchvision is not installed, or AlexNet's weights are not on this machine.
    """
    require("torchvision", "LPIPS")
    path = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
    if not path.is_file():
        raise LiftError(
            f"LPIPS needs the weights of AlexNet, and {path} does not exist; download them once "
            f"(233 MB): curl --create-dirs -o {path} {URL}"
        )


def lpips(frame: np.ndarray, truth: np.ndarray) -> float:
    """LPIPS of two 8-bit frames: 0 for equal ones, larger is worse.

    Args:
        frame, truth: (H, W, 3) uint8.

    Raises:
        LiftError: as `check_lpips`.
    """
    check_lpips()
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    # in [-1, 1], as the weights expect
    x, y = (torch.from_numpy(f).permute(2, 0, 1)[None].float() / 127.5 - 1 for f in (frame, truth))
    with torch.inference_mode():
        return float(learned_perceptual_image_patch_similarity(x, y, net_type="alex"))
