"""Scores of a model on the validation clips."""

from collections.abc import Callable

import torch
from torch import nn
from torchmetrics.functional.image import structural_similarity_index_measure

from lift.data.dataset import ClipDataset, collate
from lift.training.distributed import Processes
from lift.training.losses import psnr


@torch.no_grad()
def validate(
    model: nn.Module,
    dataset: ClipDataset,
    processes: Processes,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """PSNR in dB and SSIM of the made frames, averaged per clip.

    Args:
        model: in evaluation mode.
        dataset: the validation clips.
        processes: the clips are shared among them.
        stop: asked before each clip; every process stops when it says so.

    Returns:
        val_psnr and val_ssim (nan where there are no clips), or None when stopped before the end.
    """
    sums, count, stopped = torch.zeros(2, dtype=torch.float64, device=processes.device), 0, False
    for g in range(processes.rank, len(dataset), processes.world):
        if stopped := stop():
            break
        batch = collate([dataset[g]]).to(processes.device)
        frame = model(batch.clip, batch.t).frame.float().clamp(0, 1)
        ssim = structural_similarity_index_measure(frame, batch.target, data_range=1.0)
        sums += torch.stack((psnr(frame, batch.target).mean(), ssim))
        count += 1
    *sums, count, stops = processes.sum([*sums.tolist(), float(count), float(stopped)])
    if stops:
        return None
    return (
        {"val_psnr": sums[0] / count, "val_ssim": sums[1] / count}
        if count
        else {"val_psnr": float("nan"), "val_ssim": float("nan")}
    )
