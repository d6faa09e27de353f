"""A pytest plugin with a time budget: tests that have not started when it ends are skipped.

    python -m pytest -p benchmarks.harness.budget --budget 60 --in-turn tests/

With `--in-turn` the first case of every test runs before any second case, so that the budget covers
some cases of each test. With pytest-xdist the budget holds for each worker.
"""

import itertools
import time
from collections import defaultdict

import pytest

SPENT = "skipped, out of time"


def pytest_addoption(parser):
    parser.addoption(
        "--budget",
        type=float,
        metavar="SECONDS",
        help="skip tests that have not started after so many seconds",
    )
    parser.addoption(
        "--in-turn", action="store_true", help="the first case of every test, then the second, ..."
    )


def pytest_collection_modifyitems(config, items):
    if config.getoption("--in-turn"):
        turns = defaultdict(itertools.count)
        order = {item: next(turns[item.nodeid.split("[")[0]]) for item in items}
        items.sort(key=order.get)


class Budget:
    def __init__(self, seconds: float):
        self.end = time.monotonic() + seconds

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item):
        if time.monotonic() > self.end:
            pytest.skip(SPENT)


def pytest_configure(config):
    if config.getoption("--budget") is not None:
        config.pluginmanager.register(Budget(config.getoption("--budget")))


def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    skipped = [report for report in stats.get("skipped", []) if SPENT in str(report.longrepr)]
    if skipped:
        total = sum(
            len(stats.get(outcome, [])) for outcome in ("passed", "failed", "error", "skipped")
        )
        terminalreporter.write_line(f"{SPENT}: {len(skipped)} of {total}")
