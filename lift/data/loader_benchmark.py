"""How many samples per second the loader yields, and which part of a sample takes the time."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from lift.config import Config
from lift.data.dataset import ClipDataset
from lift.data.loader import loader
from lift.data.sample import collate

SECONDS = 5.0  # of measuring, each


@dataclass(frozen=True)
class Rate:
    """The loader with a number of processes.

    Attributes:
        workers: loading processes; 0: in the training process.
        samples_per_second: after the first batch.
    """

    workers: int
    samples_per_second: float


def time_parts(config: Config, dataset: ClipDataset, seconds: float = SECONDS) -> dict[str, float]:
    """Milliseconds per sample by part, in this process.

    Returns:
        "read": decoding files; "prepare": crop, augmentation, synthetic scenes, tensors;
        "collate": stacking a batch, per sample.
    """
    reading = _Clock(dataset)
    batch_size, samples, spent, collating, g = config.train.batch_size, 0, 0.0, 0.0, 0
    try:
        while spent + collating < seconds or not samples:
            start = time.perf_counter()
            batch = [dataset[g + k] for k in range(batch_size)]
            loaded = time.perf_counter()
            collate(batch)
            collating += time.perf_counter() - loaded
            spent += loaded - start
            samples += batch_size
            g += batch_size
    finally:
        reading.remove()
    parts = {
        "read": reading.seconds,
        "prepare": spent - reading.seconds,
        "collate": collating,
    }
    return {name: 1e3 * value / samples for name, value in parts.items()}


def measure(config: Config, dataset: ClipDataset, workers: int, seconds: float = SECONDS) -> Rate:
    """Samples per second of the loader, from the second batch on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as beside a GPU: the loading processes have the cores
    batches = loader(dataset, config.train.batch_size, num_workers=workers)
    try:
        next(batches)
        start, count = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds or not count:
            next(batches)
            count += config.train.batch_size
    finally:
        batches.close()
        torch.set_num_threads(threads)
    return Rate(workers, count / elapsed)


def verdict(parts: dict[str, float], best: Rate, config: Config, step_ms: float | None) -> str:
    """Which part limits, in a sentence."""
    slowest = max(parts, key=parts.get)
    remedy = {
        "read": "--frame_cache, --preload or --resize_short_side make files cheaper to read",
        "prepare": "smaller crops, fewer --context_frames or more --num_workers",
        "collate": "more --num_workers",
    }[slowest]
    shares = f"{parts[slowest]:.1f} of {sum(parts.values()):.1f} ms"
    text = f"most of a sample's time is {slowest} ({shares})"
    if step_ms is None:
        return f"{text}; {remedy}"
    needed = 1e3 * config.train.batch_size / step_ms
    if best.samples_per_second >= needed:
        return (
            f"the model limits: a step of {step_ms:g} ms takes {needed:.1f} samples/s, and the "
            f"loader yields {best.samples_per_second:.1f} with {best.workers} processes"
        )
    return (
        f"the loader limits: a step of {step_ms:g} ms would take {needed:.1f} samples/s, and "
        f"{best.workers} processes yield {best.samples_per_second:.1f}; {text}; {remedy}"
    )


class _Clock:
    """Counts the seconds that the sequences of a data set take to read."""

    def __init__(self, dataset: ClipDataset):
        self.seconds, self._sequences = 0.0, dataset.sequences
        for sequence in self._sequences:
            sequence.read = self._timed(sequence.read)

    def _timed(self, read):
        def timed(indices: list[int]) -> np.ndarray:
            start = time.perf_counter()
            frames = read(indices)
            self.seconds += time.perf_counter() - start
            return frames

        return timed

    def remove(self) -> None:
        for sequence in self._sequences:
            del sequence.read
