"""A run that is killed again and again ends like the unbroken one."""

import csv
import multiprocessing
import random
import time

import pytest
import torch
from safetensors.torch import load_file

from lift.commands import train
from lift.errors import run
from tests.support.training_runs import run_flags

KILLS = 3
FLAGS = run_flags(
    epochs=8,
    epoch_steps=5,
    warmup_steps=4,
    validate_epochs=1,
    log_steps=2,
    checkpoint_minutes=0.005,
)


def start(*argv) -> multiprocessing.Process:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_train, args=([str(word) for word in argv],))
    process.start()
    return process


def _train(argv: list[str]) -> None:
    torch.set_num_threads(1)
    run(train.main, argv)


def rows(output) -> list[dict]:
    with open(output / "curve.csv", newline="") as file:
        return [
            {name: value for name, value in row.items() if "second" not in name}
            for row in csv.DictReader(file)
        ]


def content(path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_a_run_that_is_killed_at_random_loses_nothing(tmp_path):
    killed, whole, rng = tmp_path / "killed", tmp_path / "whole", random.Random(0)
    newest = killed / "checkpoint" / "latest"
    for _ in range(KILLS):
        before = content(newest)
        process = start(*FLAGS, "--num_workers", rng.choice([0, 1]), "--output", killed)
        while process.is_alive() and content(newest) == before:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.2))
        assert process.is_alive(), "the run ended before it could be killed"
        process.kill()
        process.join()
    for output in (killed, whole):
        process = start(*FLAGS, "--output", output)
        process.join()
        assert process.exitcode == 0
    assert rows(killed) == rows(whole)
    for name in ("last.safetensors", "best.safetensors"):
        one, other = load_file(killed / name), load_file(whole / name)
        assert all(torch.equal(one[key], other[key]) for key in one), name
