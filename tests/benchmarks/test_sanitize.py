"""The sanitizer run without a GPU: its commands, and its message if something is missing."""

import re
import shutil

import pytest

from benchmarks.gpu import sanitize
from benchmarks.gpu.grid_sample_cases import run
from tests.support.built_once import built_once


@pytest.fixture
def toolkit(program, tmp_path, monkeypatch):
    """Fake a GPU, an nvcc that builds for the CPU, and a compute-sanitizer.

    The latter runs its arguments and exits with the code in the file `code`.
    """
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/arguments\n'
        'while [ "${1#--}" != "$1" ]; do shift 2; done\n'
        f'"$@" || exit; exit $(cat {tmp_path}/code)\n'
    )
    tool.chmod(0o755)
    (tmp_path / "code").write_text("0")
    monkeypatch.setenv("COMPUTE_SANITIZER", str(tool))

    def compiled(folder, gpu):
        assert gpu == 90  # code for the oldest GPU runs on all
        return program

    monkeypatch.setattr(sanitize, "nvcc", lambda: tmp_path / "nvcc")
    monkeypatch.setattr(sanitize.cuda, "gpu_architectures", lambda: [90, 120])
    monkeypatch.setattr(sanitize, "compiled", compiled)
    return tmp_path


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The emulated kernels, compiled once."""
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    return built_once(tmp_path_factory, "emulated", sanitize.emulated) / "grid_sample"


@pytest.fixture(autouse=True)
def few_cases(monkeypatch):
    """A seventh of them: the emulation is slow."""
    several = sanitize.cases()[::7]
    monkeypatch.setattr(sanitize, "cases", lambda: several)


@pytest.mark.slow
def test_the_dry_run_compiles_and_compares(program, monkeypatch, capsys):
    """nvcc itself takes long; `make gpu-dry-run` calls it."""
    monkeypatch.setattr(sanitize, "compiled", lambda folder, architecture: folder)
    monkeypatch.setattr(sanitize, "emulated", lambda folder: program)
    assert sanitize.main(["--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"compiled for sm_90|not compiled for sm_90: .*", said[0])
    assert re.fullmatch(r"\d+ cases are correct", said[-1])


@pytest.mark.slow
@pytest.mark.parametrize("tool", sanitize.TOOLS)
def test_the_tool_runs_the_program_and_its_verdict_is_the_exit_code(toolkit, tool, capsys):
    assert sanitize.main(["--tool", tool]) == 0
    assert f"--tool {tool} --error-exitcode 9" in (toolkit / "arguments").read_text()
    if tool == "memcheck":
        (toolkit / "code").write_text("9")
        assert sanitize.main(["--tool", tool]) == 1
        assert "memcheck: exit code 9" in capsys.readouterr().err


@pytest.mark.slow
def test_a_wrong_gradient_is_a_failure(toolkit, monkeypatch, capsys):
    def spoiled(command, cases, timeout):
        answers = run(command, cases, timeout)
        answers[0][1][0, 0, 0, 0] += 100
        return answers

    monkeypatch.setattr(sanitize, "run", spoiled)
    assert sanitize.main(["--tool", "memcheck"]) == 1
    assert "wrong gradients: (2, 3, 21, 37) torch.float32 NCHW" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("sanitizer", "compute-sanitizer was not found; "),
        ("nvcc", "no nvcc here"),
        ("gpu", "no GPU was found, "),
    ],
)
def test_what_is_missing_is_the_last_line_and_the_exit_code_is_6(
    toolkit, monkeypatch, capsys, missing, sentence
):
    def none():
        raise sanitize.Missing("no nvcc here")

    if missing == "sanitizer":
        monkeypatch.setenv("COMPUTE_SANITIZER", "no-such-program")
    elif missing == "nvcc":
        monkeypatch.setattr(sanitize, "nvcc", none)
    else:
        monkeypatch.setattr(sanitize.cuda, "gpu_architectures", lambda: [])
    assert sanitize.main(["--tool", "racecheck"]) == 6
    assert capsys.readouterr().out.splitlines()[-1].startswith(sentence)
