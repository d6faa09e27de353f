"""The harness of the benchmarks: pytest runs them, pytest-benchmark keeps the rows
(`--benchmark-json FILE`), each with what it is of.

python -m pytest benchmarks/suites/bench_warp_blend.py --quick --benchmark-json out.json
"""

import argparse
import itertools
import json
from pathlib import Path

import pytest
import torch

from benchmarks.harness import (
    machine,
    measure,
    table,
)

ROWS = pytest.StashKey[list]()
MACHINE = pytest.StashKey[dict]()


def pytest_addoption(parser):
    group = parser.getgroup("lift benchmarks")
    group.addoption(
        "--quick", action="store_true", help="the cases that say most, with fewer rounds"
    )
    group.addoption(
        "--toy",
        action="store_true",
        help="tiny sizes, one round: walks through everything, measures nothing of worth",
    )
    group.addoption(
        "--counted",
        metavar="VARIANT",
        help="run this variant alone, once between the marks of a profiler",
    )
    group.addoption(
        "--forms",
        type=_forms,
        default=",".join(measure.FORMS),
        help="of the model's variants: plain, graph, compiled, with commas (default: all)",
    )
    group.addoption(
        "--threads",
        type=int,
        default=None,
        help="threads of torch on the CPU (default: what torch takes)",
    )


def _forms(text: str) -> str:
    if unknown := set(text.split(",")) - set(measure.FORMS):
        raise argparse.ArgumentTypeError(
            f"no form {min(unknown)!r}; there are {', '.join(measure.FORMS)}"
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
    """Where each row is written as it comes, a JSON object a line, for a run that is killed."""
    file = config.getoption("benchmark_json", None)
    file = file.name if hasattr(file, "write") else file  # open, before pytest-benchmark 5
    return None if file is None else Path(f"{file}.rows.jsonl")


class Clock:
    """The timer of pytest-benchmark: advances by what was measured, so that its rows hold times
    taken in turn with other variants'.
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
    """Bytes a second that a copy moves, by device, measured in this run."""
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
    """Keep a row: a variant's times with what they are of. Fails where the variant is wrong, and
    then keeps none.

    Where no bytes that must move are known (`moved=None`), the row has no bandwidth. `table.CASE`
    names the facts that say what was timed.
    """

    def keep(measured: measure.Measured, *, device: str, moved: int | None, **facts) -> None:
        if measured.failure:
            pytest.fail(
                f"{facts['variant']}: {measured.failure}; no time is reported", pytrace=False
            )
        rate = None if moved is None else moved / measured.median
        row = facts | {
            "device": device,
            "median": measured.median,
            "spread": measured.spread,
            "bytes": moved,
            "gigabytes_per_second": None if rate is None else rate / 1e9,
            "copy_bandwidth": bandwidth(device) / 1e9,
            "share_of_copy_bandwidth": None if rate is None else rate / bandwidth(device),
            "error": measured.error,
            "tolerance": measured.tolerance,
            "saved_for_backward": measured.saved,
            "peak_memory": measured.peak,
            "peak_of_recording": measured.peak_of_recording,
            "in_turn_with": measured.beside,
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


# -- what is recorded beside the rows, and what is shown -------------------------------------------


def pytest_sessionstart(session):
    session.config.stash[MACHINE] = (
        machine.describe()
    )  # pytest-benchmark asks at the end, when the clocks are those of after


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
        "figures of a toy: of no worth" if config.getoption("--toy") else "figures"
    )
    for line in table.aligned(table.table(rows)):
        terminalreporter.write_line(line)
