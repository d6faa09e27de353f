"""Asymmetry in time: the frame at t against the one at 1 - t of the time-reversed clip.

Nothing in the model makes the two equal; `Interpolator(reverse_average=True)` averages them.
"""

import numpy as np
import torch

from lift.data.clip import Clip
from lift.evaluation.metrics import psnr, to_uint8
from lift.evaluation.protocols.real16 import (
    as_clip,
    choose_targets,
    context_indices,
    read_frames,
    with_frame_count,
)
from lift.io.manifest import ManifestClip


@torch.inference_mode()
def reversal(
    clip: ManifestClip, model: torch.nn.Module, context_frames: int = 15, t: float = 0.25
) -> dict[str, float]:
    """Compare the frame at t with the frame at 1 - t of the time-reversed clip.

    The targets are those of protocol real16.

    Args:
        clip: a clip of the manifest.
        model: a LIFT model.
        context_frames: number of input frames, 2 or more.
        t: the time, in (0, 1).

    Returns:
        {"psnr": PSNR between the two, dB, mean over the targets, "largest": largest absolute
        difference, of 255}

    Raises:
        LiftError: the clip cannot be read, or ends before its last frame.
    """
    model.eval()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def frame_at(clip: Clip, t: float) -> np.ndarray:
        return to_uint8(model(clip, torch.tensor([t], device=device)).frame[0])

    clip = with_frame_count(clip)
    targets = choose_targets(clip.frames, clip.cuts, clip.duplicates)
    frames = read_frames(clip, targets, context_frames)
    psnrs, largest = [], 0
    for target in targets:
        indices, times, left = context_indices(target, clip.frames, clip.cuts, context_frames)
        forward = as_clip(np.stack([frames[i] for i in indices]), times, left, device)
        a, b = frame_at(forward, t), frame_at(forward.reversed(), 1 - t)
        psnrs.append(psnr(a, b))
        largest = max(largest, int(np.abs(a.astype(int) - b).max()))
    return {"psnr": float(np.mean(psnrs)), "largest": largest}
