"""Scores of a model on the validation clips."""

from collections.abc import Callable

import torch
from torch import nn
from torchmetrics.functional.image import structural_similarity_index_measure

from lift.data.dataset import ClipDataset
from lift.data.sample import collate
from lift.training.distributed import DistributedContext
from lift.training.losses import batch_psnr


@torch.no_grad()
def validate(
    model: nn.Module,
    dataset: ClipDataset,
    distributed: DistributedContext,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """PSNR in dB and SSIM of generated frames, averaged over the clips.

    Args:
        model: in evaluation mode.
        dataset: the validation clips.
        distributed: its processes share the clips.
        stop: called before each clip; if it returns True in any process, all stop.

    Returns:
        val_psnr and val_ssim (NaN if there are no clips), or None if stopped before the end.
    """
    device = distributed.device
    sums, count, stopped = torch.zeros(2, dtype=torch.float64, device=device), 0, False
    for g in range(distributed.rank, len(dataset), distributed.world_size):
        if stopped := stop():
            break
        batch = collate([dataset[g]]).to(device)
        frame = model(batch.clip, batch.t).frame.float().clamp(0, 1)
        ssim = structural_similarity_index_measure(frame, batch.target, data_range=1.0)
        sums += torch.stack((batch_psnr(frame, batch.target).mean(), ssim))
        count += 1
    psnr, ssim, count, stops = distributed.sum([*sums.tolist(), float(count), float(stopped)])
    if stops:
        return None
    if not count:
        return {"val_psnr": float("nan"), "val_ssim": float("nan")}
    return {"val_psnr": psnr / count, "val_ssim": ssim / count}
