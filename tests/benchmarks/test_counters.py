"""Hardware counters: which kernels are counted, how `ncu` is read, and what happens without it."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import counters, summary
from benchmarks.harness import measure
from benchmarks.report.counters import stall_reason
from benchmarks.report.machine_page import report
from benchmarks.report.results import measurements
from tests.support.recorded_results import OTHER, ROW, TRAINING, write_results

ROOT = Path(__file__).resolve().parents[2]
HEADS = [
    "ID",
    "Process ID",
    "Process Name",
    "Host Name",
    "Kernel Name",
    "Context",
    "Stream",
    "Block Size",
    "Grid Size",
    "Device",
    "CC",
    "Section Name",
    "Metric Name",
    "Metric Unit",
    "Metric Value",
]
ATTENTION = ROW | {
    "operation": "temporal_attention",
    "shape": [1, 1, 15, 68, 120, 8, 32, 8],
    "dtype": "bfloat16",
    "flow": "biases",
}
VALUES = {
    "seconds": "12,500",
    "read": "1000000",
    "written": "500000",
    "of DRAM": "41.6",
    "L2 hits": "n/a",
    "occupancy": "50",
    "added in L2": "1,234,500",
    "L1 requests": "77600",
    "registers": "64",
    "waits for global memory": "7.5",
    "waits for other warps": "0.25",
}


def recorded(folder: Path, rows) -> Path:
    write_results(folder, rows)
    text = json.loads((folder / "bench.json").read_text())
    for i, benchmark in enumerate(text["benchmarks"]):
        benchmark["fullname"] = f"benchmarks/bench.py::test[{i}]"
    (folder / "bench.json").write_text(json.dumps(text))
    return folder


def printed(*kernels: str, values: dict = VALUES) -> str:
    """The log of ncu for kernels with these values."""
    lines = ["==PROF== Connected to process 1", ",".join(f'"{head}"' for head in HEADS)]
    for i, kernel in enumerate(kernels):
        for key, value in values.items():
            cells = {
                "ID": i,
                "Process ID": 1,
                "Kernel Name": kernel,
                "Metric Name": counters.METRICS[key],
                "Metric Value": value,
            }
            lines.append(",".join(f'"{cells.get(head, "")}"' for head in HEADS))
    return "\n".join([*lines, "==PROF== Disconnected from process 1"]) + "\n"


@pytest.fixture
def ncu(tmp_path, monkeypatch):
    """Replace ncu by a program that records its arguments and writes a log."""

    def place(log: str, code: int = 0) -> Path:
        (tmp_path / "log").write_text(log)
        (tmp_path / "ncu").write_text(
            f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\n"
            f"with open({str(tmp_path / 'asked')!r}, 'a') as asked:\n"
            "    print(*sys.argv[1:], file=asked)\n"
            "log = Path(sys.argv[sys.argv.index('--log-file') + 1])\n"
            f"log.write_text(Path({str(tmp_path / 'log')!r}).read_text())\nsys.exit({code})\n"
        )
        (tmp_path / "ncu").chmod(0o755)
        monkeypatch.setenv("NCU", str(tmp_path / "ncu"))
        return tmp_path / "asked"

    return place


def test_the_case_furthest_from_its_limit_stands_for_its_operation(tmp_path):
    slow = {"flow": "random", "median": 3e-4}
    rows = [
        ROW,
        OTHER | {"median": 9e-3},
        ROW | slow,
        ROW | TRAINING | {"median": 2e-4},
        ROW | {"flow": "collapse", "median": 1e-2},
        ROW | {"shape": [1, 3, 64, 64], "median": 1e-3},
        ROW | {"variant": "triton_deterministic", "median": 1e-2},
        ATTENTION,
    ]
    found = counters.furthest(recorded(tmp_path / "h200", rows), most=2)
    assert [(one.case.operation, one.test, one.variant, one.flow) for one in found] == [
        ("warp_blend", "benchmarks/bench.py::test[2]", "triton", "random"),
        ("temporal_attention", "benchmarks/bench.py::test[7]", "triton", "biases"),
    ]
    assert found[0].share == pytest.approx(124416000 / 4.8e12 / 3e-4, rel=0.02)
    assert counters.furthest(tmp_path / "h200", most=1) == found[:1]


def test_counters_are_read_as_ncu_writes_them():
    first, second = counters.parsed(printed("warp_blend_fwd_kernel", "warp_blend_bwd_kernel"))
    assert (
        first["kernel"] == "warp_blend_fwd_kernel" and second["kernel"] == "warp_blend_bwd_kernel"
    )
    assert (
        first["seconds"] == pytest.approx(12.5e-6)
        and first["read"] == 1e6
        and "L2 hits" not in first
    )
    assert stall_reason(first) == "global memory" and stall_reason({"kernel": "x"}) == ""
    assert counters.parsed("==ERROR== nothing\n") == []


def test_they_are_written_and_shown_on_every_page(tmp_path, ncu, capsys):
    asked, folder = (
        ncu(printed("warp_blend_fwd_kernel")),
        recorded(tmp_path / "h200", [ROW, OTHER, OTHER | {"variant": "compiled", "median": 1e-4}]),
    )
    assert counters.main([str(folder), "--json", str(folder / "counters.json")]) == 0
    cells = "12.5 | 1.5 | 42% |  | 1234.5 | 77.6 |  | 50% | 64 | global memory"
    line = f"| `warp_blend_fwd_kernel` | {cells} |"
    assert line in capsys.readouterr().out
    assert (
        "benchmarks/bench.py::test[0] --counted triton" in asked.read_text()
        and "--profile-from-start off" in asked.read_text()
    )
    page = report(measurements(folder))
    assert "## Hardware counters" in page and line in page
    assert (
        "| missed in 1 of 1 | 26% of its roofline, memory-bound; "
        "warps of `warp_blend_fwd_kernel` wait for global memory, DRAM at 42% of its peak |" in page
    )
    (folder / "steps.tsv").write_text("counters\tpassed\t9\n")
    assert line in summary.page(folder, dry=False)[0]


def test_without_a_profiler_counters_are_skipped(tmp_path, ncu, monkeypatch, capsys):
    folder = recorded(tmp_path / "h200", [ROW])
    ncu(
        "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access "
        "NVIDIA GPU Performance Counters\n",
        code=1,
    )
    assert counters.main([str(folder)]) == counters.SKIPPED
    assert "allows counters to administrators only (ERR_NVGPUCTRPERM)" in capsys.readouterr().out
    monkeypatch.delenv("NCU")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert (
        counters.main([str(folder)]) == counters.SKIPPED
        and "ncu was not found" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "log, code",
    [
        ("==ERROR== Failed to find metric\n", 1),
        (printed("warp_blend_fwd_kernel"), 3),
        ("==WARNING== No kernels\n", 0),
    ],
)
def test_a_failure_is_no_absence(tmp_path, ncu, capsys, log, code):
    ncu(log, code)
    assert counters.main([str(recorded(tmp_path / "h200", [ROW]))]) == 1
    assert f"ncu exited with {code}" in capsys.readouterr().err


def test_metrics_that_a_gpu_does_not_have_are_dropped(tmp_path, ncu):
    """ncu reads no counter if it does not know one of them."""
    asked = ncu("==ERROR== Failed to find metric lts__t_sectors_op_red.sum\n", code=1)
    assert counters.main([str(recorded(tmp_path / "h200", [ROW]))]) == 1
    first, second = (
        set(line.split("--metrics ")[1].split()[0].split(","))
        for line in asked.read_text().splitlines()
    )
    assert first == set(counters.METRICS.values()) == second | {"lts__t_sectors_op_red.sum"}
    assert len(second) == len(first) - 1


def test_only_the_counted_variant_runs_between_the_marks(monkeypatch):
    ran = []
    for name in ("start", "stop"):
        monkeypatch.setattr(torch.cuda.profiler, name, lambda name=name: ran.append(name))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
    monkeypatch.setattr(measure, "counted", "one")
    variants = [
        measure.Variant(name, lambda x, name=name: ran.append(name) or x + 1)
        for name in ("one", "other")
    ]
    found = measure.compare(variants, lambda x: x + 1, (torch.ones(2),), backward=False, rounds=1)
    assert list(found) == ["one"] and ran == ["one", "start", "one", "stop", "one"]


def test_a_recorded_name_is_a_test_that_can_be_run_again():
    """The name of a row is an argument of pytest in the root of the checkout."""
    for path in (ROOT / "benchmarks" / "results" / "cpu").glob("bench_*.json"):
        for benchmark in json.loads(path.read_text())["benchmarks"]:
            file, test = benchmark["fullname"].split("::", 1)
            assert (
                file == f"benchmarks/suites/{path.stem}.py"
                and f"def {test.split('[')[0]}(" in (ROOT / file).read_text()
            )
            assert test.endswith("]")
