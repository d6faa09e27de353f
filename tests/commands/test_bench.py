"""`lift bench` runs the suites that were asked for, keeps wrong kernels out of its figures, and
answers mistakes in one sentence.
"""

import json
import shutil
from pathlib import Path

import pytest

from lift import cli
from lift.commands import bench
from lift.errors import LiftError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ran(monkeypatch):
    """What `lift bench` runs, without running it: (command, folder, environment) in order; the
    third suite fails.
    """
    calls = []

    def run(command, cwd, env=None):
        calls.append((command, cwd, env))
        return type("Ran", (), {"returncode": 1 if len(calls) == 3 else 0})

    monkeypatch.setattr(bench.subprocess, "run", run)
    return calls


def suites(calls) -> list[str]:
    return [
        Path(next(word for word in command if word.startswith("benchmarks/"))).stem
        for command, *_ in calls
    ]


def test_the_operations_are_run_by_default(ran):
    assert bench.main(["--quick"]) == 1  # as the third of them failed
    assert suites(ran) == [
        "bench_attention",
        "bench_correlation",
        "bench_grid_sample",
        "bench_warp_blend",
    ]
    assert all(
        "--quick" in command and cwd == ROOT and env["OMP_PROC_BIND"] == "close"
        for command, cwd, env in ran
    )


def test_suites_are_chosen_by_name_once_each(ran, tmp_path):
    flags = ["--only", "smooth", "--threads", "1", "--json", str(tmp_path / "a")]
    assert bench.main(["warp_blend", "temporal_attention", "attention", *flags]) == 0
    assert suites(ran) == ["bench_warp_blend", "bench_attention"]
    command, _, environment = ran[0]
    assert command[command.index("-k") + 1] == "smooth" and environment["OMP_NUM_THREADS"] == "1"
    assert command[command.index("--benchmark-json") + 1] == str(
        tmp_path / "a" / "bench_warp_blend.json"
    )


def test_forms_of_the_model_are_handed_on(ran):
    bench.main(["model", "--forms", "plain,graph"])
    assert suites(ran) == ["bench_model", "bench_streaming"]
    assert all(command[command.index("--forms") + 1] == "plain,graph" for command, *_ in ran)


def test_the_model_has_suites_of_its_own(tmp_path):
    for name in ("warp_blend", "model", "streaming"):
        (tmp_path / f"bench_{name}.py").touch()
    assert [path.stem for path in bench.chosen(tmp_path, ["model"])] == [
        "bench_model",
        "bench_streaming",
    ]
    assert [path.stem for path in bench.chosen(tmp_path, [])] == ["bench_warp_blend"]
    (tmp_path / "bench_model.py").unlink()
    (tmp_path / "bench_streaming.py").unlink()
    with pytest.raises(LiftError, match="no benchmark of the model is in"):
        bench.chosen(tmp_path, ["model"])


def test_tuning_is_handed_on(ran):
    assert bench.main(["--tune"]) == 0 and bench.main(["--tune", "static"]) == 0
    assert [command[1:] for command, *_ in ran] == [
        ["-m", "benchmarks.gpu.tune_attention", flag] for flag in ("--measure", "--static")
    ]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (
            ["wrap_blend"],
            "no benchmark of 'wrap_blend'; did you mean 'warp_blend'? "
            "(there are attention, correlation, grid_sample, warp_blend and model)",
        ),
        (
            ["--compare", "nowhere", "nowhere"],
            "nowhere: no such file or folder; name what `lift bench --json FOLDER` wrote",
        ),
    ],
)
def test_mistakes_are_one_sentence(arguments, said, capsys):
    assert cli.main(["bench", *arguments]) == 1
    assert capsys.readouterr().err == f"lift: error: {said}\n"


def test_flags_that_exclude_each_other_are_refused():
    for arguments in (
        ["warp_blend", "--tune"],
        ["--tune", "--compare", "a", "b"],
        ["--threads", "0"],
    ):
        with pytest.raises(SystemExit):
            bench.main(arguments)


def test_an_installed_lift_says_where_the_benchmarks_are(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "lift" / "bench.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        LiftError, match="not part of an installed LIFT: run `lift bench` in a checkout"
    ):
        bench.benchmarks()
    monkeypatch.chdir(ROOT)
    assert bench.benchmarks() == ROOT / "benchmarks"


def test_what_is_missing_is_named(monkeypatch, ran):
    monkeypatch.setattr(bench, "NEEDS", {"pytest": "pytest", "no_such_module": "pytest-benchmark"})
    with pytest.raises(LiftError, match="need pytest-benchmark: pip install pytest-benchmark"):
        bench.main([])


# A kernel that is preferred to all others, automatic, fused, and wrong by a thousandth.
WRONG = """
from lift.kernels import backend
from lift.kernels.warp_blend import eager
wrong = backend.Implementation("slightly_wrong", lambda *a: eager.warp_blend_eager(*a) * 1.001, backend.always)
backend.register("warp_blend", wrong, *backend.operations()["warp_blend"])
"""


def test_a_wrong_kernel_yields_no_row_and_a_failed_run(monkeypatch, tmp_path, capfd):
    """End to end, in a copy of the benchmarks beside which a wrong kernel is registered."""
    (tmp_path / "benchmarks").mkdir()
    for name in ("conftest", "measure", "machine", "table", "bench_warp_blend"):
        shutil.copy(ROOT / "benchmarks" / f"{name}.py", tmp_path / "benchmarks")
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
    said = capfd.readouterr().out
    assert code == 1
    assert (
        said.count("\nslightly_wrong: wrong: relative error 0.001") == 2
        and "no time is reported" in said
    )  # in each direction
    figures = [line for line in said.splitlines() if line.startswith("warp_blend cpu")]
    assert len(figures) >= 2 and not any("slightly_wrong" in line for line in figures)
    rows = [
        benchmark["extra_info"]
        for benchmark in json.loads((tmp_path / "rows" / "bench_warp_blend.json").read_text())[
            "benchmarks"
        ]
    ]
    assert {(row["variant"], row["direction"]) for row in rows} >= {
        ("eager", "forward"),
        ("eager", "forward+backward"),
    }
    assert "slightly_wrong" not in {row["variant"] for row in rows}
