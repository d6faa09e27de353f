"""Threads of PyTorch on a machine that does other work, too.

PyTorch's threads (OpenMP) wait for each other after every parallel loop, by default in a busy loop:
where another process has the core of one thread, all others burn theirs meanwhile, and a training
step takes up to fifty times as long. Threads that sleep while they wait lose little on an idle
machine and slow down on a busy one in proportion.
"""

import os

# GNU's OpenMP, which PyTorch's packages carry, the same by a count, and that of LLVM and Intel.
VARIABLES = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


def sleep_while_waiting() -> None:
    """Let threads sleep while they wait, unless the user has set how they wait.

    The library reads the variables when it is loaded, so this comes before torch is imported.
    """
    if not any(name in os.environ for name in VARIABLES):
        os.environ.update(VARIABLES)
