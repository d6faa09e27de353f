"""How many threads a run takes on a CPU that others use as well."""

import os
import time

import torch

LOADAVG = "/proc/loadavg"
SAMPLES, INTERVAL = 5, 0.02  # looks at the machine, and seconds between them


def leave_cores_to_others() -> None:
    """Take as many threads as there are idle cores, at least one.

    Threads of PyTorch wait for each other: on a busy machine a run with as many threads as cores
    can be several times slower than one with a single thread. Where the user has set
    OMP_NUM_THREADS, that holds.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    idle = (os.cpu_count() or 1) - running_processes()
    torch.set_num_threads(max(1, min(torch.get_num_threads(), idle)))


def running_processes() -> int:
    """How many other threads of the machine compute now; 0 where the system does not say."""
    counts = []
    for _ in range(SAMPLES):
        try:
            with open(LOADAVG) as file:
                counts.append(int(file.read().split()[3].partition("/")[0]) - 1)
        except (OSError, ValueError, IndexError):
            return 0
        time.sleep(INTERVAL)
    return max(0, sorted(counts)[len(counts) // 2])
