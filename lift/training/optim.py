"""Parts of an optimiser step: learning rate, parameter groups, precision, weight average."""

import copy
import math

import torch
import torch.distributed as dist
from torch import nn

from lift.config import TrainConfig


def learning_rate(
    step: int, total_steps: int, warmup_steps: int, lr: float, lr_min: float
) -> float:
    """Learning rate of the next step: linear warm-up to `lr`, then a cosine to `lr_min`.

    It depends on the step alone, so a resumed run needs no scheduler state.

    Args:
        step: optimiser steps so far, 0 before the first one.
        total_steps: steps of the whole run, whether or not a time limit ends it earlier.
        warmup_steps: steps of the warm-up; at most half of the run is used for it.
        lr, lr_min: peak and final learning rate.

    Returns:
        A rate above 0 at step 0, `lr` at the end of the warm-up, `lr_min` from the last step on.
    """
    warmup_steps = min(warmup_steps, total_steps // 2)
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps))
    return lr_min + (lr - lr_min) * 0.5 * (1 + math.cos(math.pi * progress))


def param_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Parameter groups for AdamW: matrices and kernels decay, biases and norms do not."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def build_optimizer(model: nn.Module, settings: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; with `--sharding zero1` in several processes each has a part of its state.

    Source: ZeRO stage 1, Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion
    Parameter Models", SC 2020, as PyTorch has it.
    """
    groups, options = param_groups(model, settings.weight_decay), {"lr": settings.lr, "fused": True}
    if settings.sharding == "zero1" and dist.is_available() and dist.is_initialized():
        from torch.distributed.optim import ZeroRedundancyOptimizer  # seconds, and warnings of jit

        return ZeroRedundancyOptimizer(groups, torch.optim.AdamW, **options)
    return torch.optim.AdamW(groups, **options)


def autocast_dtype(amp: str, device: torch.device) -> torch.dtype | None:
    """The dtype of autocast for `--amp`, or None for full precision."""
    if amp == "auto" and device.type == "cpu":
        amp = "off"
    elif amp == "auto":
        amp = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return None if amp == "off" else getattr(torch, amp)


class WeightAverage:
    """Exponential moving average (EMA) of a model's weights: what is validated and shipped.

    Args:
        model: the model being trained; the average starts equal to it.
        decay: weight of the old average in each step. Early steps use less, so that the random
            initialisation is soon forgotten.

    Attributes:
        model: a copy in evaluation mode that holds the average.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Average in the weights after `step` optimiser steps, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.model.parameters()), [p.detach() for p in model.parameters()], 1 - decay
        )
        for own, new in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(new)
