"""What a build of the C++ extension needs: packages, a compiler, memory, a processor level."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from lift.kernels.extension import requirements
from lift.kernels.extension.requirements import BuildError

# -- requirements ----------------------------------------------------------------------------------


def test_without_a_compiler_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BuildError, match=r"^no C\+\+ compiler was found; install one \(.*\)$"):
        requirements.requirements()
    monkeypatch.setenv("CXX", "no-such-compiler -O1")
    with pytest.raises(
        BuildError,
        match="^the C.. compiler that CXX names was not found: no-such-compiler -O1$",
    ):
        requirements.requirements()


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("ninja", "ninja was not found; install it: pip install ninja"),
        ("torch", "PyTorch is not installed for "),
        ("pybind11", "pybind11 is not installed for "),
    ],
)
def test_without_a_package_the_error_names_the_remedy(monkeypatch, missing, sentence):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "ninja" else name)
    with pytest.raises(BuildError, match="^" + sentence):
        requirements.requirements()


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (set(), "x86-64"),
        (requirements.LEVELS["x86-64-v2"], "x86-64-v2"),
        (requirements.LEVELS["x86-64-v3"], "x86-64"),  # a level needs the one below
        (
            requirements.LEVELS["x86-64-v2"] | requirements.LEVELS["x86-64-v3"] | {"avx512f"},
            "x86-64-v3",
        ),
        (set().union(*requirements.LEVELS.values()), "x86-64-v4"),
    ],
)
def test_the_newest_level_that_the_processor_supports(monkeypatch, flags, level):
    monkeypatch.delenv("LIFT_CPU", raising=False)
    monkeypatch.setattr(requirements.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(requirements, "_processor_flags", lambda: flags)
    assert requirements.target_level() == level
    monkeypatch.setattr(requirements.platform, "machine", lambda: "aarch64")
    assert requirements.target_level() is None


def test_a_level_can_be_named(monkeypatch):
    monkeypatch.setenv("LIFT_CPU", "x86-64-v2")
    assert requirements.target_level() == "x86-64-v2"
    monkeypatch.setenv("LIFT_CPU", "486")
    with pytest.raises(
        BuildError,
        match="LIFT_CPU must be one of x86-64, x86-64-v2, x86-64-v3, x86-64-v4, got '486'",
    ):
        requirements.target_level()


# -- packages of another environment ---------------------------------------------------------------


@pytest.fixture
def torch_elsewhere(tmp_path) -> str:
    """A folder with the files of a torch that a build needs; sys.path does not have it."""
    headers = tmp_path / "torch" / "include" / "torch" / "csrc" / "stable"
    headers.mkdir(parents=True)
    (headers / "library.h").touch()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('a build imports torch')")
    (tmp_path / "torch" / "version.py").write_text("__version__ = '2.11.0+cpu'\n")
    return str(tmp_path)


@pytest.fixture
def without_torch(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else find(name)
    )


def test_an_isolated_build_uses_the_torch_of_the_environment(torch_elsewhere, without_torch):
    with pytest.raises(BuildError, match="PyTorch is not installed"):
        requirements.requirements()
    found = requirements.requirements([torch_elsewhere])
    assert str(found.torch) == f"{torch_elsewhere}/torch"


@pytest.mark.parametrize(
    ("version", "supported"), [("2.9.1", False), ("2.10.0a0+git", False), ("3.0.0", True)]
)
def test_an_old_torch_is_refused(torch_elsewhere, without_torch, version, supported):
    (Path(torch_elsewhere) / "torch" / "version.py").write_text(f"__version__ = '{version}'\n")
    if supported:
        requirements.requirements([torch_elsewhere])
        return
    with pytest.raises(BuildError) as failure:
        requirements.requirements([torch_elsewhere])
    assert str(failure.value) == (
        f'PyTorch {version} is too old, LIFT needs 2.11 or newer: pip install "torch>=2.11"'
    )


def test_a_torch_without_headers_is_refused(torch_elsewhere, without_torch):
    shutil.rmtree(f"{torch_elsewhere}/torch/include")
    with pytest.raises(BuildError, match="has no C.. headers; install a complete one"):
        requirements.requirements([torch_elsewhere])


def test_without_pythons_headers_the_error_names_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(requirements.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(BuildError, match="Python.h was not found; install .*python3-dev"):
        requirements.requirements()


# -- jobs ------------------------------------------------------------------------------------------


def test_max_jobs_limits_the_compilers(monkeypatch):
    monkeypatch.setenv("MAX_JOBS", " 7 ")
    assert requirements.jobs() == 7


@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "many", "2 4"])
def test_a_wrong_max_jobs_is_refused(monkeypatch, wrong):
    monkeypatch.setenv("MAX_JOBS", wrong)
    with pytest.raises(BuildError, match=f"^MAX_JOBS must be a positive integer, got '{wrong}'$"):
        requirements.jobs()


@pytest.mark.parametrize(
    ("gib", "cgroup", "expected"),
    [(64, "max", 8), (3, "max", 3), (0.2, "max", 1), (64, str(5 * 2**30), 4)],
)
def test_without_max_jobs_cores_and_free_memory_decide(monkeypatch, gib, cgroup, expected):
    texts = {
        "/proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {int(gib * 2**20)} kB\n",
        "/sys/fs/cgroup/memory.max": cgroup + "\n",
        "/sys/fs/cgroup/memory.current": f"{2**30}\n",
    }
    monkeypatch.setenv("MAX_JOBS", "")
    monkeypatch.setattr(requirements, "_text", texts.__getitem__)
    monkeypatch.setattr(
        requirements.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False
    )
    assert requirements.jobs() == expected
