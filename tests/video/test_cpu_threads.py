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


@pytest.mark.parametrize(
    "text, count", (("0.4 0.9 1.1 4/250 77\n", 3), ("0.4 0.9 1.1 1/250 77\n", 0), ("none\n", 0))
)
def test_what_runs_now_beside_this_process_is_counted(tmp_path, monkeypatch, text, count):
    (tmp_path / "loadavg").write_text(text)
    monkeypatch.setattr(cpu_threads, "LOADAVG", tmp_path / "loadavg")
    monkeypatch.setattr(cpu_threads, "INTERVAL", 0)
    assert cpu_threads.running_processes() == count


def test_a_system_that_does_not_say_counts_as_idle(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu_threads, "LOADAVG", tmp_path / "nothing")
    assert cpu_threads.running_processes() == 0
