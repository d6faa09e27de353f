"""A pytest plugin that ends a run in time: tests that have not begun when the budget is spent are
skipped, and told.

    python -m pytest -p benchmarks.harness.budget --budget 60 --in-turn tests/

So a run that has only minutes keeps the results it has. With `--in-turn` every test has its first
case before any has its second, so that what no time is left for is some of each. With pytest-xdist
the budget is that of each worker.
"""

import itertools
import time
from collections import defaultdict

import pytest

SPENT = "left out, no time was left"


def pytest_addoption(parser):
    parser.addoption(
        "--budget",
        type=float,
        metavar="SECONDS",
        help="leave out what has not begun after so many seconds",
    )
    parser.addoption(
        "--in-turn", action="store_true", help="a case of every test, then another of every test"
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
