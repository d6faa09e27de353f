import pytest
import torch

from lift.video import cpu_threads


@pytest.fixture
def threads(monkeypatch):
    """The machine has eight cores and PyTorch would take all; what was taken is recorded."""
    taken = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    monkeypatch.setattr(cpu_threads.os, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return taken


@pytest.mark.parametrize("running, expected", ((0, 8), (3, 5), (8, 1), (40, 1)))
def test_idle_cores_are_taken(threads, monkeypatch, running, expected):
    monkeypatch.setattr(cpu_threads, "running_processes", lambda: running)
    cpu_threads.leave_cores_to_others()
    assert threads == [expected]


def test_the_number_that_the_user_set_holds(threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setattr(cpu_threads, "running_processes", lambda: 7)
    cpu_threads.leave_cores_to_others()
    assert threads == []


def test_what_runs_is_counted():
    assert cpu_threads.running_processes() >= 0
