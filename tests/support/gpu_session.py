"""Support for tests on a GPU: bounds of time and memory, and the end of a process without CUDA.

An illegal access kills the CUDA context of its process: every later call fails with the same error.
The process then ends before its next test. pytest-xdist starts another worker, which runs what is
left; without pytest-xdist the session stops.
"""

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# -- time ------------------------------------------------------------------------------------------


def bound_examples(budget: float | None) -> None:
    """Let hypothesis draw 100 examples on a GPU, 8 elsewhere and in a run of `budget` seconds.

    Most examples make Triton compile kernels.
    """
    number = 100 if torch.cuda.is_available() and budget is None else 8
    settings.register_profile(
        "lift", max_examples=number, deadline=None, database=None, derandomize=True
    )
    settings.load_profile("lift")


# -- memory ----------------------------------------------------------------------------------------

RESERVED = 2 << 30  # bytes that a test may leave in the allocator


def give_memory_back(limit: int = RESERVED) -> None:
    """Return unused memory to the GPU where PyTorch's allocator holds more than `limit` bytes."""
    if torch.cuda.memory_reserved() <= limit:  # 0 where CUDA is not in use
        return
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        if hasattr(sys, name):  # a failed test's frames refer to its tensors
            delattr(sys, name)
    gc.collect()
    torch.cuda.empty_cache()


def needs_gpu_memory(size: int) -> None:
    """Skip the running test where the GPU has less than `size` bytes free.

    Nothing is checked without a GPU: there, memory that is allocated and not written is virtual.
    """
    if not torch.cuda.is_available():
        return
    give_memory_back(limit=0)
    free = torch.cuda.mem_get_info()[0]
    if free < size:
        pytest.skip(
            f"needs {size / 2**30:.1f} GiB of free GPU memory, {free / 2**30:.1f} GiB are free"
        )


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other process of this user is inside: large tests run one at a time.

    A lock, and not a group of pytest-xdist: with pytest 9.2 its `--dist loadgroup` groups nothing.
    """
    import fcntl  # not on Windows, where no test needs a GPU

    path = Path(tempfile.gettempdir()) / f"lift-large-tests-{os.getuid()}.lock"
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # ends with the file, also where a process dies
        yield


# -- a dead CUDA context ---------------------------------------------------------------------------

DEAD = "the CUDA context of this process is dead"


def cuda_error() -> str | None:
    """First line of the error that every CUDA call now raises; None without one or without CUDA."""
    if not torch.cuda.is_initialized():
        return None
    try:
        torch.cuda.synchronize()
    except Exception as error:
        return str(error).splitlines()[0]
    return None


class DeadContext:
    """A pytest plugin: no test runs in a process after the one that killed its CUDA context."""

    def __init__(self):
        self.killer: str | None = None  # of this process: the test, and the error
        self.ended: set[str] = set()  # of xdist's controller: workers that died so

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item):
        outcome = yield
        report = outcome.get_result()
        if report.failed and self.killer is None and (error := cuda_error()):
            self.killer = f"{item.nodeid} ({error})"
            report.user_properties.append((DEAD, self.killer))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item):
        """Before the next test: the reports of the last one are sent, and xdist has it as done."""
        if self.killer is None:
            return
        if hasattr(item.config, "workerinput"):
            os._exit(1)
        pytest.exit(
            f"{DEAD} since {self.killer}; what follows did not run "
            "(with pytest-xdist's -n another worker runs it)",
            1,
        )

    # -- in the controller of pytest-xdist

    def pytest_runtest_logreport(self, report):
        if DEAD in dict(report.user_properties) and hasattr(report, "node"):
            self.ended.add(report.node.gateway.id)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config, log):
        """`load` for `loadgroup`, which hangs once a worker was replaced."""
        if config.getoption("dist") != "loadgroup":
            return None
        from xdist.scheduler import LoadScheduling

        return LoadScheduling(config, log)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem, report, sched):
        """xdist blames the next test for the crash. It has not started: another worker runs it."""
        if report.node.gateway.id not in self.ended:
            return
        report.outcome = "skipped"
        report.longrepr = (crashitem.split("::")[0], 0, f"left to another worker: {DEAD}")
        try:
            sched.mark_test_pending(crashitem)
        except NotImplementedError:  # schedulers of scopes do so themselves
            pass
