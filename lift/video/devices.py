"""Parts of one file on several devices: one process for each, all writing into one work folder."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty
from threading import Thread
from typing import Any

from lift.errors import LiftError
from lift.video.progress import Progress

POLL = 0.2  # seconds between looks at the processes


@dataclass(frozen=True)
class DeviceWorkers:
    """Processes that make parts of a file.

    Each makes a run of consecutive parts. What they leave, as where the length of the source is
    unknown, is made by the process that started them.

    Attributes:
        devices: names such as "cuda:0".
        create: makes the Interpolator of a device; it can be pickled.
    """

    devices: Sequence[str]
    create: Callable[[str], Any]

    def make_parts(self, make: Callable, count: int | None, progress: Progress) -> None:
        """Make the parts of a job.

        Args:
            make: make(interpolator, start, stop, progress) makes the parts from `start` up to but
                without `stop`, or all the rest where it is None; it can be pickled.
            count: about how many parts there are, or None.
            progress: counts the frames.

        Raises:
            LiftError: a process failed; its sentence.
        """
        if count is None or count < len(self.devices):
            return
        context = multiprocessing.get_context("spawn")
        events = context.Queue()
        bounds = [count * k // len(self.devices) for k in range(len(self.devices))] + [None]
        processes = []
        try:
            for k, device in enumerate(self.devices):
                task = self.create, device, make, bounds[k], bounds[k + 1], events
                process = context.Process(target=_work, args=task, daemon=True)
                with _deaf_to_interrupts():
                    process.start()
                processes.append(process)
            _wait(processes, events, progress)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started here do not see Ctrl-C, which reaches them too; their parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Counter(Progress):
    """Sends the number of frames to the process that started this one."""

    def __init__(self, events):
        super().__init__("none")
        self._events = events

    def update(self, frames: int = 1) -> None:
        self._events.put(("frames", frames))


def _work(create, device: str, make: Callable, start: int, stop: int | None, events) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        make(create(device), start, stop, _Counter(events))
        events.put(("done", None))
    except LiftError as error:
        events.put(("error", str(error)))


def _end_with_parent() -> None:
    """A killed parent cannot end its processes, and a later run would meet them in its folder."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _wait(processes, events, progress: Progress) -> None:
    """Until all processes are done, or one fails."""
    running = len(processes)
    while running:
        try:
            kind, value = events.get(timeout=POLL)
        except Empty:
            failed = [p for p in processes if p.exitcode not in (None, 0)]
            if failed or not any(p.is_alive() for p in processes):
                code = failed[0].exitcode if failed else 0
                raise LiftError(
                    f"a process of --devices ended with code {code}; run with one device to see why"
                ) from None
            continue
        if kind == "error":
            raise LiftError(value)
        if kind == "frames":
            progress.update(value)
        running -= kind == "done"
