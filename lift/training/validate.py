"""Scores of a model on the validation clips, with pictures of some of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torchmetrics.functional.image import structural_similarity_index_measure

from lift.config import TrainConfig
from lift.data.dataset import ClipDataset
from lift.data.sample import collate
from lift.training.distributed import DistributedContext
from lift.training.losses import batch_psnr, total_loss
from lift.training.pictures import draw_clip
from lift.training.scalars import weights_by_offset


@dataclass(frozen=True)
class Validation:
    """Scores, and what a log shows of some clips.

    Attributes:
        scores: val_loss, val_psnr in dB and val_ssim, averaged over the clips; NaN without clips.
        clips: how many clips were scored, by all processes.
        pictures: number of a clip, and (H, W, 3) uint8, for the first clips.
        attention: attention weights by time offset, of this process's clips.
    """

    scores: dict[str, float]
    clips: int
    pictures: list[tuple[int, np.ndarray]] = field(default_factory=list)
    attention: dict[int, list[float]] = field(default_factory=dict)


@torch.no_grad()
def validate(
    model: nn.Module,
    dataset: ClipDataset,
    distributed: DistributedContext,
    settings: TrainConfig,
    stop: Callable[[], bool] = lambda: False,
    max_seconds: float = float("inf"),
) -> Validation | None:
    """Score generated frames.

    Args:
        model: in evaluation mode.
        dataset: the validation clips.
        distributed: its processes share the clips.
        settings: weights of the losses, and the number of clips to draw.
        stop: called before each clip; if it returns True in any process, all stop.
        max_seconds: after which no further clip is scored; at least one is.

    Returns:
        The scores, or None if stopped before the end.
    """
    device, deadline = distributed.device, time.monotonic() + max_seconds
    sums, count, stopped = torch.zeros(3, dtype=torch.float64, device=device), 0, False
    pictures, attention = [], {}
    for g in range(distributed.rank, len(dataset), distributed.world_size):
        if stopped := stop():
            break
        if count and time.monotonic() > deadline:
            break
        batch = collate([dataset[g]]).to(device)
        prediction = model(batch.clip, batch.t)
        frame = prediction.frame.float().clamp(0, 1)
        ssim = structural_similarity_index_measure(frame, batch.target, data_range=1.0)
        loss = total_loss(prediction, batch, settings)[0]
        sums += torch.stack((loss, batch_psnr(frame, batch.target).mean(), ssim))
        count += 1
        shown = prediction.frame, prediction.state, prediction.attention
        if not all(x.isfinite().all() for x in shown):  # of bad weights: the scores say it all
            continue
        weights = prediction.attention.float().cpu(), batch.clip.times.cpu(), batch.clip.mask.cpu()
        for offset, found in weights_by_offset(*weights).items():
            attention.setdefault(offset, []).extend(found)
        if g < settings.picture_clips and distributed.is_main:
            pictures.append((g, draw_clip(batch, prediction)))
    *totals, count, stops = distributed.sum([*sums.tolist(), float(count), float(stopped)])
    if stops:
        return None
    names = ("val_loss", "val_psnr", "val_ssim")
    scores = {n: x / count if count else float("nan") for n, x in zip(names, totals, strict=True)}
    return Validation(scores, int(count), pictures, attention)
