"""How far a model is from treating both directions of time alike: t of a clip against 1 - t of the
clip played backwards.

Nothing in the model makes the two equal; `Interpolator(reverse_average=True)` does, by averaging
them.
"""

import numpy as np
import torch

from lift.evaluation.metrics import psnr, to_uint8
from lift.evaluation.small import RealClip, choose_targets, clip_of, context_of, read_frames


@torch.inference_mode()
def reversal(
    clip: RealClip, model: torch.nn.Module, context: int = 15, t: float = 0.25
) -> dict[str, float]:
    """Compare a frame at t with the same frame made from the reversed clip at 1 - t, at the targets
    of protocol small.

    Args:
        clip: a clip of the manifest.
        model: a LIFT model.
        context: input frames, 2 or more.
        t: the time, in (0, 1).

    Returns:
        {"psnr": of the one against the other, dB, mean over the targets, "largest": the largest
        difference of a value, of 255}

    Raises:
        LiftError: the clip cannot be read, or ends before its last frame.
    """
    model.eval()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    targets = choose_targets(clip.frames, clip.cuts, clip.duplicates)
    frames = read_frames(clip, targets, context)
    decibels, largest = [], 0
    for target in targets:
        indices, times, left = context_of(target, clip.frames, clip.cuts, context)
        forwards = clip_of(np.stack([frames[i] for i in indices]), times, left, device)
        a, b = (
            to_uint8(model(way, torch.tensor([at], device=device)).frame[0])
            for way, at in ((forwards, t), (forwards.reversed(), 1 - t))
        )
        decibels.append(psnr(a, b))
        largest = max(largest, int(np.abs(a.astype(int) - b).max()))
    return {"psnr": float(np.mean(decibels)), "largest": largest}
