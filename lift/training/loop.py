"""The training loop, top to bottom: set up, go on from a checkpoint, step, log, validate, keep.

Everything random in the data comes from the number of the sample in the whole run, and the learning
rate from the number of the step, so a run that goes on from a checkpoint computes what the unbroken
one would have.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lift import kernels
from lift.config import Config, TrainConfig
from lift.data.batch import Batch
from lift.data.dataset import ClipDataset, loader
from lift.errors import LiftError
from lift.model.pretrained import load_encoder
from lift.model.weights import load_into, save_weights
from lift.training import checkpoints
from lift.training.average import WeightAverage
from lift.training.distributed import Processes, join
from lift.training.history import History, of_checkpoint
from lift.training.logger import Journal, Means, Silence, StepNumbers
from lift.training.losses import total_loss
from lift.training.schedule import learning_rate
from lift.training.setup import autocast_dtype, build
from lift.training.signals import StopRequest
from lift.training.validate import validate


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        step, total_steps: optimiser steps made, earlier parts of the run included, and wanted.
        cause: why it stopped before its end: the time limit or a signal's name; empty at its end.
        signal: the signal that stopped it, or None.
        best: best validation PSNR, dB; -inf where there was none.
    """

    step: int
    total_steps: int
    cause: str
    signal: int | None
    best: float


def train(config: Config) -> Ending:
    """Train, or go on training, as the configuration says; the run's files lie in
    `config.train.output`.

    Raises:
        LiftError: a setting, a file, a device or a loss that the user can mend, in one sentence.
    """
    with join(config.train.device) as processes, StopRequest(config.train.max_minutes) as stop:
        return run(config, processes, stop)


def run(config: Config, processes: Processes, stop: StopRequest) -> Ending:
    """As `train`, among processes that have joined and with a limit that is being watched."""
    with kernels.use(config.kernels):
        going = Run(config, processes, stop)
        try:
            return going.go()
        finally:
            going.journal.close()


class Run:
    """A run between two steps: everything that a checkpoint holds, and what can be made again from
    the configuration.
    """

    def __init__(self, config: Config, processes: Processes, stop: StopRequest):
        settings = config.train
        self.config, self.settings, self.processes, self.stop = config, settings, processes, stop
        self.output = Path(settings.output)
        torch.manual_seed(settings.seed)

        per_step = settings.batch_size * processes.world
        self.data = ClipDataset(
            config.data,
            config.data.train_split,
            batch_size=per_step,
            seed=settings.seed,
            train=True,
        )
        self.held_back = ClipDataset(
            config.data,
            config.data.val_split,
            batch_size=1,
            seed=settings.seed,
            train=False,
            clips=settings.validate_clips,
        )
        self.epoch_steps = settings.epoch_steps or max(
            1, len(self.data) // (per_step * settings.accumulate)
        )
        self.total_steps = settings.epochs * self.epoch_steps

        found = checkpoints.find(self.output, settings.resume)
        self.model = build(config).to(processes.device)
        if found is None:
            _start_from(self.model, settings)
        self.network = (
            torch.compile(self.model) if settings.compile else self.model
        )  # the same weights, called through the compiler
        self.average = WeightAverage(self.model, settings.ema_decay)
        self.optimizer = torch.optim.AdamW(
            _groups(self.model, settings.weight_decay), lr=settings.lr, fused=True
        )
        self.autocast = autocast_dtype(settings.amp, processes.device)
        self.scaler = torch.amp.GradScaler(
            processes.device.type, enabled=self.autocast == torch.float16
        )

        self.step = self.validated = 0  # validated: the step of the last validation
        self.best, self.means, past = -math.inf, Means(), []
        self.unread: StepNumbers | None = None  # of the last step
        if found:
            past = self._restore(checkpoints.read(found, config))
        self.history = History(past, processes, self.autocast, self.step)
        self.kept = time.monotonic()  # when the last checkpoint was written
        self.journal = (
            Journal(self.output, self.step, self.total_steps) if processes.first else Silence()
        )
        if found:
            self._keep_weights()  # a kill may have come between the checkpoint and these
            self.journal.say(f"going on from {found}, step {self.step} of {self.total_steps}")
        elif settings.freeze_epochs and not (settings.init_weights or settings.pretrained_encoder):
            self.journal.say(
                f"the encoder starts at random and is frozen for {settings.freeze_epochs} epochs; --freeze_epochs 0 trains it "
                "from the start, --pretrained_encoder FILE gives it weights"
            )

    # -- the loop ----------------------------------------------------------------------------------

    def go(self) -> Ending:
        """Step until the end of the run or until something asks to stop; a checkpoint of the last
        step stands then.
        """
        validated = self.validated
        self._end_epoch(
            lambda: self.stop.signal is not None
        )  # a validation that the last stop broke off: once is enough
        if self.validated > validated:
            self._keep()
        batches = self._batches()
        parallel, frozen, stopping, since = None, None, False, time.monotonic()
        while self.step < self.total_steps and not stopping:
            self.model.set_epoch(self.step // self.epoch_steps)
            if self.processes.world > 1 and self.model.frozen != frozen:
                parallel, frozen = (
                    nn.parallel.DistributedDataParallel(self.network),
                    self.model.frozen,
                )
            try:
                parts = [next(batches) for _ in range(self.settings.accumulate)]
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                self._keep()
                if (
                    self.stop.wanted
                ):  # a signal to the whole process group also ended the loading processes
                    break
                raise LiftError(
                    "a loading process was killed, most often for want of memory; with fewer --num_workers the same command "
                    f"goes on from step {self.step}"
                ) from error
            launched = self._step(parallel or self.network, parts)
            self._read()  # the step before, while this one runs
            self.unread = launched
            if self.step % self.settings.log_steps == 0:
                self._read()
                now = time.monotonic()
                clips = (
                    self.settings.batch_size
                    * self.settings.accumulate
                    * self.processes.world
                    * self.config.data.targets
                )
                rate = self.settings.log_steps * clips / (now - since)
                self.journal.write(
                    self.step,
                    {
                        "epoch": (self.step - 1) // self.epoch_steps,
                        **self.means.take(),
                        "samples_per_second": rate,
                        "elapsed_seconds": self.history.seconds,
                    },
                )
                since = now
            self._end_epoch(lambda: self.stop.wanted)
            stopping = self.processes.any(self.stop.wanted)
            due = time.monotonic() - self.kept > 60 * self.settings.checkpoint_minutes
            if stopping or due or self.step % self.epoch_steps == 0:
                self._keep()
        done = self.step >= self.total_steps
        return Ending(
            self.step,
            self.total_steps,
            "" if done else self.stop.cause,
            None if done else self.stop.signal,
            self.best,
        )

    def _batches(self) -> Iterator[Batch]:
        each = self.settings.accumulate
        batches = loader(
            self.data,
            self.settings.batch_size,
            start=self.step * each,
            stop=self.total_steps * each,
            num_workers=self.config.data.num_workers,
            rank=self.processes.rank,
            world=self.processes.world,
            pin_memory=self.processes.device.type == "cuda",
        )
        with torch.random.fork_rng(
            devices=[]
        ):  # the loader starts by drawing a number, which a resumed run draws once more
            first = next(batches)
        # Where a signal goes to the whole process group, loading processes end with it, and PyTorch
        # would raise in the middle of a step; without its handler the next batch finds out.
        former = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            yield first
            yield from batches
        finally:
            signal.signal(signal.SIGCHLD, former)

    def _step(self, model: nn.Module, parts: list[Batch]) -> StepNumbers:
        """One optimiser step on the mean gradient of the parts, computed one after another.

        Nothing here waits for a GPU. A step whose loss or gradient is not finite leaves weights and
        optimiser as they were; `_read` of its numbers then raises.
        """
        settings = self.settings
        lr = learning_rate(
            self.step, self.total_steps, settings.warmup_steps, settings.lr, settings.lr_min
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        model.train()
        self.optimizer.zero_grad(set_to_none=True)
        found = []
        for i, part in enumerate(parts):
            last = i == len(parts) - 1  # gradients of all devices are added up once
            with nullcontext() if last or self.processes.world == 1 else model.no_sync():
                found.append(self._add_gradients(model, part, 1 / len(parts)))

        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_grad)
        if not self.scaler.is_enabled():  # which sets `found_inf` itself
            losses = [scalars["loss"] for scalars, _ in found]
            finite = torch.stack((norm, *losses)).isfinite().all()
            self.optimizer.found_inf = (~finite).float()  # the fused update asks for it
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self.average.update(self.model, self.step)
        clips = [(part.clip.times, part.clip.mask) for part in parts]
        return StepNumbers(self.step, lr, found, clips, norm)

    def _add_gradients(
        self, model: nn.Module, batch: Batch, share: float
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Forward and backward of a part that makes up this share of its step.

        Returns:
            Its scalars and its attention (B, T), on the device.
        """
        batch = batch.to(self.processes.device)
        with torch.autocast(
            self.processes.device.type, dtype=self.autocast, enabled=self.autocast is not None
        ):
            prediction = model(batch.clip, batch.t)
        loss, scalars = total_loss(prediction, batch, self.settings)
        self.scaler.scale(loss * share if share < 1 else loss).backward()
        return scalars, prediction.attention.detach()

    def _read(self) -> None:
        """Log the last step, unless that is done: before anything of the run is written.

        Raises:
            LiftError: its loss or gradient is not finite.
        """
        if self.unread is None:
            return
        launched, self.unread = self.unread, None
        parts, norm = launched.read()
        means = Means()
        for part in parts:
            if not math.isfinite(part["loss"]):
                raise self._not_finite("loss", launched.step)
            means.add(part)
        numbers = {**means.take(), "lr": launched.lr}
        if math.isfinite(norm):
            numbers["gradient_norm"] = norm
        elif not self.scaler.is_enabled():
            raise self._not_finite("gradient", launched.step)
        self.means.add(numbers)
        self.journal.advance(numbers["loss"], numbers["psnr"])

    def _not_finite(self, what: str, step: int) -> LiftError:
        kept = checkpoints.newest(self.output / "checkpoint")
        start = f"--init_weights {kept / 'ema.safetensors'} " if kept else ""
        amp = "" if self.autocast is None else ", half precision overflowed (--amp off)"
        return LiftError(
            f"the {what} of step {step} is not finite: the learning rate of "
            f"{self.settings.lr:g} is too high{amp} or the data holds broken frames; no checkpoint "
            f"was touched, so start again with {start}--lr {self.settings.lr / 3:.1g} and another "
            "--output"
        )

    # -- what is kept ------------------------------------------------------------------------------

    def _end_epoch(self, stop: Callable[[], bool]) -> None:
        """Validate the average where an epoch has ended and it is due, unless asked to stop."""
        epoch, rest = divmod(self.step, self.epoch_steps)
        due = (
            epoch
            and not rest
            and (epoch % self.settings.validate_epochs == 0 or self.step >= self.total_steps)
        )
        if not due or self.validated == self.step:
            return
        self._read()
        scores = validate(self.average.model, self.held_back, self.processes, stop)
        if scores is None:  # asked to stop: the resumed run validates first
            return
        self.validated = self.step
        self.journal.write(
            self.step, {"epoch": epoch - 1, **scores, "elapsed_seconds": self.history.seconds}
        )
        self.journal.say(
            f"epoch {epoch}, step {self.step}: validation PSNR {scores['val_psnr']:.3f} dB, SSIM {scores['val_ssim']:.4f}"
        )
        if scores["val_psnr"] > self.best:
            self.best = scores["val_psnr"]
            if self.processes.first:
                save_weights(
                    self.output / "best.safetensors",
                    self.average.model,
                    self.config,
                    step=str(self.step),
                    val_psnr=f"{self.best:.4f}",
                )

    def _keep(self) -> None:
        self._read()
        self.kept = time.monotonic()
        if not self.processes.first:
            return
        cuda = self.processes.device.type == "cuda"
        state = {
            "step": self.step,
            "total_steps": self.total_steps,
            "validated": self.validated,
            "best": self.best,
            "means": self.means.sums,
            "history": self.history.until(self.step),
            "world": self.processes.world,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state() if cuda else None,
        }
        checkpoints.write(
            self.output / "checkpoint", self.model, self.average.model, state, self.config
        )
        self._keep_weights()

    def _keep_weights(self) -> None:
        if self.processes.first:
            save_weights(
                self.output / "last.safetensors",
                self.average.model,
                self.config,
                step=str(self.step),
            )

    def _restore(self, checkpoint: checkpoints.Checkpoint) -> list[dict]:
        """Become what the checkpoint's run was; where its steps were made is returned."""
        state = checkpoint.state
        if state["world"] != self.processes.world:
            raise LiftError(
                f"{checkpoint.path} is of a run of {state['world']} processes, not {self.processes.world}: use as many, or "
                f"start a new run with --init_weights {checkpoint.path / 'model.safetensors'} and another --output"
            )
        checkpoint.restore(self.model, self.average.model)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        if state["cuda_random"] is not None and self.processes.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_random"])
        self.step, self.validated, self.best = (
            state[name] for name in ("step", "validated", "best")
        )
        self.means = Means(state["means"])
        return of_checkpoint(state)


# -- parts that are made from the configuration ----------------------------------------------------


def _start_from(model: nn.Module, settings: TrainConfig) -> None:
    """Give a fresh model the weights that the configuration names."""
    if settings.init_weights:
        load_into(model, settings.init_weights)
    if settings.pretrained_encoder:
        print(load_encoder(model.encoder, settings.pretrained_encoder))


def _groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Matrices and kernels decay; biases, norms and other vectors do not."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
