"""Where a run's steps were made: an entry for each stretch between two stops, kept in its
checkpoints.
"""

import os
import time

import torch

from lift.provenance import commit, processor
from lift.training.distributed import Processes


class History:
    """What made each part of a run.

    Args:
        entries: of the stretches before this one: commit, hardware, torch (its version), precision,
            steps and seconds.
        processes: what makes the steps from now on.
        autocast: the type they are computed in, None for full precision.
        step: where this stretch starts.
    """

    def __init__(
        self, entries: list[dict], processes: Processes, autocast: torch.dtype | None, step: int
    ):
        self.entries, self.step, self.started = entries, step, time.monotonic()
        self.here = {
            "commit": commit(),
            "hardware": hardware(processes),
            "torch": str(torch.__version__),
            "precision": str(autocast or torch.float32).removeprefix("torch."),
        }

    @property
    def seconds(self) -> float:
        """Time spent on the run, its earlier stretches included."""
        return sum(entry["seconds"] for entry in self.until(self.step))

    def until(self, step: int) -> list[dict]:
        """All entries, when this stretch has come as far as `step`."""
        return [
            *self.entries,
            {**self.here, "steps": step - self.step, "seconds": time.monotonic() - self.started},
        ]


def of_checkpoint(state: dict) -> list[dict]:
    """The entries of a checkpoint's state; one that names no commit and no hardware where its run
    did not note them.
    """
    if "history" in state:
        return state["history"]
    return [
        {
            "commit": "",
            "hardware": "",
            "torch": "",
            "precision": "",
            "steps": state["step"],
            "seconds": state["elapsed"],
        }
    ]


def hardware(processes: Processes) -> str:
    """The devices of a run in a few words."""
    if processes.device.type == "cuda":
        count = f"{processes.world} x " if processes.world > 1 else ""
        return count + torch.cuda.get_device_name(processes.device)
    count = f"{processes.world} processes on " if processes.world > 1 else ""
    return f"{count}{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} processors of {processor()}"
