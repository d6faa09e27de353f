"""Every Triton kernel compiles without a GPU, and spills nowhere."""

import importlib
import inspect
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="Triton has no build for this machine")

from benchmarks.static import compile as ahead_of_time  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = list(ahead_of_time._modules())


def compiling(*command: str, **variables: str) -> subprocess.CompletedProcess:
    """Run Python where Triton compiles: this process may interpret."""
    environment = {
        name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"
    } | variables
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_every_kernel_compiles_and_spills_nowhere():
    """For one architecture; `make static-report` compiles for all."""
    answer = compiling("-m", "benchmarks.static.compile", "--arch", "89")
    print(answer.stdout)
    assert answer.returncode == 0, answer.stdout + answer.stderr[-3000:]
    kernels = len(list(ahead_of_time.compile_cases()))
    assert f"{kernels} compiled" in answer.stdout and "; 0 spill" in answer.stdout
    assert len(re.findall(r"\d+ / \d+ / 0\b", answer.stdout)) == kernels


def test_a_launch_is_compiled_for_the_gpus_that_can_be_asked_for_it():
    found = {
        label: ahead_of_time.architectures_of("temporal_attention", arguments, (75, 80))
        for _, label, _, arguments in ahead_of_time.compile_cases("temporal_attention")
    }
    padded = {label for label in found if "24 channels" in label or "128 channels" in label}
    assert padded and all((label in padded) == (found[label] == (80,)) for label in found)
    assert ahead_of_time.architectures_of("warp", {}, (75, 80)) == (75, 80)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_kernel_is_left_out(operation):
    package = importlib.import_module(f"lift.kernels.ops.{operation}")
    names = [m.name for m in pkgutil.iter_modules(package.__path__) if "triton" in m.name]
    functions = {
        name: inspect.getsource(f.fn)
        for module in names
        for name, f in vars(importlib.import_module(f"{package.__name__}.{module}")).items()
        if type(f).__name__ in ("JITFunction", "InterpretedFunction")
    }
    reached = set()
    new = {kernel.fn.__name__ for _, _, kernel, _ in ahead_of_time.compile_cases(operation)}
    while new:
        reached |= new
        new = {
            name
            for name in functions
            for source in reached & functions.keys()
            if f"{name}(" in functions[source]
        } - reached
    assert functions.keys() <= reached


LAUNCHES = """
import sys
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from benchmarks.static import compile as ahead_of_time

class OneGPU:                                           # as much of a driver as compiling asks for
    get_current_target = lambda self: GPUTarget("cuda", 89, 32)
    get_current_device = lambda self: 0
    get_current_stream = lambda self, device: 0

driver.set_active(OneGPU())
compiled = []
ahead_of_time._resource_usage = compiled.append
for operation in sys.argv[1:]:
    for _, label, kernel, arguments in list(ahead_of_time.compile_cases(operation))[:1]:
        launched = kernel.warmup(grid=(1,), **arguments)
        ahead_of_time.compile_for(89, kernel, arguments)
        assert launched.asm["ptx"] == compiled[-1].asm["ptx"], label
"""


@pytest.mark.slow
def test_what_a_launch_compiles_is_compiled(tmp_path):
    # Another cache could name the files of other folders.
    answer = compiling("-c", LAUNCHES, *OPERATIONS, TRITON_CACHE_DIR=str(tmp_path))
    assert answer.returncode == 0, answer.stderr[-3000:]


@pytest.mark.slow
def test_a_spill_is_seen():
    answer = compiling(
        "-c",
        """
from benchmarks.static.compile import compile_for, compile_cases
_, _, kernel, arguments = list(compile_cases("warp_blend"))[1]
print(compile_for(86, kernel, arguments | {"maxnreg": 24}).local)
""",
    )
    assert int(answer.stdout or 0) > 0, answer.stderr[-3000:]


def test_wrong_calls_are_errors(monkeypatch, capsys):
    with pytest.raises(ValueError, match="no Triton kernels for 'warp'; choose from .*warp_blend"):
        list(ahead_of_time.compile_cases("warp"))
    monkeypatch.setattr(triton.knobs.runtime, "interpret", True)
    with pytest.raises(SystemExit):
        ahead_of_time.main([])
    assert "TRITON_INTERPRET is set" in capsys.readouterr().err


# -- the oldest Triton -----------------------------------------------------------------------------


def test_ci_compiles_every_kernel_with_the_oldest_triton_that_is_allowed():
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    floor = re.search(r'"triton>=([\d.]+)', (ROOT / "pyproject.toml").read_text())[1]
    said = subprocess.run(
        ["make", "-n", "-W", "pyproject.toml", "compile-oldest"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f'"triton=={floor}"' in said
    compiled = re.search(r"PYTHONPATH=(\S+) \S+ -m benchmarks.static.compile (.*)", said)
    assert compiled[1].endswith(f"build/triton-{floor}")
    ci = (ROOT / ".ci" / "run").read_text()
    assert "make compile-oldest" in ci
    newest = re.search(r'make static-report ARCH="([\d ]+)"', ci)[1].split()
    oldest = re.findall(r"--arch (\d+)", compiled[2])
    assert compiled[2].startswith(f"--triton {floor} --arch")  # all operations
    assert sorted(map(int, newest + oldest)) == list(ahead_of_time.ARCHITECTURES)


@pytest.mark.parametrize(
    ("version", "taken"),
    [
        ("3.6", True),
        ("3.6.0", True),
        ("3", True),
        ("3.60", False),
        ("3.5", False),
        ("3.6.0.1", False),
    ],
)
def test_another_triton_than_the_one_asked_for_is_refused(version, taken, monkeypatch, capsys):
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    monkeypatch.setattr(triton, "__version__", "3.6.0")
    sound = ahead_of_time.ResourceUsage(32, 0, 0, 1024)
    monkeypatch.setattr(
        ahead_of_time, "compile_cases", lambda *_, **__: iter([("op", "none", None, {})])
    )
    monkeypatch.setattr(ahead_of_time, "_all_usage", lambda todo: iter([[sound] * len(todo[0][1])]))
    if taken:
        assert ahead_of_time.main(["--triton", version]) == 0
        return
    with pytest.raises(SystemExit):
        ahead_of_time.main(["--triton", version])
    assert f"this is Triton 3.6.0, not {version}: put a folder" in capsys.readouterr().err
