"""The lock of a run's folder."""

import multiprocessing
import os
import signal

import pytest

from lift.errors import LiftError
from lift.training.lock import RunLock


def hold(output, ready) -> None:
    lock = RunLock(output)
    lock.acquire()
    lock.name_owner()
    ready.set()
    signal.pause()


@pytest.fixture
def holder(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(30)
    yield process
    process.kill()
    process.join()


def test_a_second_process_is_refused_and_the_first_named(tmp_path, holder):
    with pytest.raises(LiftError, match=f"process {holder.pid} on .*another --output"):
        RunLock(tmp_path).acquire()


def test_a_killed_process_leaves_no_lock(tmp_path, holder):
    holder.kill()
    holder.join()
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.name_owner()
    assert str(os.getpid()) in (tmp_path / "lock").read_text()
    lock.release()


def test_a_missing_folder_is_created_only_by_the_owner(tmp_path):
    lock = RunLock(tmp_path / "new")
    lock.acquire()
    assert not (tmp_path / "new").exists()
    lock.name_owner()
    assert (tmp_path / "new" / "lock").is_file()
    lock.release()


def test_a_file_system_without_locks_locks_nothing(tmp_path, monkeypatch):
    def refused(*arguments):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("lift.training.lock.fcntl.lockf", refused)
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.name_owner()
    lock.release()
