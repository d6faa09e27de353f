"""`lift train --find_lr`: which learning rate a run may use.

The rate grows exponentially from step to step, on a few batches in turn, whose mean loss falls
until the rate is too high. Source of the range test: Smith, "Cyclical Learning Rates for Training
Neural Networks", WACV 2017. The suggestion keeps a distance from where the loss begins to rise.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from lift import kernels
from lift.config import Config
from lift.errors import LiftError
from lift.files import atomic, write_error
from lift.training.data import TrainingData
from lift.training.distributed import DistributedContext, init_distributed
from lift.training.signals import StopRequest
from lift.training.state import TrainState, build_model, load_initial_weights

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 100
BATCHES = 4  # of other batches the loss differs by more than a step changes it
EXPLODED = 3.0  # times the lowest mean loss: the search ends
LOW, DISTANCE = 1.02, 4.0  # losses up to this factor of the lowest are low; rates are divided by 4
ENOUGH = 10  # steps without which there is no suggestion
ROWS = 12  # of the table


@dataclass(frozen=True)
class Trial:
    """One step of the search: its learning rate, and the mean loss of the last few batches."""

    lr: float
    loss: float


def report(config: Config) -> Iterator[str]:
    """Search, write find_lr.png, and yield the lines of a table with a suggestion.

    Raises:
        LiftError: several processes, data that cannot be read, too few steps, or a picture that
            cannot be written.
    """
    with (
        init_distributed(config.train.device) as distributed,
        StopRequest(config.train.max_minutes) as stop,
    ):
        if distributed.world_size > 1:
            raise LiftError("--find_lr searches in one process; start it without torchrun")
        stop.at_once = True
        trials = search(config, distributed, stop)
    if len(trials) < ENOUGH:
        raise LiftError(
            f"--find_lr ended after {len(trials)} steps, which is too few for a suggestion: the "
            "loss is not finite even at small rates, or the time limit is too short; look for "
            "broken frames, or raise --max_minutes"
        )
    chosen = suggestion(trials)
    yield f"{'lr':>10}  mean loss"
    shown = {round(i * (len(trials) - 1) / (ROWS - 1)) for i in range(ROWS)}
    for i in sorted(shown):
        yield f"{trials[i].lr:>10.2g}  {trials[i].loss:.5f}"
    path = Path(config.train.output) / "find_lr.png"
    try:
        draw(trials, chosen, path)
    except OSError as error:
        raise write_error(path, error) from None
    yield f"suggestion: --lr {chosen:.1g} (a quarter of the highest rate with a low loss); {path}"


def search(config: Config, distributed: DistributedContext, stop: StopRequest) -> list[Trial]:
    """Train a new model with growing rates until its loss explodes; nothing of it stays."""
    settings = replace(config.train, warmup_steps=0, sharding="none")
    with kernels.use(config.kernels):
        torch.manual_seed(settings.seed)
        data = TrainingData(config, distributed)
        model = build_model(config).to(distributed.device)
        load_initial_weights(model, settings)
        model.set_epoch(settings.freeze_epochs)  # the encoder is trained
        state = TrainState(model, settings, distributed.device)
        trials, losses, lowest = [], [], math.inf
        batches = list(data.steps(BATCHES))
        for number in tqdm(range(1, STEPS + 1), desc="learning rates", disable=None):
            lr = LOWEST * (HIGHEST / LOWEST) ** ((number - 1) / (STEPS - 1))
            parts = batches[number % BATCHES]
            found, _, skipped = state.train_step(state.network, parts, lr).read()
            losses.append(sum(part["loss"] for part in found) / len(found))
            if skipped and math.isfinite(losses[-1]) and state.scaler.is_enabled():
                continue  # the scale of float16 is settling
            if skipped or stop.wanted:
                break
            if number < BATCHES:
                continue
            trials.append(Trial(lr, sum(losses[-BATCHES:]) / BATCHES))
            lowest = min(lowest, trials[-1].loss)
            if trials[-1].loss > EXPLODED * lowest:
                break
    return trials


def suggestion(trials: list[Trial]) -> float:
    """A quarter of the highest rate at which the loss is still low."""
    lowest = min(trial.loss for trial in trials)
    return max(trial.lr for trial in trials if trial.loss <= LOW * lowest) / DISTANCE


def draw(trials: list[Trial], chosen: float, path: Path) -> None:
    """Plot the mean loss over the rate, with the suggestion.

    Raises:
        OSError: the picture cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.plot([trial.lr for trial in trials], [trial.loss for trial in trials])
    axis.axvline(chosen, linestyle=":", color="C1", label=f"suggestion {chosen:.1g}")
    axis.set(xscale="log", xlabel="learning rate", ylabel="mean training loss")
    axis.grid(alpha=0.3)
    axis.legend()
    with atomic(path) as part:
        figure.savefig(part, dpi=110)
