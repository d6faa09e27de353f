"""Batches of a dataset, in an order that depends on neither workers nor devices."""

import multiprocessing
from collections.abc import Iterator

import cv2
from torch.utils.data import DataLoader

from lift.data.clip import Batch
from lift.data.dataset import ClipDataset
from lift.data.sample import collate
from lift.errors import LiftError


class _Numbers:
    """The global sample numbers of one device's batches, step by step."""

    def __init__(self, batch_size: int, start: int, stop: int | None, rank: int, world: int):
        self.batch_size, self.start, self.stop, self.rank, self.world = (
            batch_size,
            start,
            stop,
            rank,
            world,
        )

    def __iter__(self) -> Iterator[list[int]]:
        step = self.start
        while self.stop is None or step < self.stop:
            first = (step * self.world + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))
            step += 1


def loader(
    dataset: ClipDataset,
    batch_size: int,
    start: int = 0,
    stop: int | None = None,
    num_workers: int = 0,
    rank: int = 0,
    world: int = 1,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Batches of steps start, start + 1, ... stop - 1 (without end when None), in order.

    Step k of device `rank` gets the `batch_size` = B global samples from k B world + rank B on: the
    same whatever the number of workers and wherever a run was resumed.

    Args:
        batch_size: clips per step and device.
        num_workers: processes that load; 0 loads here.
        pin_memory: whether batches go to page-locked memory, for a GPU.

    Raises:
        LiftError: a sequence cannot be read; also when a worker found it.
    """
    # fork, where there is one: preloaded frames are then shared, not copied.
    context = "fork" if num_workers and "fork" in multiprocessing.get_all_start_methods() else None
    numbers = _Numbers(batch_size, start, stop, rank, world)
    batches = DataLoader(
        dataset,
        batch_sampler=numbers,
        num_workers=num_workers,
        collate_fn=collate,
        worker_init_fn=_single_threaded,
        multiprocessing_context=context,
        pin_memory=pin_memory,
    )
    try:
        yield from batches
    except LiftError as error:  # from a worker it comes wrapped in that worker's traceback
        raise LiftError(str(error).rsplit("LiftError: ", 1)[-1].strip()) from None


def _single_threaded(worker: int) -> None:
    cv2.setNumThreads(0)  # the processes are the parallelism
