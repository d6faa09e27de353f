"""The training loop.

The data of a step depends only on the number of its samples in the whole run, and the learning
rate only on the number of the step, so a run resumed from a checkpoint computes exactly what the
unbroken run would have.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lift import kernels
from lift.config import Config
from lift.data.clip import Batch
from lift.data.dataset import ClipDataset
from lift.data.loader import loader
from lift.errors import LiftError
from lift.model.weights import save_weights
from lift.provenance import RunHistory, stored_history
from lift.training import checkpoints
from lift.training.distributed import DistributedContext, init_distributed
from lift.training.logger import NullLogger, RunLogger
from lift.training.optim import learning_rate
from lift.training.scalars import RunningMeans, StepScalars
from lift.training.signals import StopRequest
from lift.training.state import TrainState, build_model, load_initial_weights
from lift.training.validate import validate


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        step: optimiser steps so far, those before a resume included.
        total_steps: optimiser steps of the whole run.
        stopped_by: the time limit or a signal's name; empty if the run is finished.
        signal: the signal that stopped the run, or None.
        best_psnr: best validation PSNR, dB; -inf without a validation.
    """

    step: int
    total_steps: int
    stopped_by: str
    signal: int | None
    best_psnr: float


def train(config: Config) -> TrainResult:
    """Train or resume; files are written to `config.train.output`.

    Raises:
        LiftError: a wrong setting, file or device, or a loss that is not finite; one sentence.
    """
    with (
        init_distributed(config.train.device) as distributed,
        StopRequest(config.train.max_minutes) as stop,
    ):
        return run(config, distributed, stop)


def run(config: Config, distributed: DistributedContext, stop: StopRequest) -> TrainResult:
    """As `train`, in a process group and under a stop request that exist already."""
    with kernels.use(config.kernels):
        trainer = Trainer(config, distributed, stop)
        try:
            return trainer.fit()
        finally:
            trainer.logger.close()


class Trainer:
    """A training run: the state of training, its data, and what is logged.

    Construction restores the newest checkpoint, if there is one to resume from.
    """

    def __init__(self, config: Config, distributed: DistributedContext, stop: StopRequest):
        settings = config.train
        self.config, self.settings = config, settings
        self.distributed, self.stop = distributed, stop
        if settings.cuda_graph and distributed.world_size > 1:
            raise LiftError("--cuda_graph trains on one GPU; leave it out to train on several")
        self.output = Path(settings.output)
        torch.manual_seed(settings.seed)

        per_step = settings.batch_size * distributed.world_size
        self.train_data = _dataset(config, config.data.train_split, per_step, train=True)
        self.val_data = _dataset(
            config, config.data.val_split, 1, train=False, clips=settings.validate_clips
        )
        samples = per_step * settings.accumulate
        self.epoch_steps = settings.epoch_steps or max(1, len(self.train_data) // samples)
        self.total_steps = settings.epochs * self.epoch_steps

        found = checkpoints.find(self.output, settings.resume)
        model = build_model(config).to(distributed.device)
        if found is None:
            load_initial_weights(model, settings)
        self.state = TrainState(model, settings, distributed.device)
        self.validated_step, self.best_psnr = 0, -math.inf
        self.means = RunningMeans()  # of the scalars since the last log entry
        self.pending: StepScalars | None = None  # of the last step, not yet read
        self._ddp, self._ddp_frozen = None, None
        past = self._restore(checkpoints.read(found, config)) if found else []
        self.history = RunHistory(
            past, distributed.device, distributed.world_size, self.state.autocast, self.step
        )
        self.last_checkpoint = self.last_log = time.monotonic()
        self.logger = (
            RunLogger(self.output, self.step, self.total_steps)
            if distributed.is_main
            else NullLogger()
        )
        self._announce(found)

    @property
    def step(self) -> int:
        """Optimiser steps so far."""
        return self.state.step

    # -- the loop ----------------------------------------------------------------------------------

    def fit(self) -> TrainResult:
        """Train to the last step, or until a signal or the time limit; then a checkpoint exists."""
        self._repeat_interrupted_validation()
        batches, stopping, self.last_log = self._batches(), False, time.monotonic()
        while self.step < self.total_steps and not stopping:
            self.state.model.set_epoch(self.step // self.epoch_steps)
            parts = self._next_batches(batches)
            if parts is None:
                break
            launched = self.state.train_step(self._network(), parts, self._learning_rate())
            self._read_pending()  # the step before, while this one runs
            self.pending = launched
            if self.step % self.settings.log_steps == 0:
                self._write_log()
            self._validate_if_due(lambda: self.stop.wanted)
            stopping = self.distributed.any(self.stop.wanted)
            if stopping or self._checkpoint_due():
                self.save_checkpoint()
        finished = self.step >= self.total_steps
        return TrainResult(
            self.step,
            self.total_steps,
            "" if finished else self.stop.cause,
            None if finished else self.stop.signal,
            self.best_psnr,
        )

    def _learning_rate(self) -> float:
        s = self.settings
        return learning_rate(self.step, self.total_steps, s.warmup_steps, s.lr, s.lr_min)

    def _network(self) -> nn.Module:
        """What a step calls; wrapped anew for several processes when the encoder thaws."""
        if self.distributed.world_size == 1:
            return self.state.network
        if self._ddp is None or self.state.model.frozen != self._ddp_frozen:
            self._ddp = nn.parallel.DistributedDataParallel(self.state.network)
            self._ddp_frozen = self.state.model.frozen
        return self._ddp

    # -- data --------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[Batch]:
        per_step = self.settings.accumulate
        batches = loader(
            self.train_data,
            self.settings.batch_size,
            start=self.step * per_step,
            stop=self.total_steps * per_step,
            num_workers=self.config.data.num_workers,
            rank=self.distributed.rank,
            world=self.distributed.world_size,
            pin_memory=self.distributed.device.type == "cuda",
        )
        # The loader starts by drawing a random number, which a resumed run would draw once more.
        with torch.random.fork_rng(devices=[]):
            first = next(batches)
        # A signal to the whole process group ends the loading processes too, and PyTorch's handler
        # would raise in the middle of a step; without it the next batch raises.
        former = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            yield first
            yield from batches
        finally:
            signal.signal(signal.SIGCHLD, former)

    def _next_batches(self, batches: Iterator[Batch]) -> list[Batch] | None:
        """The batches of a step; None if a stop signal also ended the loading processes.

        Raises:
            LiftError: a loading process was killed.
        """
        try:
            return [next(batches) for _ in range(self.settings.accumulate)]
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            self.save_checkpoint()
            if self.stop.wanted:
                return None
            raise LiftError(
                "a loading process was killed, most often because memory ran out; the same command "
                f"with fewer --num_workers resumes from step {self.step}"
            ) from error

    # -- logging and validation --------------------------------------------------------------------

    def _read_pending(self) -> None:
        """Add the last step's scalars to the running means, unless that is done already.

        Called before anything of the run is written.

        Raises:
            LiftError: its loss or gradient is not finite.
        """
        if self.pending is None:
            return
        launched, self.pending = self.pending, None
        parts, norm = launched.read()
        if what := self.state.non_finite([part["loss"] for part in parts], norm):
            raise self._non_finite_error(what, launched.step)
        means = RunningMeans()
        for part in parts:
            means.add(part)
        scalars = {**means.take(), "lr": launched.lr}
        if math.isfinite(norm):
            scalars["gradient_norm"] = norm
        self.means.add(scalars)
        self.logger.advance(scalars["loss"], scalars["psnr"])

    def _non_finite_error(self, what: str, step: int) -> LiftError:
        found = checkpoints.latest(self.output / "checkpoint")
        start = f"--init_weights {found / 'ema.safetensors'} " if found else ""
        amp = "" if self.state.autocast is None else ", half precision overflowed (--amp off)"
        return LiftError(
            f"the {what} of step {step} is not finite: the learning rate of "
            f"{self.settings.lr:g} is too high{amp} or the data has broken frames; no checkpoint "
            f"was changed, so start again with {start}--lr {self.settings.lr / 3:.1g} and another "
            "--output"
        )

    def _write_log(self) -> None:
        self._read_pending()
        now = time.monotonic()
        samples = (
            self.settings.log_steps
            * self.settings.batch_size
            * self.settings.accumulate
            * self.distributed.world_size
            * self.config.data.targets
        )
        scalars = {
            "epoch": (self.step - 1) // self.epoch_steps,
            **self.means.take(),
            "samples_per_second": samples / (now - self.last_log),
            "elapsed_seconds": self.history.seconds,
        }
        self.logger.write(self.step, scalars)
        self.last_log = now

    def _validate_if_due(self, stop: Callable[[], bool]) -> None:
        """Validate the averaged weights at the end of an epoch that calls for it.

        Skipped when `stop` returns True on the way; a resumed run then validates first.
        """
        epoch, rest = divmod(self.step, self.epoch_steps)
        if not epoch or rest or self.validated_step == self.step:
            return
        if epoch % self.settings.validate_epochs and self.step < self.total_steps:
            return
        self._read_pending()
        scores = validate(self.state.ema.model, self.val_data, self.distributed, stop)
        if scores is None:
            return
        self.validated_step = self.step
        elapsed = self.history.seconds
        self.logger.write(self.step, {"epoch": epoch - 1, **scores, "elapsed_seconds": elapsed})
        self.logger.message(
            f"epoch {epoch}, step {self.step}: validation PSNR {scores['val_psnr']:.3f} dB, "
            f"SSIM {scores['val_ssim']:.4f}"
        )
        if scores["val_psnr"] > self.best_psnr:
            self.best_psnr = scores["val_psnr"]
            self._save_average("best.safetensors", val_psnr=f"{self.best_psnr:.4f}")

    def _repeat_interrupted_validation(self) -> None:
        """Make up for a validation that the last stop interrupted, so that it runs only once."""
        before = self.validated_step
        self._validate_if_due(lambda: self.stop.signal is not None)
        if self.validated_step > before:
            self.save_checkpoint()

    # -- checkpoints -------------------------------------------------------------------------------

    def _checkpoint_due(self) -> bool:
        elapsed = time.monotonic() - self.last_checkpoint
        return elapsed > 60 * self.settings.checkpoint_minutes or self.step % self.epoch_steps == 0

    def save_checkpoint(self) -> None:
        """Write a checkpoint of the last step, and the averaged weights beside it."""
        self._read_pending()
        self.last_checkpoint = time.monotonic()
        if not self.distributed.is_main:
            return
        cuda = self.distributed.device.type == "cuda"
        state = {
            **self.state.state_dict(),
            "total_steps": self.total_steps,
            "validated": self.validated_step,
            "best": self.best_psnr,
            "means": self.means.sums,
            "history": self.history.entries_until(self.step),
            "world": self.distributed.world_size,
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state() if cuda else None,
        }
        checkpoints.write(
            self.output / "checkpoint", self.state.model, self.state.ema.model, state, self.config
        )
        self._save_average("last.safetensors")

    def _save_average(self, name: str, **metadata: str) -> None:
        if self.distributed.is_main:
            metadata = {"step": str(self.step), **metadata}
            save_weights(self.output / name, self.state.ema.model, self.config, **metadata)

    def _restore(self, checkpoint: checkpoints.Checkpoint) -> list[dict]:
        """Restore everything from a checkpoint; returns the run's history."""
        state, world_size = checkpoint.state, self.distributed.world_size
        if state["world"] != world_size:
            start = checkpoint.path / "model.safetensors"
            raise LiftError(
                f"{checkpoint.path} was written by {state['world']} processes, not {world_size}: "
                f"use as many, or start a new run with --init_weights {start} and another --output"
            )
        checkpoint.restore(self.state.model, self.state.ema.model)
        self.state.load_state_dict(state)
        torch.set_rng_state(state["random"])
        if state["cuda_random"] is not None and self.distributed.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_random"])
        self.validated_step, self.best_psnr = state["validated"], state["best"]
        self.means = RunningMeans(state["means"])
        return stored_history(state)

    def _announce(self, found: Path | None) -> None:
        settings = self.settings
        if found:
            self._save_average("last.safetensors")  # a kill may have come before it was written
            self.logger.message(f"resuming from {found}, step {self.step} of {self.total_steps}")
        elif settings.freeze_epochs and not (settings.init_weights or settings.pretrained_encoder):
            self.logger.message(
                f"the encoder has random weights and is frozen for {settings.freeze_epochs} "
                "epochs; --freeze_epochs 0 trains it from the start, --pretrained_encoder FILE "
                "loads weights"
            )


def _dataset(config: Config, split: str, batch_size: int, **options) -> ClipDataset:
    seed = config.train.seed
    return ClipDataset(config.data, split, batch_size=batch_size, seed=seed, **options)
