"""The state of training that an optimiser step changes, and the step itself."""

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from lift.config import Config, TrainConfig
from lift.data.clip import Batch
from lift.model.lift import LIFT
from lift.model.pretrained import load_encoder, weights_path
from lift.model.weights import load_into
from lift.training.cuda_graph import GraphedGradients
from lift.training.distributed import max_over_processes
from lift.training.losses import total_loss
from lift.training.optim import WeightAverage, autocast_dtype, build_optimizer, param_groups
from lift.training.scalars import StepScalars


def build_model(config: Config) -> LIFT:
    """A LIFT with random weights, in the memory format and with the checkpointing of the config."""
    model = LIFT(config.model, config.kernels)
    model.freeze_epochs = config.train.freeze_epochs
    model.trained_stages = config.train.stages
    model.encoder.recompute = config.train.recompute_encoder
    model.refine.recompute = model.flow.recompute = config.train.recompute_refine
    if config.train.channels_last:
        for p in model.parameters():
            if p.ndim == 4:
                p.data = p.data.contiguous(memory_format=torch.channels_last)
    return model


def load_initial_weights(model: LIFT, settings: TrainConfig) -> None:
    """Load the weights that `--init_weights` and `--pretrained_encoder` name into a new model."""
    if settings.init_weights:
        load_into(model, weights_path(settings.init_weights))
    if settings.pretrained_encoder:
        print(load_encoder(model.encoder, settings.pretrained_encoder))


class TrainState:
    """Everything that an optimiser step changes.

    Args:
        model: the model to train, on `device`.
        settings: of the optimisation.
        device: where the model is.

    Attributes:
        network: the model, compiled if the settings ask for it; what a step calls.
        ema: the average of the weights.
        autocast: dtype of mixed precision, None for full precision.
        graphed: the gradients of a batch as a CUDA graph, or None.
        step: optimiser steps so far.
        norm_limit: largest gradient norm of the next step; ignored with float16.
    """

    def __init__(self, model: nn.Module, settings: TrainConfig, device: torch.device):
        self.model, self.settings, self.device = model, settings, device
        self.network = torch.compile(model) if settings.compile else model  # shares the weights
        self.ema = WeightAverage(model, settings.ema_decay)
        self.optimizer = build_optimizer(model, settings)
        self.autocast = autocast_dtype(settings.amp, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.autocast == torch.float16)
        self.graphed = GraphedGradients(model, self._forward) if settings.cuda_graph else None
        self.step, self.norm_limit = 0, math.inf

    @property
    def is_sharded(self) -> bool:
        """Whether every process has only a part of the state."""
        return hasattr(self.optimizer, "consolidate_state_dict")

    def consolidate(self) -> None:
        """Collect the state of all processes in the main one; every process must call it."""
        if self.is_sharded:
            self.optimizer.consolidate_state_dict(to=0)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint stores beside the weights."""
        return {
            "step": self.step,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; the weights are loaded separately."""
        self.step = state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, now in zip(
            self.optimizer.param_groups,
            param_groups(self.model, self.settings.weight_decay),
            strict=True,
        ):
            group["weight_decay"] = now["weight_decay"]  # it may have been changed
        self.scaler.load_state_dict(state["scaler"])

    # -- one step ----------------------------------------------------------------------------------

    def train_step(self, network: nn.Module, batches: list[Batch], lr: float) -> StepScalars:
        """One optimiser step on the mean gradient of the batches, computed one after another.

        Nothing here waits for a GPU. A step is skipped, and leaves weights and optimiser unchanged,
        if its loss or gradient is not finite in any process, or its norm exceeds `norm_limit`; the
        scalars state it once they are read. Only the last step before a log entry has attention
        weights.

        Args:
            network: `self.network`, or its DistributedDataParallel.
            batches: the batches whose gradients are accumulated.
            lr: learning rate of this step.

        Returns:
            The scalars to log, which the device may still be computing.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        network.train()
        self.optimizer.zero_grad(set_to_none=True)
        results, logged = [], (self.step + 1) % self.settings.log_steps == 0
        for i, batch in enumerate(batches):
            last = i == len(batches) - 1  # gradients of all devices are added up once
            wait = not last and isinstance(network, nn.parallel.DistributedDataParallel)
            with network.no_sync() if wait else nullcontext():
                results.append(self._accumulate_gradients(network, batch, 1 / len(batches), logged))

        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_grad)
        losses = [scalars["loss"] for scalars, _ in results]
        skipped = (~torch.stack((norm, *losses)).isfinite().all()).float()
        if not self.scaler.is_enabled():  # an enabled scaler sets `found_inf` itself
            if self.norm_limit < math.inf:
                skipped = torch.maximum(skipped, (norm > self.norm_limit).float())
            skipped = max_over_processes(skipped)
            fused = self.optimizer.optim if self.is_sharded else self.optimizer
            fused.found_inf = skipped  # the fused update reads it
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self.ema.update(self.model, self.step)
        clips = [(batch.clip.times, batch.clip.mask) for batch in batches]
        return StepScalars(self.step, lr, results, clips, norm, skipped)

    def _accumulate_gradients(
        self, network: nn.Module, batch: Batch, weight: float, with_attention: bool
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        """Forward and backward of one batch, whose loss is multiplied by `weight`.

        Returns:
            Its scalars and, if wanted, its attention (B, T), on the device.
        """
        batch = batch.to(self.device)
        if self.graphed is not None:
            scalars, attention = self.graphed(batch, weight)
        else:
            # Not to compile the model twice, as a graph is not recorded twice.
            computed = with_attention or self.settings.compile
            loss, scalars, attention = self._forward(batch, weight, network, computed)
            loss.backward()
        return scalars, attention if with_attention else None

    def _forward(self, batch, weight, network=None, with_attention=True):
        """The loss to be differentiated, the scalars to log, and attention (B, T) or None."""
        network = self.network if network is None else network
        enabled = self.autocast is not None
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=enabled):
            prediction = network(batch.clip, batch.t, with_attention=with_attention)
        loss, scalars = total_loss(prediction, batch, self.settings)
        loss = self.scaler.scale(loss * weight if weight < 1 else loss)
        attention = prediction.attention
        return loss, scalars, None if attention is None else attention.detach()
