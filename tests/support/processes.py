"""A training run in several processes, as torchrun starts them."""

import multiprocessing
import os
import socket

import torch

from lift.config import Config
from lift.training.loop import train

SECONDS = 120


def train_in_processes(config: Config, world_size: int) -> None:
    """Train in forked processes that talk over gloo; fails if one of them does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_work, args=(config, world_size, rank, port))
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
        process.kill()
    assert [process.exitcode for process in processes] == [0] * world_size


def _work(config: Config, world_size: int, rank: int, port: int) -> None:
    os.environ |= {
        "WORLD_SIZE": str(world_size),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    train(config)
