"""Fixtures and options of the suites. pytest runs them and pytest-benchmark writes the rows.

python -m pytest benchmarks/suites/bench_warp_blend.py --quick --benchmark-json out.json
"""

import argparse
import itertools
import json
from pathlib import Path

import pytest
import torch

from benchmarks.harness import machine, measure, table

ROWS = pytest.StashKey[list]()
MACHINE = pytest.StashKey[dict]()


def pytest_addoption(parser):
    group = parser.getgroup("lift benchmarks")
    group.addoption(
        "--quick", action="store_true", help="the most informative cases, with fewer rounds"
    )
    group.addoption(
        "--toy",
        action="store_true",
        help="smoke test: tiny sizes, one round",
    )
    group.addoption(
        "--counted",
        metavar="VARIANT",
        help="run this variant only, once inside the range that a profiler records",
    )
    group.addoption(
        "--forms",
        type=_forms,
        default=",".join(measure.FORMS),
        help="forms of the model's variants: plain, graph, compiled, comma-separated (all)",
    )
    group.addoption(
        "--threads",
        type=int,
        default=None,
        help="CPU threads of torch (default: torch's own choice)",
    )


def _forms(text: str) -> str:
    if unknown := set(text.split(",")) - set(measure.FORMS):
        raise argparse.ArgumentTypeError(
            f"unknown form {min(unknown)!r}; choose from {', '.join(measure.FORMS)}"
        )
    return text


def pytest_configure(config):
    config.stash[ROWS] = []
    if beside := _rows_file(config):
        beside.write_text("")
    measure.counted = config.getoption("--counted")
    if config.getoption("--threads"):
        torch.set_num_threads(config.getoption("--threads"))


def _rows_file(config) -> Path | None:
    """Where each row is written at once, one JSON object per line, in case the run is killed."""
    file = config.getoption("benchmark_json", None)
    file = file.name if hasattr(file, "write") else file  # open before version 5
    return None if file is None else Path(f"{file}.rows.jsonl")


class Clock:
    """A timer for pytest-benchmark that advances by measured times.

    So its rows hold times that were taken alternately with those of other variants.
    """

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


clock = Clock()


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=clock, disable_gc=False, warmup=False))


@pytest.fixture(scope="session")
def bandwidth(request):
    """Bytes per second of a copy on a device, measured in this run."""
    toy, known = request.config.getoption("--toy"), {}

    def measured(device: str) -> float:
        if device not in known:
            known[device] = measure.copy_bandwidth(
                device, 1 << 20 if toy else 1 << 30 if device == "cuda" else 1 << 28
            )
        return known[device]

    return measured


@pytest.fixture
def record(request, benchmark, bandwidth):
    """Write the row of a variant, or fail without a row where its results are wrong.

    `required_bytes` are the bytes that the case must move; None: the row has no bandwidth.
    `table.CASE` names the facts that identify a case.
    """

    def keep(
        measured: measure.VariantResult, *, device: str, required_bytes: int | None, **facts
    ) -> None:
        if measured.failure:
            pytest.fail(f"{facts['variant']}: {measured.failure}; it gets no time", pytrace=False)
        rate = None if required_bytes is None else required_bytes / measured.median
        row = facts | {
            "device": device,
            "median": measured.median,
            "spread": measured.spread,
            "bytes": required_bytes,
            "gigabytes_per_second": None if rate is None else rate / 1e9,
            "copy_bandwidth": bandwidth(device) / 1e9,
            "share_of_copy_bandwidth": None if rate is None else rate / bandwidth(device),
            "error": measured.error,
            "tolerance": measured.tolerance,
            "saved_for_backward": measured.saved,
            "peak_memory": measured.peak,
            "peak_of_recording": measured.peak_of_recording,
            "in_turn_with": measured.baseline,
            "first_call": measured.first,
            "compile_time": max(measured.first - measured.median, 0.0),
        }
        benchmark.extra_info.update(row)
        request.config.stash[ROWS].append(row)
        if beside := _rows_file(request.config):
            with beside.open("a") as file:
                file.write(json.dumps(row | {"toy": request.config.getoption("--toy")}) + "\n")
        times = itertools.cycle(measured.times)

        def advance() -> None:
            clock.now += next(times)

        benchmark.pedantic(advance, rounds=len(measured.times))

    return keep


# -- the rest of the file, and the printed table ---------------------------------------------------


def pytest_sessionstart(session):
    # pytest-benchmark asks for it at the end, when the clocks have changed.
    session.config.stash[MACHINE] = machine.describe()


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["lift"] = config.stash[MACHINE]


def pytest_benchmark_update_json(config, benchmarks, output_json):
    output_json["gpus_after"] = machine.gpus()
    output_json["toy"] = config.getoption("--toy")


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[ROWS]
    if not rows:
        return
    terminalreporter.section(
        "smoke test: figures mean nothing" if config.getoption("--toy") else "figures"
    )
    for line in table.aligned(table.table(rows)):
        terminalreporter.write_line(line)
