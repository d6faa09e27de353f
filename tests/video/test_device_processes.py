"""Processes for several devices: which parts each gets, and those that fail or are stopped."""

import os
import signal
import time
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

from lift.errors import LiftError, Terminated, cleanup_on_signals
from lift.video import devices
from lift.video.devices import DeviceWorkers
from lift.video.progress import Progress

pytestmark = pytest.mark.slow  # each process takes a second to begin


def name_of(device):
    return device


def describe(folder, device, start, stop, progress):
    """Leaves a file that says what a process was to make."""
    (folder / device).write_text(f"{start} {stop}")
    progress.update(3)


def fail(sentence, device, start, stop, progress):
    if device == "b":
        raise LiftError(sentence)
    time.sleep(60)


def crash(device, start, stop, progress):
    os._exit(3)


def wait(folder, device, start, stop, progress):
    (folder / device).write_text(str(os.getpid()))
    time.sleep(60)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_each_device_gets_its_run_of_parts(tmp_path):
    progress = Progress()
    DeviceWorkers(["a", "b"], name_of).make_parts(partial(describe, tmp_path), 7, progress)
    assert (tmp_path / "a").read_text() == "0 3" and (tmp_path / "b").read_text() == "3 None"
    assert progress.count == 6


@pytest.mark.parametrize("count", (None, 0, 1))
def test_fewer_parts_than_devices_are_left_to_the_caller(tmp_path, count):
    workers = DeviceWorkers(["a", "b"], name_of)
    workers.make_parts(partial(describe, tmp_path), count, Progress())
    assert list(tmp_path.iterdir()) == []


def test_the_sentence_of_a_process_that_fails_is_raised_and_the_others_end():
    began = time.monotonic()
    with pytest.raises(LiftError, match="the disk is full"):
        DeviceWorkers(["a", "b"], name_of).make_parts(
            partial(fail, "the disk is full"), 4, Progress()
        )
    assert time.monotonic() - began < 50


def test_a_process_that_crashes_is_one_sentence():
    with pytest.raises(LiftError, match="ended with code 3; run with one device"):
        DeviceWorkers(["a"], name_of).make_parts(crash, 4, Progress())


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGINT))
def test_a_signal_ends_all_processes(tmp_path, number):
    def stop():
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = Thread(target=stop)
    thread.start()
    with pytest.raises((Terminated, KeyboardInterrupt)), cleanup_on_signals():
        DeviceWorkers(["a", "b"], name_of).make_parts(partial(wait, tmp_path), 4, Progress())
    thread.join()
    assert not any(is_running(int(file.read_text())) for file in tmp_path.iterdir())


def test_processes_end_with_a_parent_that_is_killed(tmp_path):
    parent = devices.multiprocessing.get_context("spawn").Process(target=parent_of, args=[tmp_path])
    parent.start()
    while not (tmp_path / "a").exists() or not (tmp_path / "a").read_text():
        time.sleep(0.02)
    child = int((tmp_path / "a").read_text())
    parent.kill()
    parent.join()
    end = time.monotonic() + 20
    while is_running(child) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_running(child)


def parent_of(folder):
    DeviceWorkers(["a"], name_of).make_parts(partial(wait, folder), 4, Progress())
