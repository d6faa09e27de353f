"""One process, or one of many that torchrun started; the same code runs in both cases."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from lift.devices import choose_device


@dataclass(frozen=True)
class DistributedContext:
    """This process among those of the run.

    Attributes:
        device: where its model is.
        rank: number of this process, from 0.
        world_size: number of processes.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """All-reduce each value by its sum; every process must call it at the same point."""
        if self.world_size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; every process must call it at the same point."""
        return self.any_of(flag)[0]

    def any_of(self, *flags: bool) -> list[bool]:
        """As `any`, of several flags at once."""
        return [total > 0 for total in self.sum([float(flag) for flag in flags])]


def max_over_processes(flag: torch.Tensor) -> torch.Tensor:
    """The largest value of a tensor in any process; every process must call it."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(flag, dist.ReduceOp.MAX)
    return flag


def mean_over_processes(values: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over the processes; every process must call it."""
    if dist.is_available() and dist.is_initialized():
        values = values / dist.get_world_size()
        dist.all_reduce(values)
    return values


@contextmanager
def init_distributed(device: str) -> Iterator[DistributedContext]:
    """Join the process group of torchrun; without torchrun, a context of one process.

    Args:
        device: auto, cpu, cuda or cuda:N; under torchrun each process uses the GPU of its local
            rank.

    Raises:
        LiftError: there is no such GPU.
    """
    world_size, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    chosen = choose_device(device)
    if world_size > 1 and chosen.type == "cuda":
        chosen = choose_device(f"cuda:{local}")
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world_size == 1:
        yield DistributedContext(chosen)
        return
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield DistributedContext(chosen, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
