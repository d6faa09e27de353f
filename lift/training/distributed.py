"""One process, or one of many that torchrun started: the same code serves both."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from lift.devices import choose_device


@dataclass(frozen=True)
class Processes:
    """This process among those of the run.

    Attributes:
        device: where its model lives.
        rank, world: its number and how many there are.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """Add up each value over all processes; every process must call it at the same point."""
        if self.world == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """Whether any process says so; every process must call it at the same point."""
        return self.sum([float(flag)])[0] > 0


@contextmanager
def join(device: str) -> Iterator[Processes]:
    """Take part in the run that torchrun started, or make up a run of one.

    Args:
        device: auto, cpu, cuda or cuda:N; under torchrun each process takes the GPU of its local
            rank.

    Raises:
        LiftError: a GPU is asked for and there is none of that number.
    """
    world, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    place = choose_device(device)
    if world > 1 and place.type == "cuda":
        place = choose_device(f"cuda:{local}")
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if world == 1:
        yield Processes(place)
        return
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Processes(place, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
