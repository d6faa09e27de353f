"""The samples that training is given, in the order of their numbers.

A run counts samples, not steps, so that it goes on where it was with another batch size or another
number of processes.
"""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from lift.config import Config
from lift.data import report
from lift.data.clip import Batch
from lift.data.dataset import ClipDataset
from lift.data.loader import loader
from lift.files import atomic, write_error
from lift.training.distributed import DistributedContext


def describe(
    train: ClipDataset, val: ClipDataset, output: Path, message: Callable[[str], None]
) -> None:
    """Print which data a run has, and write it as data.json into the run's folder."""
    for line in report.describe(train, val):
        message(line)
    path = output / "data.json"
    try:
        with atomic(path) as part:
            text = json.dumps(report.to_dict(train, val), indent=1) + "\n"
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        message(f"{write_error(path, error)}; training goes on")


class TrainingData:
    """The batches of this process's steps.

    Args:
        config: of the run.
        distributed: its processes share the samples of a step.

    Attributes:
        dataset: the training clips.
        samples: clips that all processes together have been given so far.
        skipped: of these, damaged ones that others took the place of, in this process.
        damaged: a sentence for each damaged file that was met first since this was emptied.
    """

    def __init__(self, config: Config, distributed: DistributedContext):
        self.config, self.distributed = config, distributed
        self.samples = self.skipped = 0
        self.damaged: list[str] = []
        self._named: set[str] = set()
        self._waited = 0.0
        self.dataset = ClipDataset(
            config.data,
            config.data.train_split,
            batch_size=self.samples_per_batch,
            seed=config.train.seed,
            train=True,
        )

    @property
    def samples_per_batch(self) -> int:
        """Clips of one batch in all processes."""
        return self.config.train.batch_size * self.distributed.world_size

    @property
    def samples_per_step(self) -> int:
        """Clips of an optimiser step in all processes."""
        return self.samples_per_batch * self.config.train.accumulate

    @property
    def epoch_steps(self) -> int:
        """Optimiser steps of an epoch."""
        whole = max(1, len(self.dataset) // self.samples_per_step)
        return self.config.train.epoch_steps or whole

    def steps(self, count: int) -> Iterator[list[Batch]]:
        """The batches of each of the next `count` steps.

        Raises:
            LiftError: a sample cannot be read.
            RuntimeError: a loading process was killed.
        """
        each = self.config.train.accumulate
        # With another batch size than before, the samples go on at the next whole batch.
        start = -(-self.samples // self.samples_per_batch)
        self.samples = start * self.samples_per_batch
        batches = loader(
            self.dataset,
            self.config.train.batch_size,
            start=start,
            stop=start + count * each,
            num_workers=self.config.data.num_workers,
            rank=self.distributed.rank,
            world=self.distributed.world_size,
            pin_memory=self.distributed.device.type == "cuda",
        )
        former = None
        try:
            for _ in range(count):
                started = time.monotonic()
                # The loader starts by drawing a random number, which a resumed run would draw
                # once more.
                with torch.random.fork_rng(devices=[]):
                    parts = [next(batches) for _ in range(each)]
                # A signal to the whole process group ends the loading processes too, and PyTorch's
                # handler would raise in the middle of a step; without it the next batch raises.
                former = former or signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                self._waited += time.monotonic() - started
                self.samples += self.samples_per_step
                for batch in parts:
                    self.damaged += sorted({*batch.skipped} - self._named)
                    self._named.update(batch.skipped)
                    self.skipped += len(batch.skipped)
                yield parts
        finally:
            if former is not None:
                signal.signal(signal.SIGCHLD, former)

    def take_waited(self) -> float:
        """Seconds that steps have waited for data since the last call."""
        waited, self._waited = self._waited, 0.0
        return waited

    def state_dict(self) -> dict[str, Any]:
        return {"samples": self.samples, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.samples, self.skipped = state["samples"], state.get("skipped", 0)
