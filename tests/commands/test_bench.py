"""`lift bench` runs the suites that it is asked for; a wrong kernel gets no figures."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.harness.registry import OPERATIONS, SUITES
from lift import cli
from lift.commands import bench
from lift.errors import LiftError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ran(monkeypatch):
    """What `python -m benchmarks` would run: (command, folder, environment); the third fails."""
    calls = []

    def run(command, cwd=None, env=None):
        calls.append((command, cwd, env))
        return subprocess.CompletedProcess(command, 1 if len(calls) == 3 else 0)

    monkeypatch.setattr(benchmarks.subprocess, "run", run)
    return calls


def suites(calls) -> list[str]:
    return [
        Path(next(word for word in command if word.startswith("benchmarks/"))).stem
        for command, *_ in calls
    ]


# -- the command -----------------------------------------------------------------------------------


def test_the_command_is_handed_to_the_benchmarks_of_the_checkout(ran, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    assert bench.main(["warp_blend", "--quick"]) == 0 and bench.main([]) == 0
    commands, environments = [command for command, *_ in ran], [env for *_, env in ran]
    assert commands[0] == [sys.executable, "-m", "benchmarks", "warp_blend", "--quick"]
    assert commands[1][2:] == ["benchmarks", "ops"]  # by default the operations
    assert environments[0]["PYTHONPATH"].split(":") == [str(ROOT), "elsewhere"]


def test_an_installed_lift_says_where_the_benchmarks_are(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "lift" / "commands" / "bench.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        LiftError, match="not part of an installed LIFT: run `lift bench` in a checkout"
    ):
        bench.main([])
    monkeypatch.chdir(ROOT)
    assert bench.checkout() == ROOT


# -- what it runs ----------------------------------------------------------------------------------


def test_the_suites_are_listed(capsys):
    assert benchmarks.main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed and suite.help in listed for name, suite in SUITES.items())


def test_the_operations_are_run_by_default(ran):
    assert benchmarks.main(["--quick"]) == 1  # as the third of them failed
    assert sorted(suites(ran)) == sorted(f"bench_{name}" for name in OPERATIONS)
    assert all(
        "--quick" in command and cwd == ROOT and env["OMP_PROC_BIND"] == "close"
        for command, cwd, env in ran
    )


def test_suites_are_chosen_by_name_once_each(ran, tmp_path):
    flags = ["--only", "smooth", "--threads", "1", "--json", str(tmp_path / "a")]
    assert benchmarks.main(["warp_blend", "temporal_attention", "attention", *flags]) == 0
    assert suites(ran) == ["bench_warp_blend", "bench_temporal_attention"]
    command, _, environment = ran[0]
    assert command[command.index("-k") + 1] == "smooth" and environment["OMP_NUM_THREADS"] == "1"
    assert command[command.index("--benchmark-json") + 1] == str(
        tmp_path / "a" / "bench_warp_blend.json"
    )


def test_the_model_has_suites_of_its_own_whose_forms_can_be_chosen(ran):
    benchmarks.main(["model", "--forms", "plain,graph"])
    assert suites(ran) == ["bench_model", "bench_streaming", "bench_methods"]
    assert all(command[command.index("--forms") + 1] == "plain,graph" for command, *_ in ran)


def test_tuning_is_a_run_of_its_own(ran):
    assert benchmarks.main(["--tune"]) == 0 and benchmarks.main(["--tune", "static"]) == 0
    assert [command[1:] for command, *_ in ran] == [
        ["-m", "benchmarks.gpu.tune_temporal_attention", flag] for flag in ("--measure", "--static")
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["wrap_blend"],
            "no benchmark 'wrap_blend'; did you mean 'warp_blend'? (choose from "
            f"{', '.join(OPERATIONS)} and model)",
        ),
        (
            ["--compare", "nowhere", "nowhere"],
            "nowhere: no such file or folder; name one that `lift bench --json FOLDER` wrote",
        ),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence, capfd):
    assert cli.main(["bench", *arguments]) == 1
    assert capfd.readouterr().err == f"lift: error: {sentence}\n"


def test_flags_that_exclude_each_other_are_refused():
    for arguments in (
        ["warp_blend", "--tune"],
        ["--tune", "--compare", "a", "b"],
        ["--threads", "0"],
    ):
        with pytest.raises(SystemExit):
            benchmarks.main(arguments)


def test_what_is_missing_is_named(monkeypatch, ran):
    monkeypatch.setattr(
        benchmarks, "NEEDS", {"pytest": "pytest", "no_such_module": "pytest-benchmark"}
    )
    with pytest.raises(LiftError, match="need pytest-benchmark: pip install pytest-benchmark"):
        benchmarks.main(["warp_blend"])


# -- end to end ------------------------------------------------------------------------------------

# A kernel that is preferred to all others, automatic, fused, and wrong by a thousandth.
WRONG = """
from dataclasses import replace
from lift.kernels import dispatch
from lift.kernels.ops.warp_blend import eager

*others, reference = dispatch.operations()["warp_blend"]
wrong = replace(
    reference,
    name="slightly_wrong",
    call=lambda *a: eager.warp_blend_eager(*a) * 1.001,
    fused=True,
)
dispatch.register("warp_blend", wrong, *others, reference)
"""


@pytest.mark.slow
def test_a_wrong_kernel_yields_no_row_and_a_failed_run(monkeypatch, tmp_path, capfd):
    """In a copy of the benchmarks where a wrong kernel is registered."""
    shutil.copytree(
        ROOT / "benchmarks",
        tmp_path / "benchmarks",
        ignore=shutil.ignore_patterns("results", "__pycache__"),
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "conftest.py").write_text(WRONG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    for name, value in (
        ("PYTHONPATH", str(ROOT)),
        ("CUDA_VISIBLE_DEVICES", ""),
        ("OMP_NUM_THREADS", "1"),
    ):
        monkeypatch.setenv(name, value)
    few = "8x12 and contiguous and not triton"
    code = cli.main(
        ["bench", "warp_blend", "--toy", "--only", few, "--json", str(tmp_path / "rows")]
    )
    output = capfd.readouterr().out
    assert code == 1
    # In each direction.
    assert output.count("\nslightly_wrong: wrong: relative error 0.001") == 2
    assert "it gets no time" in output
    figures = [line for line in output.splitlines() if line.startswith("warp_blend cpu")]
    assert len(figures) >= 2 and not any("slightly_wrong" in line for line in figures)
    text = json.loads((tmp_path / "rows" / "bench_warp_blend.json").read_text())
    rows = [benchmark["extra_info"] for benchmark in text["benchmarks"]]
    assert {(row["variant"], row["direction"]) for row in rows} >= {
        ("eager", "forward"),
        ("eager", "forward+backward"),
    }
    assert "slightly_wrong" not in {row["variant"] for row in rows}
