"""The training loop.

The data of a step depends only on the number of its samples in the whole run, and the learning
rate only on the number of the step, so a run resumed from a checkpoint computes exactly what the
unbroken run would have.
"""

import math
import resource
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
from lift.errors import LiftError
from lift.files import write_error
from lift.model.weights import save_weights
from lift.provenance import RunHistory, stored_history
from lift.training import checkpoints
from lift.training.changes import changed_settings, in_words, unused_weights
from lift.training.data import TrainingData, describe
from lift.training.distributed import DistributedContext, init_distributed
from lift.training.lock import RunLock
from lift.training.logger import NullLogger, RunLogger
from lift.training.optim import learning_rate
from lift.training.scalars import RunningMeans, StepScalars
from lift.training.signals import StoppedAtOnce, StopRequest
from lift.training.state import TrainState, build_model, load_initial_weights
from lift.training.step_guard import StepGuard
from lift.training.timeline import Timeline
from lift.training.validate import validate

# Of a run that its time limit ends before a validation: seconds at least, and share of the limit.
LEAST_VALIDATION, VALIDATION_SHARE = 20.0, 0.1
RETRY, PATIENCE = 10.0, 60.0  # seconds between attempts at a checkpoint on a full disk, and in all


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        step: optimiser steps so far, those before a resume included; 0 if a signal came before all.
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
        LiftError: a wrong setting, file or device, or too many skipped steps; one sentence.
    """
    with (
        init_distributed(config.train.device) as distributed,
        StopRequest(config.train.max_minutes) as stop,
    ):
        return run(config, distributed, stop)


def run(config: Config, distributed: DistributedContext, stop: StopRequest) -> TrainResult:
    """As `train`, in a process group and under a stop request that exist already."""
    lock, trainer = RunLock(Path(config.train.output)), None
    # Of several processes the others would wait for one that ends alone.
    stop.at_once = distributed.world_size == 1
    try:
        with kernels.use(config.kernels):
            trainer = Trainer(config, distributed, stop, lock)
            try:
                return trainer.fit()
            finally:
                trainer.logger.close()
    except StoppedAtOnce:
        if trainer is None:
            return TrainResult(0, 0, stop.cause, stop.signal, -math.inf)
        return trainer.result(finished=False)
    finally:
        stop.at_once = False
        lock.release()


class Trainer:
    """A training run: the state of training, its data, and what is logged.

    Construction restores the newest checkpoint, if there is one to resume from.
    """

    def __init__(
        self,
        config: Config,
        distributed: DistributedContext,
        stop: StopRequest,
        lock: RunLock | None = None,
    ):
        settings = config.train
        self.config, self.settings = config, settings
        self.distributed, self.stop = distributed, stop
        if settings.cuda_graph and distributed.world_size > 1:
            raise LiftError("--cuda_graph trains on one GPU; leave it out to train on several")
        self.output = Path(settings.output)
        self.folder = self.output / "checkpoint"
        lock = lock if lock and distributed.is_main else None
        if lock:
            lock.acquire()
        torch.manual_seed(settings.seed)

        self.data = TrainingData(config, distributed)
        self.val_data = ClipDataset(
            config.data,
            config.data.val_split,
            batch_size=1,
            seed=settings.seed,
            train=False,
            clips=settings.validate_clips,
        )
        self.timeline = Timeline(settings.epochs, self.data.epoch_steps)

        found = checkpoints.find(self.output, settings.resume)
        model = build_model(config).to(distributed.device)
        self.has_given_encoder = bool(settings.init_weights or settings.pretrained_encoder)
        if found is None:
            load_initial_weights(model, settings)
        self.state = TrainState(model, settings, distributed.device)
        self.validated_step, self.best_psnr, self.best_clips = 0, -math.inf, 0
        self.means = RunningMeans()  # of the scalars since the last log entry
        self.guard = StepGuard(settings.spike_ratio)
        self.pending: StepScalars | None = None  # of the last step, not yet read
        self._ddp, self._ddp_frozen = None, None
        past, self.changes, self.unused = [], {}, []
        if found:
            past = self._restore(checkpoints.read(found, config, on_purpose=True))
        self.total_steps = max(self.timeline.total_steps, self.step)
        if not self.has_given_encoder:
            model.freeze_epochs = 0  # random weights are no start to hold on to
        self.history = RunHistory(
            past, distributed.device, distributed.world_size, self.state.autocast, self.step
        )
        if self.changes:
            self.history.current["changed"] = in_words(self.changes)
        self.last_checkpoint = self.last_log = time.monotonic()
        self._epoch_unsaved = False
        self._failed_since: float | None = None  # the time of the first checkpoint that failed
        if lock:
            lock.name_owner()
        self.logger = (
            RunLogger(self.output, self.step, self.total_steps, config)
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
        """Train to the last step, or until a signal or the time limit; then a checkpoint exists.

        Raises:
            LiftError: data that cannot be read, a file that cannot be written, or too many skipped
                steps in a row.
        """
        self._repeat_interrupted_validation()
        steps, self.last_log = self.data.steps(self.total_steps - self.step), time.monotonic()
        finished, stopping = self.step >= self.total_steps, False
        while not finished and not stopping:
            self.state.model.set_epoch(self.timeline.epochs_before(self.step))
            parts = self._next_batches(steps)
            if parts is None:
                break
            self._name_damaged_samples()
            self.state.norm_limit = self.guard.limit(self.step + 1)
            launched = self.state.train_step(self._network(), parts, self._learning_rate())
            self.stop.at_once = False
            self._read_pending()  # the step before, while this one runs
            self.pending = launched
            self._epoch_unsaved |= self.timeline.ends_epoch(self.step)
            if self.step % self.settings.log_steps == 0:
                self._write_log()
            self._validate_if_due(lambda: self.stop.wanted)
            stopping, due = self.distributed.any_of(self.stop.wanted, self._checkpoint_due())
            finished = self.step >= self.total_steps
            if finished:
                self._check_ending()
            if stopping or due or finished:
                self._save_checkpoint_patiently(is_last=stopping or finished)
        if stopping:
            self._validate_at_time_limit()
        return self.result(finished)

    def result(self, finished: bool) -> TrainResult:
        """How the run has ended."""
        cause, number = ("", None) if finished else (self.stop.cause, self.stop.signal)
        return TrainResult(self.step, self.total_steps, cause, number, self.best_psnr)

    def _check_ending(self) -> None:
        """Raise a LiftError if most steps were skipped: such a run has not trained."""
        self._read_pending()
        # With float16 the first steps overflow until the scale fits.
        if 2 * self.guard.in_a_row > self.step and not self.state.scaler.is_enabled():
            raise self._skipped_error()

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

    def _next_batches(self, steps: Iterator[list[Batch]]) -> list[Batch] | None:
        """The batches of a step; None if a stop signal also ended the loading processes.

        Raises:
            LiftError: a sample cannot be read, or a loading process was killed; the steps up to
                here are then in a checkpoint.
        """
        try:
            return next(steps)
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
        except LiftError as error:
            # The others would wait for a process that alone collects what is divided.
            if not self.step or self.state.is_sharded or not self.distributed.is_main:
                raise
            self.save_checkpoint()
            raise LiftError(f"{error} (the checkpoint of step {self.step} has all steps)") from None

    def _name_damaged_samples(self) -> None:
        for sentence in self.data.damaged:
            self.logger.message(sentence)
        self.data.damaged.clear()

    # -- logging and validation --------------------------------------------------------------------

    def _read_pending(self) -> None:
        """Add the last step's scalars to the running means, unless that is done already.

        Called before anything of the run is written. Scalars of a skipped step are left out.

        Raises:
            LiftError: too many steps in a row were skipped.
        """
        if self.pending is None:
            return
        launched, self.pending = self.pending, None
        parts, norm, skipped = launched.read()
        losses = [part["loss"] for part in parts]
        self.guard.record(launched.step, losses, norm, skipped)
        if skipped:
            if self.guard.in_a_row == 1:
                self.logger.message(f"step {launched.step} is skipped: {self.guard.cause}")
            if self.guard.in_a_row > self.settings.max_skipped:
                raise self._skipped_error()
            return
        means = RunningMeans()
        for part in parts:
            means.add(part)
        scalars = {**means.take(), "lr": launched.lr}
        if math.isfinite(norm):
            scalars["gradient_norm"] = norm
        self.means.add(scalars)
        self.logger.advance(launched.step, scalars)

    def _skipped_error(self) -> LiftError:
        return self.guard.error(
            self.settings, self.state.autocast, checkpoints.list_complete(self.folder)
        )

    def _write_log(self) -> None:
        self._read_pending()
        now = time.monotonic()
        passed = now - self.last_log
        clips = self.settings.log_steps * self.data.samples_per_step
        scalars = {
            "epoch": self.timeline.epochs_before(self.step - 1),
            **self.means.take(),
            "skipped_steps": self.guard.skipped,
            "samples_per_second": clips * self.config.data.targets / passed,
            "data_wait_per_second": min(1.0, self.data.take_waited() / passed),
            "elapsed_seconds": self.history.seconds,
        }
        if self.data.skipped:
            scalars["skipped_samples"] = self.data.skipped
        if self.distributed.device.type == "cuda":
            scalars["memory_gb"] = torch.cuda.max_memory_allocated() / 2**30
        self.logger.write(self.step, scalars)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self.logger.process_memory(used, self.step)
        self.last_log = now

    def _validate_if_due(self, stop: Callable[[], bool]) -> None:
        """Validate the averaged weights at the end of an epoch that calls for it.

        Skipped when `stop` returns True on the way; a resumed run then validates first.
        """
        if not self.timeline.ends_epoch(self.step) or self.validated_step == self.step:
            return
        epoch = self.timeline.epochs_before(self.step)
        if epoch % self.settings.validate_epochs == 0 or self.step >= self.total_steps:
            self._validate(stop)

    def _validate_at_time_limit(self) -> None:
        """Give a run that its time limit ended a first score, in a little more time."""
        if self.distributed.any(self.best_clips > 0 or self.stop.signal is not None):
            return
        seconds = max(LEAST_VALIDATION, VALIDATION_SHARE * 60 * self.settings.max_minutes)
        self._validate(lambda: self.stop.signal is not None, seconds)
        self.save_checkpoint()

    def _validate(self, stop: Callable[[], bool], max_seconds: float = math.inf) -> None:
        self._read_pending()
        found = validate(
            self.state.ema.model, self.val_data, self.distributed, self.settings, stop, max_seconds
        )
        if found is None:
            return
        scores = found.scores
        epoch, elapsed = self.timeline.epochs_before(self.step - 1), self.history.seconds
        self.logger.write(self.step, {"epoch": epoch, **scores, "elapsed_seconds": elapsed})
        self.logger.validation(self.step, found)
        self.logger.message(
            f"epoch {epoch + 1}, step {self.step}: validation PSNR {scores['val_psnr']:.3f} dB, "
            f"SSIM {scores['val_ssim']:.4f}, loss {scores['val_loss']:.4f} of {found.clips} clips"
        )
        # Scores of different numbers of clips do not compare: the newer one counts.
        psnr, is_first = scores["val_psnr"], found.clips != self.best_clips
        if psnr > self.best_psnr or (is_first and math.isfinite(psnr)):
            if not self._try_to_save_average("best.safetensors", val_psnr=f"{psnr:.4f}"):
                return  # a resumed run validates again
            self.best_psnr, self.best_clips = psnr, found.clips
        if found.clips == len(self.val_data):  # else the validation at the end of the epoch is due
            self.validated_step = self.step

    def _repeat_interrupted_validation(self) -> None:
        """Make up for a validation that the last stop interrupted, so that it runs only once."""
        before = self.validated_step
        self._validate_if_due(lambda: self.stop.signal is not None)
        if self.validated_step > before:
            self.save_checkpoint()

    # -- checkpoints -------------------------------------------------------------------------------

    def _checkpoint_due(self) -> bool:
        if self.guard.in_a_row:  # the weights may be bad
            return False
        now = time.monotonic()
        if self._failed_since is not None:
            return now >= self.last_checkpoint + RETRY
        elapsed = now - self.last_checkpoint
        return elapsed > 60 * self.settings.checkpoint_minutes or self._epoch_unsaved

    def _save_checkpoint_patiently(self, is_last: bool) -> None:
        """Write a checkpoint; a disk that is full has a while to get room before the run stops.

        Raises:
            LiftError: it cannot be written, and the run ends or the while is over; or as
                `_read_pending`.
        """
        self._read_pending()
        try:
            self.save_checkpoint()
            self._failed_since = None
        except LiftError as error:
            now = time.monotonic()
            if self._failed_since is None:
                self._failed_since = now
                self.logger.message(f"{error}; training goes on, with attempts for {PATIENCE:g} s")
            if is_last or now > self._failed_since + PATIENCE:
                raise

    def save_checkpoint(self) -> None:
        """Write a checkpoint of the last step, and the averaged weights beside it.

        Raises:
            LiftError: a file cannot be written; the checkpoints before are unchanged.
        """
        self._read_pending()
        self.last_checkpoint, self._epoch_unsaved = time.monotonic(), False
        self.state.consolidate()
        if not self.distributed.is_main:
            return
        cuda = self.distributed.device.type == "cuda"
        state = {
            **self.state.state_dict(),
            "data": self.data.state_dict(),
            "timeline": self.timeline.state_dict(),
            "total_steps": self.total_steps,
            "validated": self.validated_step,
            "best": self.best_psnr,
            "best_clips": self.best_clips,
            "given_encoder": self.has_given_encoder,
            "guard": self.guard.state_dict(),
            "means": self.means.sums,
            "history": self.history.entries_until(self.step),
            "world": self.distributed.world_size,
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state() if cuda else None,
        }
        checkpoints.write(self.folder, self.state.model, self.state.ema.model, state, self.config)
        self._save_average("last.safetensors")

    def _save_average(self, name: str, **metadata: str) -> None:
        if not self.distributed.is_main:
            return
        metadata = {"step": str(self.step), **metadata}
        try:
            save_weights(self.output / name, self.state.ema.model, self.config, **metadata)
        except OSError as error:
            raise write_error(self.output / name, error) from None

    def _try_to_save_average(self, name: str, **metadata: str) -> bool:
        """As `_save_average`, with a warning instead of an error."""
        try:
            self._save_average(name, **metadata)
            return True
        except LiftError as error:
            self.logger.message(f"{error}; training goes on")
            return False

    def _restore(self, checkpoint: checkpoints.Checkpoint) -> list[dict]:
        """Restore everything from a checkpoint; returns the run's history."""
        state, stored, sides = checkpoint.state, checkpoint.config, (checkpoint.config, self.config)
        checkpoint.restore(self.state.model, self.state.ema.model)
        self.state.load_state_dict(state)
        torch.set_rng_state(state["random"])
        if state["cuda_random"] is not None and self.distributed.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_random"])
        self.validated_step, self.best_psnr = state["validated"], state["best"]
        self.means = RunningMeans(state["means"])
        self.changes, self.unused = changed_settings(*sides), unused_weights(*sides)
        if state["world"] != self.distributed.world_size:
            self.changes["processes"] = state["world"], self.distributed.world_size
        # Checkpoints of earlier versions lack the following.
        train = stored.train
        clips = train.batch_size * train.accumulate * state["world"]
        self.data.load_state_dict(state.get("data", {"samples": self.step * clips}))
        self.has_given_encoder = state.get("given_encoder", True)
        all_clips = min(train.validate_clips, len(self.val_data))
        self.best_clips = state.get("best_clips", all_clips if self.best_psnr > -math.inf else 0)
        if "guard" in state:
            self.guard.load_state_dict(state["guard"])
        timeline = self.timeline
        if "timeline" in state:
            timeline = Timeline.from_state(state["timeline"])
        elif total := state.get("total_steps"):
            timeline = Timeline(train.epochs, total // train.epochs)
        self.timeline = timeline.resumed(self.step, self.settings.epochs, self.data.epoch_steps)
        return stored_history(state)

    def _announce(self, found: Path | None) -> None:
        settings = self.settings
        if found:
            # A kill may have come before it was written.
            self._try_to_save_average("last.safetensors")
            self.logger.message(f"resuming from {found}, step {self.step} of {self.total_steps}")
            changed = self.changes and f"changed on resume: {in_words(self.changes)}"
            for sentence in filter(None, (changed, *self.unused)):
                self.logger.message(sentence)
        if self.distributed.is_main:
            describe(self.data.dataset, self.val_data, self.output, self.logger.message)
        if found is None and settings.freeze_epochs and not self.has_given_encoder:
            self.logger.message(
                "the encoder has random weights, so it is trained from the start; --freeze_epochs "
                "is for weights of --pretrained_encoder or --init_weights"
            )
