"""Tests on a GPU: memory goes back, large tests run last and alone, dead CUDA ends one process."""

import ast
import contextlib
import fcntl
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.harness import budget
from tests import conftest
from tests.support import gpu_session, inner_session

ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """pytest in a process of its own, with the plugin and the torch of a folder."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, [folder, ROOT]))
    environment.pop("PYTEST_XDIST_WORKER", None)
    plugins = ["no:cacheprovider", "no:benchmark", "no:hypothesispytest", "plugin"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(ROOT / "pyproject.toml"),
        *[word for plugin in plugins for word in ("-p", plugin)],
        *arguments,
        str(folder),
    ]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


# -- time ------------------------------------------------------------------------------------------

EXAMPLES = [(True, None, 100), (True, 60.0, 8), (False, None, 8)]


@pytest.mark.parametrize(("gpu", "budget", "examples"), EXAMPLES)
def test_a_budget_bounds_the_examples_of_hypothesis(monkeypatch, gpu, budget, examples):
    profiles, loaded = {}, []
    settings = SimpleNamespace(
        register_profile=lambda name, **how: profiles.update({name: how}),
        load_profile=loaded.append,
    )
    monkeypatch.setattr(gpu_session, "settings", settings)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    gpu_session.bound_examples(budget)
    assert profiles[loaded[-1]]["max_examples"] == examples


def test_no_test_on_a_gpu_sets_its_own_number_of_examples():
    """A budget would not bound it."""
    number = re.compile(r"^@settings\(max_examples=\d", re.M)
    paths = (ROOT / "tests").rglob("test_*.py")
    own = [path.name for path in paths if number.search(path.read_text())]
    assert own == ["test_grid_sample_parity.py"]  # computes on the CPU everywhere


# -- memory ----------------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of which PyTorch's allocator holds `reserved` bytes, unused, and `free` are free."""

    class Gpu:
        reserved, free, emptied = 0, 10 << 30, 0

        def empty(self):
            self.emptied += 1
            self.free, self.reserved = self.free + self.reserved, 0

    gpu = Gpu()
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: gpu.reserved)
    monkeypatch.setattr(torch.cuda, "empty_cache", gpu.empty)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (gpu.free, 80 << 30))
    return gpu


@pytest.mark.parametrize(("reserved", "emptied"), [(0, 0), (2 << 30, 0), ((2 << 30) + 1, 1)])
def test_memory_goes_back_where_more_than_two_gigabytes_are_reserved(gpu, reserved, emptied):
    gpu.reserved = reserved
    gpu_session.give_memory_back()
    assert gpu.emptied == emptied


def test_tensors_of_a_failed_test_are_let_go_of(gpu, monkeypatch):
    gpu.reserved = 3 << 30
    monkeypatch.setattr(sys, "last_value", ValueError("with a traceback"), raising=False)
    gpu_session.give_memory_back()
    assert not hasattr(sys, "last_value")
    sys.last_value = None  # for monkeypatch to undo


def test_large_tests_are_skipped_where_memory_is_short(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    gpu.reserved = 2 << 30  # what the allocator holds unused counts as free
    gpu_session.needs_gpu_memory(12 << 30)
    reason = r"^needs 12\.5 GiB of free GPU memory, 12\.0 GiB are free$"
    with pytest.raises(pytest.skip.Exception, match=reason):
        gpu_session.needs_gpu_memory(25 << 29)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu_session.needs_gpu_memory(1 << 50)


# -- order of the large tests ----------------------------------------------------------------------

CASES = """import pytest
two = pytest.mark.parametrize("i", range(2))
@two
@pytest.mark.large
def test_large(i): ...
@two
def test_plain(i): ...
def test_alone(): ...
"""


ORDERS = [
    ((), ["plain[0]", "plain[1]", "alone", "large[0]", "large[1]"]),
    (("--in-turn",), ["plain[0]", "alone", "plain[1]", "large[0]", "large[1]"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "order"), ORDERS, ids=["plain", "in turn"])
def test_large_tests_run_last(tmp_path, arguments, order):
    (tmp_path / "test_cases.py").write_text(CASES)
    ran = inner_session.run(tmp_path, "--collect-only", *arguments, plugins=(conftest, budget))
    assert ran.order == order


def test_large_tests_run_one_at_a_time(monkeypatch, tmp_path):
    real = fcntl.flock
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", lambda file, how: real(file, how | fcntl.LOCK_NB))
    with gpu_session.alone():
        with pytest.raises(BlockingIOError), gpu_session.alone():
            pass
    with gpu_session.alone():
        pass


# -- a dead CUDA context ---------------------------------------------------------------------------

TORCH = """
class AcceleratorError(RuntimeError): ...
class cuda:
    dead = False
    is_initialized = lambda: True
    def synchronize():
        if cuda.dead:
            raise AcceleratorError("CUDA error: an illegal memory access was encountered\\nmore")
"""
PLUGIN = """from tests.support import gpu_session
def pytest_configure(config):
    config.pluginmanager.register(gpu_session.DeadContext())
"""
FATAL = """import pytest, torch
def test_harmless():
    raise torch.AcceleratorError("CUDA error: invalid argument")
@pytest.mark.parametrize("i", range(16))
def test_one(i):
    torch.cuda.dead |= i == 3
    torch.cuda.synchronize()
"""


@pytest.fixture
def fatal(tmp_path):
    """Seventeen tests: the first fails, the fifth kills the context of its process."""
    for name, text in (("torch", TORCH), ("plugin", PLUGIN), ("test_fatal", FATAL)):
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


@pytest.mark.slow
def test_another_worker_runs_what_follows_a_dead_context(fatal):
    """With the scheduler of `load`, which `loadgroup` is replaced by: it hangs otherwise."""
    pytest.importorskip("xdist")
    ran = run(fatal, "-n", "2", "--dist", "loadgroup")
    assert "2 failed, 15 passed" in ran.stdout, ran.stdout
    failed = re.findall(r"^FAILED .*::test_(\S+)", ran.stdout, re.M)
    assert sorted(failed) == ["harmless", "one[3]"], ran.stdout


def test_only_loadgroup_gets_another_scheduler():
    pytest.importorskip("xdist")
    from xdist.scheduler import LoadScheduling

    scheduler = {}
    for name in ("load", "loadgroup", "worksteal"):
        config = SimpleNamespace(
            getoption=lambda option, name=name: name, getvalue=lambda option: ["popen"]
        )
        with contextlib.suppress(AttributeError):
            made = gpu_session.DeadContext().pytest_xdist_make_scheduler(config, None)
            scheduler[name] = type(made)
    assert scheduler["load"] is scheduler["worksteal"] is type(None)
    assert scheduler["loadgroup"] is LoadScheduling


@pytest.mark.slow
def test_without_workers_the_session_stops_and_names_the_test(fatal):
    ran = run(fatal)
    assert ran.returncode == 1 and "2 failed, 3 passed" in ran.stdout, ran.stdout
    sentence = (
        "Exit: the CUDA context of this process is dead since test_fatal.py::test_one[3] "
        "(CUDA error: an illegal memory access was encountered); what follows did not run"
    )
    assert sentence in ran.stdout, ran.stdout


# -- settings of torch -----------------------------------------------------------------------------


def test_settings_of_cudnn_say_whether_it_is_on():
    """`cudnn.flags` turns cuDNN off where it is not passed enabled=True (in PyTorch 2.11)."""
    silent = []
    for folder in ("tests", "benchmarks", "lift", "kernels"):
        for path in (ROOT / folder).rglob("*.py"):
            if "cudnn.flags" not in (text := path.read_text()):
                continue
            for call in [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]:
                of_cudnn = ast.unparse(call.func).endswith("cudnn.flags")
                if of_cudnn and "enabled" not in {keyword.arg for keyword in call.keywords}:
                    silent.append(f"{path.name}:{call.lineno}")
    assert silent == []
